# SPDX-License-Identifier: Apache-2.0
"""Stand-in for QEMU with a dstack guest in it: takes 0.5.5's command line, boots in stages, serves the mapped ports.

Like QEMU it fails on a locked disk, a used CID or a used port, and SIGTERM ends it with 0. There is no machine in it
and no protection of anything: a VM's "disk" is the directory guest/ beside hda.img.
"""

import base64
import fcntl
import json
import os
import re
import socket
import struct
import sys
import threading
import time

import cvm_qtest
import proto
from base import HttpServer, Reply, StopSignal, listen, log
from cvm_guest import GuestError, HostApi, Kms, Measured, app_info, open_disk, read_json, sealing_key

VERSION = "8.2.2"
RESTART_PAUSE = 2


class QemuError(Exception):
    """The machine cannot be started: a line on stderr and exit status 1."""


class Machine:
    """What the command line says."""

    def __init__(self, argv):
        pairs = [(argv[i], argv[i + 1] if i + 1 < len(argv) else "") for i in range(len(argv))]
        self.version = VERSION
        self.options = {}
        for name, value in pairs:
            if name.startswith("-"):
                self.options.setdefault(name, []).append(value)
        self.bios, self.kernel, self.initrd = (self.first(name) for name in ("-bios", "-kernel", "-initrd"))
        self.smp, self.memory, self.cmdline = self.first("-smp"), self.first("-m"), self.first("-append")
        self.share = self.find("-virtfs", r"(?:^|,)path=([^,]*)")
        self.cid = int(self.find("-device", r"guest-cid=(\d+)") or 0)
        self.disk = self.find("-drive", r"^file=(.*),if=none,id=hd1")
        self.serial_log = self.find("-chardev", r",logfile=([^,]*)")
        self.serial_pty = self.find("-chardev", r"^pty,.*?path=([^,]*)")
        encoded = self.find("-object", r"mrconfigid=([A-Za-z0-9+/=]*)")
        self.mrconfigid = base64.b64decode(encoded) if encoded else bytes(48)
        if not self.share or not self.disk:
            raise QemuError("simulated QEMU: -virtfs with path= and a -drive with id=hd1 are needed")
        self.workdir = os.path.dirname(self.share)
        self.forwards = [(protocol, address, int(host), int(guest)) for protocol, address, host, guest in re.findall(
            r"hostfwd=(tcp|udp):([^,]*):(\d+)-[^,:]*:(\d+)", ",".join(self.options.get("-netdev", [])))]

    def first(self, name):
        return self.options.get(name, [""])[0]

    def find(self, name, pattern):
        for value in self.options.get(name, []):
            match = re.search(pattern, value)
            if match:
                return match[1]
        return None


def lock_disk(path):
    """As QEMU's image locking: open file description locks, so the kernel frees them with the process."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise QemuError(f"-drive file={path},if=none,id=hd1: Could not open '{path}': {error.strerror}") from error
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        raise QemuError(f'-device virtio-blk-pci,drive=hd1: Failed to get "write" lock\n'
                        f"Is another process using the image [{path}]?") from error
    return fd


def claim_cid(cid):
    """CIDs are unique on a host; the kernel keeps the real ones apart, an abstract socket ours."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.bind(f"\0dstack-sim-guest-cid-{cid}")
    except OSError as error:
        raise QemuError(f"-device vhost-vsock-pci,guest-cid={cid}: vhost-vsock: unable to set guest cid: "
                        "Address already in use") from error
    return sock


def open_ports(forwards):
    """Listening from the start, as QEMU's user network does: -> [(socket, forward)]."""
    out = []
    for forward in forwards:
        protocol, address, host, guest = forward
        try:
            if protocol == "tcp":
                out.append((listen(f"tcp:{address or '0.0.0.0'}:{host}"), forward))
            else:
                sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
                sock.bind((address or "0.0.0.0", host))
                out.append((sock, forward))
        except OSError as error:
            raise QemuError(f"-netdev user,id=net0: Could not set up host forwarding rule "
                            f"'{protocol}:{address}:{host}-:{guest}'") from error
    return out


def open_pty(path):
    """The console's terminal, linked as QEMU links it. Nobody types there."""
    master, slave = os.openpty()
    name = os.ttyname(slave)
    print(f"char device redirected to {name} (label com0)", flush=True)
    if path:
        try:
            os.symlink(name, path)
        except OSError as error:
            raise QemuError(f"-chardev pty,id=com0,path={path}: Failed to create PTY symlink: {error.strerror}") \
                from error
    return master, slave


class Guest:
    def __init__(self, machine, ports, stop):
        self.machine = machine
        self.ports = ports
        self.stop = stop
        self.exit_code = 0
        self.halted = threading.Event()
        shared = machine.share
        self.compose_path = os.path.join(shared, "app-compose.json")
        self.compose = read_json(self.compose_path)
        system = read_json(os.path.join(shared, ".sys-config.json"))
        self.host = HostApi(machine.workdir, system.get("host_api_url") or "vsock://2:10000/api", machine.cid)
        self.info = read_json(os.path.join(shared, ".instance_info"))
        self.state_dir = os.path.join(machine.workdir, "guest")
        self.serial = open(machine.serial_log, "wb", 0) if machine.serial_log else None
        self.started = time.monotonic()

    def console(self, text):
        if self.serial:
            self.serial.write(f"[{time.monotonic() - self.started:12.6f}] {text}\n".encode())

    def progress(self, stage):
        self.console(f"boot: {stage}")
        self.host.notify("boot.progress", stage)

    def boot(self):
        try:
            self.console("simulated guest: no kernel, no TDX, no protection")
            self.prepare()
            self.run_app()
        except GuestError as error:
            self.fail(str(error))
        except Exception as error:  # whatever it is: a guest that cannot boot says so and ends
            log("error", f"simulated guest: {error!r}", sys.stderr)
            self.fail(repr(error))

    def fail(self, text):
        self.console(f"boot failed: {text}")
        log("error", f"boot failed: {text}", sys.stderr)
        self.host.notify("boot.error", text)
        self.exit_code = 1
        self.stop.set()

    def prepare(self):
        """dstack-prepare: instance, keys, disk."""
        try:
            with open(self.compose_path, "rb") as file:
                compose_bytes = file.read()
        except OSError as error:
            raise GuestError(f"Failed to read app-compose.json: {error.strerror}") from error
        self.info = app_info(self.compose, compose_bytes, self.info)
        measured = Measured(self.machine)
        for event, data in (("app-id", self.info["app_id"].encode()), ("compose", compose_bytes),
                            ("instance-id", self.info["instance_id"].encode())):
            measured.extend(event, data)
        self.measured = measured
        self.progress("requesting app keys")
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        if self.compose.get("local_key_provider_enabled") and not self.compose.get("kms_enabled"):
            self.progress(open_disk(self.state_dir, sealing_key(self.host, measured)))
        else:
            self.progress("mounting data disk")
        self.host.notify("instance.info", json.dumps(self.info))
        self.progress("data disk ready")
        if self.compose.get("gateway_enabled"):
            self.progress("setting up dstack-gateway")
        self.progress("setting up docker")

    def run_app(self):
        self.agent = HttpServer("unix:" + os.path.join(self.machine.workdir, "guest-agent.sock"), self.agent_call,
                                "simulated guest agent").start()
        os.chmod(self.agent.address[5:], 0o600)
        kms = Kms(self.compose)
        self.progress("starting containers")
        listen_kms = []
        for sock, (protocol, address, host, guest) in self.ports:
            if kms.present and protocol == "tcp" and guest == kms.port:
                sock.close()  # the KMS module listens for itself
                listen_kms.append((address or "0.0.0.0", host))
            elif protocol == "tcp":
                HttpServer(sock, self.answer, "simulated CVM").start()
        if kms.present:
            self.run_kms(kms, listen_kms)
        else:
            self.progress("done")

    def run_kms(self, kms, where):
        """The KMS's container with its restart policy: whenever it ends, it is started again."""
        import kms as kms_module
        done = threading.Event()

        def progress(stage):
            # docker says "done" once; a container that restarts later does not say it again.
            if stage == "done" and not done.is_set():
                done.set()
                self.progress("done")
            else:
                self.console(f"kms: {stage}")

        state_dir = os.path.join(self.state_dir, "kms-certs")
        while not self.halted.is_set():
            try:
                kms_module.run(where, state_dir, kms.domain, kms.env, progress, stop=self.halted,
                               quote=self.measured.quote)
            except (OSError, ValueError) as error:
                self.console(f"kms: container ended: {error}")
                log("error", f"simulated KMS ended: {error}", sys.stderr)
            self.halted.wait(RESTART_PAUSE)

    def answer(self, _req):
        return Reply(200, f"simulated CVM {self.compose.get('name', '')}\n")

    def agent_call(self, req):
        """The guest agent behind the VMM's /guest and ShutdownVm."""
        method = req.path.rpartition("/")[2]
        machine, info = self.machine, self.info
        values = {
            "Info": {"version": "0.5.5", "app_id": bytes.fromhex(info["app_id"]),
                     "instance_id": bytes.fromhex(info["instance_id"])},
            "SysInfo": {"os_name": "simulated", "kernel_version": "simulated", "num_cpus": int(machine.smp or 1),
                        "total_memory": int(machine.memory.rstrip("M") or 0) << 20},
            "NetworkInfo": {"dns_servers": ["10.0.2.3"], "gateways": [{"address": "10.0.2.2"}]},
            "ListContainers": {}, "Shutdown": {}}.get(method)
        if values is None:
            return Reply(400, '{"error": "Service not found"}', "application/json")
        if method == "Shutdown":
            threading.Thread(target=self.power_off, daemon=True).start()
        return Reply(200, json.dumps(proto.to_jsonable(proto.GUEST_METHODS[method][1], values)), "application/json")

    def power_off(self):
        for stage in ("stopping app", "powering off"):
            self.console(f"shutdown: {stage}")
            self.host.notify("shutdown.progress", stage)
        self.stop.set()

    def end(self):
        self.halted.set()
        for path in (getattr(self, "agent", None) and self.agent.address[5:], self.machine.serial_pty):
            if path:
                try:
                    os.unlink(path)
                except OSError:
                    pass


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in ("--version", "-version"):
        print(f"QEMU emulator version {VERSION} (simulated)")
        return 0
    if cvm_qtest.is_asked(argv):
        return cvm_qtest.main(argv, VERSION)
    try:
        machine = Machine(argv)
        held = [lock_disk(machine.disk), claim_cid(machine.cid)]
        ports = open_ports(machine.forwards)
        held += open_pty(machine.serial_pty)
        stop = StopSignal()
        guest = Guest(machine, ports, stop)
    except (QemuError, OSError) as error:
        print(f"qemu-system-x86_64: {error}", file=sys.stderr)
        return 1
    threading.Thread(target=guest.boot, daemon=True).start()
    stop.wait()
    guest.end()
    os._exit(guest.exit_code)  # the kernel closes sockets and locks; no thread of ours has anything to finish


if __name__ == "__main__":
    sys.exit(main())
