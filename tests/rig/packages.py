# SPDX-License-Identifier: Apache-2.0
"""Power cuts under dpkg: a small Debian 12 on the recorded disk, our packages in it, `dpkg --configure -a` after it.

The dependencies are left out (--force-depends); the libraries that the program needs are copied from the release.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys

import powercut
from common import build, corner, tap, tree

sys.path.insert(1, str(build.TOP / "tests"))
from container import base, debs, host as containers  # noqa: E402 (path first)

RELEASE = "bookworm"
STATES = 50 * tap.SOAK or 24
MIB = 768
MKFS = ("-b", "4096", "-J", "size=8", "-O", "^resize_inode")
# Nothing that dpkg, debconf or our scripts look at.
LEFT_OUT = ["./usr/share/doc", "./usr/share/locale", "./usr/share/man", "./usr/share/info", "./usr/lib/python3*",
            "./var/lib/apt/lists/*", "./var/cache/*/*", "./usr/share/zoneinfo", "./usr/lib/udev/hwdb*"]
KEY = "0123456789abcdef0123456789abcdef"
CONF, SECRET = "/etc/dstack/host.conf", "/etc/dstack/secrets/pccs-api-key"
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive",
       "EDITOR": "/root/edit", "VISUAL": "/root/edit"}
DPKG = ["dpkg", "--force-depends", "--force-confold"]
EDIT = "#!/bin/sh\nsed -i s/old.example.org/new.example.org/ \"$1\"\n"
# What a maintainer script does that has never heard of power cuts.
CARELESS = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
	mkdir -p /etc/dstack
	echo "DOMAIN=old.example.org" > /etc/dstack/host.conf
fi
"""


class Debian:
    """A directory that is copied onto each disk: the base root, the libraries, the packages in /debs."""

    def __init__(self, work):
        self.work, self.template = work, f"{work}/template"
        os.mkdir(self.template)
        named = os.environ.get("DSTACK_DEBS")
        self.debs = pathlib.Path(named or f"{work}/built")
        if not named:
            debs.build_debs(RELEASE, build.TOP, self.debs)
        lowers = base.builder(RELEASE, build.TOP)
        copy_tree(lowers[-1], self.template, LEFT_OUT)
        self.add_packages()
        self.add_libraries(lowers)
        edit = pathlib.Path(self.template, "root/edit")
        edit.write_text(EDIT)
        edit.chmod(0o755)

    def add_packages(self):
        target = pathlib.Path(self.template, "debs")
        target.mkdir()
        for name in ("dstack-host-tools", "dstack-host"):
            deb = next(self.debs.glob(f"{name}_*.deb"))
            shutil.copyfile(deb, target / f"{name}.deb")
        repacked(self.work, target / "dstack-host.deb", target / "newer.deb", raise_version)
        repacked(self.work, target / "dstack-host.deb", target / "careless.deb",
                 lambda tree_: pathlib.Path(tree_, "DEBIAN/postinst").write_text(CARELESS))

    def add_libraries(self, lowers):
        """What the program is linked with and the small root has not."""
        release, files = f"{self.work}/release", f"{self.work}/files"
        for path in (release, files):
            os.mkdir(path)
        build.sh("dpkg-deb", "-x", f"{self.template}/debs/dstack-host-tools.deb", files)
        corner.mount("overlay", release, "overlay", 0, "lowerdir=" + ":".join(lowers))
        corner.mount(files, f"{release}/mnt", None, corner.MS_BIND)
        try:
            for line in build.sh("chroot", release, "ldd", "/mnt/usr/sbin/dstack-host").splitlines():
                library = line.partition("=> ")[2].partition(" (")[0]
                if library and not os.path.exists(self.template + library):
                    shutil.copyfile(release + library, self.template + library)
        finally:
            corner.unmount(f"{release}/mnt")
            corner.unmount(release)


def copy_tree(source, target, left_out=()):
    reader = subprocess.Popen(["tar", "-C", source, "--one-file-system", *[f"--exclude={path}" for path in left_out],
                               "-cf", "-", "."], stdout=subprocess.PIPE)
    build.sh("tar", "-C", target, "-xpf", "-", stdin=reader.stdout)
    reader.stdout.close()
    assert reader.wait() == 0, f"copying {source}"


def repacked(work, deb, target, change):
    directory = f"{work}/repack"
    build.sh("dpkg-deb", "-R", deb, directory)
    change(directory)
    build.sh("dpkg-deb", "--root-owner-group", "-Znone", "-b", directory, target)
    shutil.rmtree(directory)


def raise_version(directory):
    control = pathlib.Path(directory, "DEBIAN/control")
    lines = [line + "+rig1" if line.startswith("Version:") else line for line in control.read_text().splitlines()]
    control.write_text("\n".join(lines) + "\n")


@contextlib.contextmanager
def proc(root):
    corner.mount("proc", f"{root}/proc", "proc")
    try:
        yield
    finally:
        corner.unmount(f"{root}/proc")


def inside(root, argv, check=True, stdin=b"", timeout=120):
    with proc(root):
        done = subprocess.run(["chroot", root, *argv], input=stdin, env=ENV, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, check=False)
    assert not check or done.returncode == 0, f"{argv}: exit status {done.returncode}\n{done.stdout[-600:].decode()}"
    return done


def status(root, package):
    """dpkg's three words, "install ok installed"; "unknown ok not-installed" for what it does not know."""
    with open(f"{root}/var/lib/dpkg/status", encoding="utf-8") as handle:
        for stanza in handle.read().split("\n\n"):
            if stanza.startswith(f"Package: {package}\n"):
                return next(line.partition(" ")[2] for line in stanza.splitlines() if line.startswith("Status: "))
    return "unknown ok not-installed"


def content(root, path):
    try:
        with open(root + path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


class Story:
    """One dpkg operation, cut. before: argv run for good; argv: the operation; gone: it removes the settings."""

    def __init__(self, debian, name, before, argv, gone=False, secret=KEY):
        self.debian, self.name, self.before, self.argv, self.gone = debian, name, before, argv, gone
        self.secret, self.confs, self.dpkg_faults = secret, [], 0

    def setup(self, root):
        copy_tree(self.debian.template, root)
        answers = "".join(f"dstack-host dstack-host/{name} {kind} {value}\n" for name, kind, value in
                          (("domain", "string", "old.example.org"), ("pccs-api-key", "password", KEY)))
        inside(root, ["debconf-set-selections"], stdin=answers.encode())
        inside(root, [*DPKG, "-i", "/debs/dstack-host-tools.deb"])
        for argv in self.before:
            inside(root, argv)
        self.confs = [content(root, CONF)]

    def command(self, cut):
        inside(cut.root, self.argv)
        cut.mark("done")
        self.confs.append(content(cut.root, CONF))

    def recover(self, root):
        """What apt or an administrator does next."""
        configure = ["dpkg", "--force-depends", "--configure", "-a"]
        done = inside(root, configure, check=False)
        # dpkg (1.21.22) does not flush its list of triggers, and a cut can leave NULs in it, at which dpkg ends.
        # That befalls every package that activates a trigger; it is mended as an administrator would, and counted.
        if done.returncode and b"triggers/Unincorp" in done.stdout:
            self.dpkg_faults += 1
            os.truncate(root + "/var/lib/dpkg/triggers/Unincorp", 0)
            done = inside(root, configure, check=False)
        # Cut while unpacking: dpkg knows, and waits for the package to be given again.
        assert done.returncode == 0 or "reinstreq" in status(root, "dstack-host"), done.stdout[-600:].decode()

    def invariant(self, state):
        root, conf = state.root, content(state.root, CONF)
        told, owner = (status(root, name).split()[-1] for name in ("dstack-host", "dstack-host-tools"))
        bad = []
        if conf not in self.confs and conf is not None:
            bad.append(f"{told}, host.conf is neither old nor new: {conf!r}")
        if told == "installed":
            if not conf:
                bad.append(f"installed, host.conf is {'empty' if conf == '' else 'missing'}")
            if content(root, SECRET) != self.secret:
                bad.append("installed, the key is missing or torn")
        if owner == "not-installed" and (conf is not None or content(root, SECRET) is not None):
            bad.append("purged, settings are left")
        if "done" in state.marks and (told == "installed") == self.gone:
            bad.append(f"dpkg had ended, now {told}")
        if "done" in state.marks and conf != self.confs[-1]:
            bad.append(f"dpkg had ended, host.conf is {conf!r}")
        return bad or self.once_more(root)

    def once_more(self, root):
        """The same again finishes the work and leaves nothing behind."""
        done = inside(root, self.argv, check=False)
        if done.returncode:
            return [f"once more: exit status {done.returncode}: {done.stdout[-300:].decode()}"]
        bad = [] if content(root, CONF) == self.confs[-1] else [f"once more: host.conf is {content(root, CONF)!r}"]
        left = tree.temporaries(tree.snapshot(root + "/etc/dstack")) if os.path.isdir(root + "/etc/dstack") else []
        return bad + [f"once more: {path} is left" for path in left]

    def run(self, options, states):
        return powercut.run(self.setup, self.command, self.recover, self.invariant, states=states, options=options,
                            seed=tap.SEED, mib=MIB, mkfs=MKFS, keep_trees=False)


def stories(debian):
    install = [*DPKG, "-i", "/debs/dstack-host.deb"]
    purge = ["dpkg", "--force-depends", "--purge", "dstack-host", "dstack-host-tools"]
    reconfigure = ["dpkg-reconfigure", "-feditor", "dstack-host"]
    return [
        Story(debian, "first install", [], install),
        Story(debian, "reconfigure", [install], reconfigure),
        Story(debian, "upgrade", [install], [*DPKG, "-i", "/debs/newer.deb"]),
        Story(debian, "purge", [install], purge, gone=True),
    ]


def careless(debian):
    return Story(debian, "a postinst that writes by redirection", [], [*DPKG, "-i", "/debs/careless.deb"], secret=None)


def test_packages(report):
    with corner.workspace("4g") as work:
        try:
            debian = Debian(work)
        except containers.ContainerError as error:
            report.skip("power cut: packages", f"cannot be built here: {error}")
            return
        for number, story in enumerate(stories(debian)):
            for options in ("", "noauto_da_alloc") if tap.SOAK else ("noauto_da_alloc" if number % 2 else "",):
                result = story.run(options, STATES)
                report.counts["states"] += result.distinct
                report.counts["package states"] += result.distinct
                report.counts["damaged by dpkg itself"] += story.dpkg_faults
                report.counts["bad states"] += len(result.bad)
                report.ok(not result.bad and result.distinct,
                          f"power cut: package, {story.name}{' with ' + options if options else ''}: "
                          f"{result.distinct} states", [f"{text}: {complaint}" for text, complaint in result.bad])
        story = careless(debian)
        result = story.run("", 150)
        bad = [f"{text}: {complaint}" for text, complaint in result.bad]
        report.counts["broken variants caught"] += bool(bad)
        report.ok(bad, f"power cut rig catches {story.name}", bad[:1])
