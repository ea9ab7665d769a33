# SPDX-License-Identifier: Apache-2.0
"""Cached Debian roots: base(release) boots, builder(release) also compiles. Both return overlay lowers, top first.

Layout: CACHE/RELEASE-RECIPEHASH/STAMP/root. A rebuild makes a new STAMP, so boxes that run on the old one
are not disturbed; prune() removes the old ones that no box names.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import time
import uuid

from . import host, mirror

MAX_AGE = 7 * 86400
RELEASES = {"bookworm": "~deb12", "trixie": "~deb13"}
INCLUDE = ("systemd systemd-sysv dbus udev debconf apt apt-utils ca-certificates iproute2 procps python3 openssl "
           "curl less").split()
BUILD_PACKAGES = ("build-essential debhelper po-debconf gcc make pkg-config libjansson-dev libcurl4-openssl-dev "
                  "libssl-dev libsystemd-dev libcap-dev libseccomp-dev libarchive-dev libisal-dev libnftables-dev "
                  "libmd-dev libcmocka-dev scdoc dpkg-dev apt-utils fakeroot python3").split()
# they would take dpkg's lock and download at a moment of their own; a test that wants them enables them
QUIET_TIMERS = "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer".split()
RECIPE = "5"  # raise when the steps below change what a root contains


def digest(*parts):
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:12]


def newest(family):
    """The newest finished build in a family directory, as (directory, age), or (None, None)."""
    done = sorted(family.glob("*/complete"))
    return (done[-1].parent, time.time() - done[-1].stat().st_mtime) if done else (None, None)


def cached(family, build, what):
    """The lowers of a fresh build in family; build(directory) -> lowers makes one. Holds the family's lock."""
    with host.locked(family.name):
        found, age = newest(family)
        if found and 0 <= age < MAX_AGE:
            return json.loads((found / "complete").read_text())
        started = time.monotonic()
        host.say(f"building {what}: once, then kept for a week in {family}")
        directory = family / time.strftime("%Y%m%d-%H%M%S")
        directory.mkdir(parents=True)
        try:
            lowers = [str(path) for path in build(directory)]
            host.write_json(directory / "complete", lowers)
        except host.ContainerError as error:
            discard(directory)
            if not found:
                raise
            host.say(f"{what}: rebuild failed, going on with one of {age / 86400:.0f} days ago: {error}")
            return json.loads((found / "complete").read_text())
        except BaseException:
            discard(directory)
            raise
        host.say(f"{what} built in {time.monotonic() - started:.0f} s")
        return lowers


def discard(directory):
    host.unmount(directory / "overlay" / "root")
    for mount in ("dev/pts", "dev/shm", "dev", "sys", "proc"):  # what a killed mmdebstrap may leave
        host.unmount(directory / "root" / mount)
    with contextlib.suppress(OSError):
        host.remove_tree(directory)


def base(release):
    if release not in RELEASES:
        raise host.ContainerError(f"unknown release {release}: known are {', '.join(RELEASES)}")
    host.require_tools()
    key = digest(RECIPE, mirror.sources(release), mirror.apt_conf(), *INCLUDE, *QUIET_TIMERS)
    return cached(host.CACHE / f"{release}-{key}", lambda directory: bootstrap(release, directory), f"{release} root")


def bootstrap(release, directory):
    root, log = directory / "root", directory / "log"
    (directory / "sources.list").write_text(mirror.sources(release))
    (directory / "apt.conf").write_text(mirror.apt_conf())
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(INCLUDE)}",
            f"--aptopt={directory}/apt.conf", "--skip=cleanup/apt/lists", release, root, directory / "sources.list"]
    host.logged(argv, log, f"mmdebstrap of {release}", env={**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": "/tmp"})
    for path in mirror.trust_files():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    host.sh("chroot", root, "update-ca-certificates")
    host.sh("chroot", root, "systemctl", "disable", *QUIET_TIMERS)
    (root / "etc/hostname").unlink(missing_ok=True)
    # empty means: systemd makes an id at first boot and keeps it, without first-boot presets
    (root / "etc/machine-id").write_text("")
    return [root]


def build_depends(srcdir):
    """The Build-Depends* fields of debian/control, comments and layout removed; "" without that file."""
    control = pathlib.Path(srcdir, "debian/control") if srcdir else None
    if not control or not control.is_file():
        return ""
    text = re.sub(r"^#.*\n?", "", control.read_text(), flags=re.M)
    fields = re.findall(r"^(Build-(?:Depends|Conflicts)[\w-]*:.*(?:\n[ \t].*)*)", text, re.M)
    return "\n".join(" ".join(field.split()) for field in fields)


def builder(release, srcdir=None):
    """base(release) with a compiler, the usual libraries and srcdir's Build-Depends, and a user to build as."""
    below = base(release)
    depends = build_depends(srcdir)
    key = digest(RECIPE, *below, depends, *BUILD_PACKAGES)
    return cached(host.CACHE / f"{release}-builder-{key}",
                  lambda directory: install_builder(release, directory, below, depends), f"{release} builder")


def install_builder(release, directory, below, depends):
    overlay = directory / "overlay"
    root = host.mount_overlay(below, overlay)
    log = directory / "log"
    try:
        with debs_for(release, directory / "archives") as archives:
            bind = [f"--bind={archives}:/var/cache/apt/archives"]
            script = "apt-get update && apt-get install -y --no-install-recommends " + " ".join(BUILD_PACKAGES)
            if depends:
                source = root / "build/deps/debian"
                source.mkdir(parents=True)
                (source / "control").write_text(f"Source: deps\nMaintainer: x <x@example.org>\n{depends}\n\n"
                                                "Package: deps\nArchitecture: all\nDescription: none\n")
                script += " && cd / && apt-get build-dep -y --no-install-recommends ./build/deps"
            script += " && useradd --create-home --home-dir /build/home builder && rm -rf /build/deps"
            env = ["--setenv=DEBIAN_FRONTEND=noninteractive", "--setenv=LC_ALL=C.UTF-8"]
            in_root(root, ["/bin/sh", "-ec", "mkdir -p /build; " + script], log, f"{release} build packages",
                    [*bind, *env, "--resolv-conf=copy-host"])
    finally:
        host.unmount(root)
    return [overlay / "upper", *below]


def in_root(root, argv, log, what, options=()):
    """Run one command in a root (nspawn without boot, own pid and mount namespaces, own cgroup), output to log."""
    name = f"dstack-test-cmd-{uuid.uuid4().hex[:8]}"
    group = host.cgroup_root() / name
    group.mkdir()
    nspawn = ["systemd-nspawn", "--quiet", "--keep-unit", "--register=no", "--as-pid2", "--link-journal=no",
              f"--machine={name}", f"--directory={root}", "--pipe", *options, *argv]
    env = {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "LC_ALL": "C.UTF-8"}
    try:
        host.logged(host.into_cgroup(group, nspawn), log, what, env=env)
    finally:
        host.cgroup_remove(group)
        host.forget_machine(name, root)


# -- downloaded packages --------------------------------------------------------------------------
# apt takes a lock in its archives directory and fails when another has it, so containers cannot share one.
# Each has its own, filled with hard links from a common store, and gives what it downloaded back to the store.

def lend_debs(release, archives):
    store = host.CACHE / "debs" / release
    store.mkdir(parents=True, exist_ok=True)
    archives.mkdir(parents=True, exist_ok=True)
    for deb in store.glob("*.deb"):
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(deb, archives / deb.name)


def take_debs(release, archives):
    store = host.CACHE / "debs" / release
    for deb in archives.glob("*.deb"):
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(deb, store / deb.name)


@contextlib.contextmanager
def debs_for(release, archives):
    lend_debs(release, archives)
    try:
        yield archives
    finally:
        take_debs(release, archives)
        host.remove_tree(archives)


def lowers_in_use(max_age):
    """Every directory that a box or a current build stands on."""
    used = set()
    for state in host.RUNS.glob("*/state.json"):
        with contextlib.suppress(OSError, ValueError):
            used.update(json.loads(state.read_text())["lowers"])
    for family in host.CACHE.glob("*-*"):
        build, age = newest(family)
        if build and age < max_age:
            used.update(json.loads((build / "complete").read_text()))
    return used


def prune(max_age=30 * 86400):
    """Remove builds that are superseded and named by no box, and downloads of more than a month ago."""
    for family in host.CACHE.glob("*-*"):
        with host.locked(family.name):
            used = lowers_in_use(max_age)
            for build in family.glob("*/"):
                if not any(path.startswith(f"{build}/") for path in used):
                    host.say(f"removing old root {build}")
                    discard(build)
            if not any(family.iterdir()):
                family.rmdir()
    for deb in host.CACHE.glob("debs/*/*.deb"):
        if time.time() - deb.stat().st_mtime > max_age and deb.stat().st_nlink == 1:
            deb.unlink(missing_ok=True)
