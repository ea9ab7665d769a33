# SPDX-License-Identifier: Apache-2.0
"""The disk that every machine starts from: tests/container's Debian root, Debian's kernel, what dstack-host depends on.

Built once and kept beside the container roots, named after what it is made of. Docker and what else is slow to install
is in it; every other dependency is in a repository on it, so that apt in the guest has something to bring, and
services of others (haproxy, docker-registry) to keep in check.
"""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

from common import build

sys.path.insert(1, str(build.TOP / "tests"))
from container import base, debs, host  # noqa: E402 (path first)

RELEASE = "bookworm"
KERNEL = "linux-image-cloud-amd64"
HEADERS = "linux-headers-cloud-amd64"
INSTALLED = ("kmod initramfs-tools apparmor docker.io docker-compose qemu-utils nftables iptables logrotate").split()
OURS = ["dstack-host", "dstack-host-sim"]
# The initial RAM disk has what finds the root, nothing else: less to load without KVM.
INITRD = "virtio_pci\nvirtio_blk\next4\n"
GUEST = pathlib.Path(__file__).resolve().parent / "guest"
MIB = 4096
UNIT = """[Unit]
Description=Does what the test asks for over the port "rig"
[Service]
ExecStart=/usr/bin/python3 -B /opt/rig/agent.py
KillMode=process
"""
# By name: networkd would take the ends of Docker's virtual cables as well, and out of their bridge.
FILES = {
    "/etc/systemd/system/rig-agent.service": UNIT,
    "/etc/udev/rules.d/99-rig.rules":
        'SUBSYSTEM=="virtio-ports", ATTR{name}=="rig", TAG+="systemd", ENV{SYSTEMD_WANTS}="rig-agent.service"\n',
    "/etc/fstab": "/dev/vda / ext4 defaults 0 1\n/dev/vdb /srv/repo ext4 ro,nofail 0 0\n",
    "/etc/hostname": "rig\n",
    "/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\trig\n",
    "/etc/resolv.conf": "",
    "/etc/apt/sources.list": "deb [trusted=yes] file:/srv/deps ./\ndeb [trusted=yes] file:/srv/repo/this ./\n",
    "/etc/apt/apt.conf.d/90rig": 'Acquire::Languages "none";\n',
    "/etc/systemd/journald.conf.d/rig.conf": "[Journal]\nStorage=persistent\n",
    "/etc/systemd/network/50-rig.network": "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n",
}
# Debian starts these wherever Docker is; nothing here needs them, and each costs seconds without KVM.
MASKED = "systemd-timesyncd.service e2scrub_reap.service e2scrub_all.timer fstrim.timer man-db.timer".split()


def recipe(packages):
    """Of all that decides what is on the disk; of our packages only what they ask for."""
    texts = [path.read_text() for path in sorted(GUEST.iterdir()) if path.is_file()]
    depends = [build.sh("dpkg-deb", "-f", path, "Depends", "Recommends") for path in sorted(packages.glob("*.deb"))]
    version = build.sh("dpkg-deb", "-f", next(packages.glob("dstack-host_*.deb")), "Version").strip()
    return base.digest(*base.base(RELEASE), pathlib.Path(__file__).read_text(), *texts,
                       *[text.replace(version, "") for text in depends])


def image(packages):
    """(disk, kernel, initial RAM disk), paths as text, for a directory of our packages."""
    return base.cached(host.CACHE / f"{RELEASE}-vm-{recipe(packages)}", lambda directory: make(directory, packages),
                       f"{RELEASE} disk for virtual machines")


def make(directory, packages):
    log = directory / "log"
    script = (f"apt-get update && apt-get install -y --no-install-recommends {KERNEL} {' '.join(INSTALLED)} && "
              f"apt-get install -y --no-install-recommends --download-only {' '.join(OURS)}")
    with mounted(directory / "overlay", base.base(RELEASE)) as root, \
            base.debs_for(RELEASE, directory / "archives") as archives:
        put(root, "/etc/initramfs-tools/conf.d/rig", "MODULES=list\nCOMPRESS=gzip\n")
        put(root, "/etc/initramfs-tools/modules", INITRD)
        put(root, "/etc/apt/sources.list.d/ours.list", "deb [trusted=yes] file:/srv/repo/this ./\n")
        shutil.copytree(packages, root / "srv/repo/this")
        run(root, script, log, [f"--bind={archives}:/var/cache/apt/archives", "--resolv-conf=copy-host"])
        bring(root, archives)
        module(directory, archives, root, log)
        fill(root, log)
        build.sh("mke2fs", "-q", "-t", "ext4", "-L", "rig", "-d", root, directory / "disk.img", f"{MIB}M")
        kernel, initrd = (next((root / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img"))
        shutil.copyfile(kernel, directory / "vmlinuz")
        shutil.copyfile(initrd, directory / "initrd")
    host.remove_tree(directory / "overlay")
    return [directory / name for name in ("disk.img", "vmlinuz", "initrd")]


@contextlib.contextmanager
def mounted(overlay, lowers):
    root = host.mount_overlay(lowers, overlay)
    try:
        yield root
    finally:
        host.unmount(root)


def run(root, script, log, options=()):
    env = ["--setenv=DEBIAN_FRONTEND=noninteractive", "--setenv=LC_ALL=C.UTF-8"]
    base.in_root(root, ["/bin/sh", "-ec", script], log, "the virtual machine's packages", [*env, *options])


def put(root, path, text):
    target = pathlib.Path(f"{root}{path}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.write_text(text)


def bring(root, archives):
    """The repository /srv/deps: what apt would bring with our packages."""
    target = root / "srv/deps"
    target.mkdir(parents=True)
    wanted = build.sh("chroot", root, "apt-get", "-s", "install", "--no-install-recommends", *OURS)
    for name in re.findall(r"^Inst (\S+)", wanted, re.M):
        # ours are not among them: apt has copied nothing of a repository that is a directory
        for path in archives.glob(f"{name.partition(':')[0]}_*.deb"):
            shutil.copyfile(path, target / path.name)
    debs.index(target)


def module(directory, archives, root, log):
    """misc devices under the names of the SGX driver's, so that a real udev has something to apply our rules to."""
    version = next((root / "lib/modules").iterdir()).name
    with mounted(directory / "compiler", base.builder(RELEASE, build.TOP)) as compiler:
        (compiler / "build/module").mkdir(parents=True)
        for name in ("rigsgx.c", "Kbuild"):
            shutil.copyfile(GUEST / name, compiler / "build/module" / name)
        run(compiler, f"apt-get update && apt-get install -y --no-install-recommends linux-headers-{version} && "
            f"make -C /usr/src/linux-headers-{version} M=/build/module modules", log,
            [f"--bind={archives}:/var/cache/apt/archives", "--resolv-conf=copy-host"])
        shutil.copyfile(compiler / "build/module/rigsgx.ko", root / "lib/modules" / version / "rigsgx.ko")
    host.remove_tree(directory / "compiler")
    build.sh("chroot", root, "depmod", version)


def fill(root, log):
    shutil.copytree(GUEST, root / "opt/rig", dirs_exist_ok=True)
    shutil.rmtree(root / "etc/apt/sources.list.d", ignore_errors=True)
    for path in (root / "etc/apt/apt.conf.d").glob("*mmdebstrap*"):
        path.unlink()
    for path, text in FILES.items():
        put(root, path, text)
    for path in ("var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "srv/repo"):
        shutil.rmtree(root / path, ignore_errors=True)
        (root / path).mkdir(parents=True)
    run(root, f"systemctl mask {' '.join(MASKED)}; systemctl enable systemd-networkd; "
        "chsh -s /bin/bash root; passwd -d root", log)


def repository(directory, *sources):
    """A disk with package repositories: sources are (name, directory of a flat repository)."""
    content = directory / "repo"
    for name, source in sources:
        shutil.copytree(source, content / name, ignore=shutil.ignore_patterns("*.ddeb", "*.buildinfo", "*.changes",
                                                                            "*dbgsym*"))
    disk = directory / "repo.img"
    build.sh("mke2fs", "-q", "-t", "ext4", "-d", content, disk, "64M")
    shutil.rmtree(content)
    return disk


def overlay(path, backing, kind):
    """A disk that takes the writes and leaves backing as it is."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", os.path.abspath(backing), "-F", kind, path],
                   check=True)
    return path
