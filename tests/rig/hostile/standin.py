# SPDX-License-Identifier: Apache-2.0
"""A host of its own below a directory, all of whose daemons are peers of this package: for `status` and `await`.

The program is run in a chroot, because it asks no daemon for another system (--root). What a good daemon answers is
here; which of them misbehaves, and how, is said when the peers are started.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys

import measuring
from common import corner

from . import Peer, answers, frame, names, tls

CLONE_NEWNET = 0x40000000
HEX40, HEX64 = "1" * 40, "0" * 64
VM = "11111111-2222-3333-4444-555555555555"
CONTRACT = "0x" + HEX40
COMPOSE = "c" * 64
# role: what of `status` may change when that daemon misbehaves; the first one has to.
ROWS = {"docker": ("docker", "aesmd", "sealing"), "supervisor": ("supervisor", "cvms"), "vmm": ("vmm", "cvms"),
        "pccs": ("pccs",), "front": ("front",), "registry": ("registry",), "kms": ("kms",), "qgs": ("qgsd",),
        "key-provider": ("key-provider",)}
ASKED = sorted(row for rows in ROWS.values() for row in rows)
UNIX = {"docker": "/run/docker.sock", "supervisor": "/run/dstack/supervisor.sock", "vmm": "/run/dstack/vmm/vmm.sock",
        "qgs": "/run/qgs.sock"}
PORTS = {"pccs": 8081, "front": 9080, "registry": 5000, "kms": 9103, "key-provider": 3443}  # nobody else is there
TLS = ("pccs", "registry", "kms")
FRAMES = ("qgs", "key-provider")
SECONDS = {"kms": 3}  # how long it may be asked; the others 2


def doc(value):
    return json.dumps(value).encode()


def good_answers():
    containers = [{"Names": ["/" + name], "State": "running", "Status": "Up 3 minutes"}
                  for name in ("aesmd", "gramine-sealing-key-provider")]
    process = {"config": {"id": VM, "name": "kms", "note": "{\"kind\":\"cvm\"}"},
               "state": {"status": "running", "pid": 999999}}
    machine = {"id": VM, "name": "kms", "status": "running", "configuration": {"compose_file": "{}"}}
    meta = {"ca_cert": tls.ca(), "kms_contract_address": CONTRACT, "chain_id": 11155111,
            "app_auth_implementation": CONTRACT}
    info = struct.pack("<HHIII", 1, 1, 5, 44, 0) + struct.pack("<HHII", 4, 5, 8, 8) + bytes(16)
    return {
        "docker": answers({"/_ping": (200, b"OK"), "/containers/json": (200, doc(containers))}),
        "supervisor": answers({"/ping": (200, doc({"data": "pong"})), "/list": (200, doc({"data": [process]}))}),
        "vmm": answers({"/prpc/Status": (200, doc({"vms": [machine], "total": 1}))}),
        "pccs": answers({}),
        "front": answers({}, (401, b"token required")),
        "registry": answers({"/v2/": (200, b"{}")}),
        "kms": answers({"/prpc/KMS.GetMeta": (200, doc(meta))}, (404, b"")),
        "qgs": frame(info),
        "key-provider": frame(b"{}"),
    }


def fitting(role):
    """The behaviours that make sense for a daemon."""
    if role in FRAMES:
        return names("socket", "frame")
    layers = ["socket", "http", "json"] + (["tls"] if role in TLS else [])
    return names(*layers)


def enter():
    """Namespaces of our own: processes (status looks for machines of this host in all there are), mounts, network."""
    if os.getpid() != 1:
        os.execvp("unshare", ["unshare", "--pid", "--fork", "--kill-child", sys.executable, *sys.argv])
    corner.enter()
    private_network()


def private_network():
    """A network namespace with nothing but a loopback, for this process and its children."""
    corner.checked(corner.libc.unshare(CLONE_NEWNET), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0x1)  # IFF_UP
        fcntl.ioctl(any_socket, 0x8914, request)      # SIOCSIFFLAGS


class Host:
    """The chroot; its files stay, its daemons are those of one `with host.daemons(...)`."""

    def __init__(self, program, root):
        self.root, self.answers = root, good_answers()
        for path in ("proc", "dev", "etc/dstack/secrets", "run/dstack/vmm", "var/lib/dstack/vm", "root"):
            os.makedirs(f"{root}/{path}")
        for name in ("usr", "lib", "lib64", "bin", "sbin"):
            self.lend(name)
        corner.mount("proc", f"{root}/proc", "proc")
        for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
            os.mknod(f"{root}/dev/{name}", 0o666 | 0o020000, os.makedev(1, minor))
            os.chmod(f"{root}/dev/{name}", 0o666)
        for name in ("ld.so.cache", "passwd", "group", "nsswitch.conf"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"/etc/{name}", f"{root}/etc/{name}")
        self.install(program)
        shutil.copy(measuring.tool(), f"{root}/root/measure")
        self.ports = dict(PORTS)
        self.configure()

    def install(self, program):
        shutil.copy(program, f"{self.root}/root/dstack-host")

    def lend(self, name):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{self.root}/{name}")
        elif os.path.isdir(f"/{name}"):
            os.mkdir(f"{self.root}/{name}")
            corner.mount(f"/{name}", f"{self.root}/{name}", None, corner.MS_BIND | corner.MS_REC)

    def put(self, path, text, mode=0o600):
        with open(self.root + path, "w", encoding="utf-8") as handle:
            handle.write(text)
        os.chmod(self.root + path, mode)

    def configure(self):
        port = self.ports
        self.put("/etc/dstack/host.conf", "\n".join([
            "DOMAIN=host.example", f"PCCS_PORT={port['pccs']}", f"VMM_ADDRESS=127.0.0.1:{port['front']}",
            f"REGISTRY_LISTEN=127.0.0.1:{port['registry']}", f"KMS_PORT={port['kms']}",
            f"KEY_PROVIDER_ADDRESS=127.0.0.1:{port['key-provider']}", f"QGS_ADDRESS=unix:{UNIX['qgs']}",
            "AESMD_IMAGE=aesmd", "KEY_PROVIDER_IMAGE=provider", f"KMS_IMAGE=kms@sha256:{HEX64}",
            f"KMS_CONTRACT={CONTRACT}", f"APP_AUTH_IMPLEMENTATION={CONTRACT}", "ETH_RPC_URLS=https://rpc.example/"]) + "\n")
        self.put("/etc/dstack/secrets/vmm-internal-token", HEX64)
        os.makedirs(f"{self.root}/var/lib/dstack/kms", exist_ok=True)
        self.put("/var/lib/dstack/kms/deploy.json", json.dumps({
            "schema": "dstack-host.kms-deploy/1", "vm_id": VM, "name": "kms", "image": "dstack-0.5.5",
            "compose_hash": COMPOSE, "vcpu": 2, "memory_mb": 4096, "disk_gb": 20, "host_port": port["kms"],
            "guest_port": 9100, "domain": "kms.host.example"}))

        self.put("/var/lib/dstack/kms/ca.pem", tls.ca())
        self.add_image()

    def add_image(self):
        """Programs and a guest image as far as `status` looks at them: what waits for these says nothing of daemons."""
        image, programs = "/var/lib/dstack/images/dstack-0.5.5", "/var/lib/dstack/bin/current"
        for path in (image, programs):
            os.makedirs(self.root + path)
        for name in ("dstack-vmm", "supervisor"):
            self.put(f"{programs}/{name}", "#!/bin/true\n", 0o755)
        parts = ("bios", "kernel", "initrd", "rootfs")
        for part in parts:
            self.put(f"{image}/{part}", part)
        sums = "".join(f"{hashlib.sha256(part.encode()).hexdigest()}  {part}\n" for part in parts)
        self.put(f"{image}/metadata.json", json.dumps({"cmdline": "quiet", **{part: part for part in parts}}))
        self.put(f"{image}/sha256sum.txt", sums)
        self.put(f"{image}/digest.txt", hashlib.sha256(sums.encode()).hexdigest())

    @contextlib.contextmanager
    def daemons(self, faults):
        """faults: {role: behaviour}; the others are good. Yields {role: Peer}."""
        peers = {}
        with contextlib.ExitStack() as stack:
            for role in ROWS:
                at = self.root + UNIX[role] if role in UNIX else ("127.0.0.1", self.ports[role])
                name = faults.get(role) or ("frame-good" if role in FRAMES else "good")
                peers[role] = stack.enter_context(Peer(name, self.answers[role], at, role in TLS))
            yield peers

    def run(self, *argv, timeout=60, env=None):
        """The program in the chroot: a measuring.Measured."""
        return measuring.measure(["/root/dstack-host", *argv], "/root/measure", timeout=timeout,
                                 env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **(env or {})},
                                 preexec_fn=lambda: (os.chroot(self.root), os.chdir("/")))


def need_openssl():
    """None, or why there are no certificates."""
    try:
        tls.ca()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"openssl does not work: {error}"
    return None
