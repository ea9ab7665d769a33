# SPDX-License-Identifier: Apache-2.0
"""A host in a temporary directory for the VMM tests: guest image, configuration, supervisor, VMM.

With REAL_VMM and REAL_SUPERVISOR in the environment upstream's programs run instead of the stand-ins.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIM = ROOT / "src" / "sim"
VECTORS = ROOT / "tests" / "data" / "vectors" / "vmm-0.5.5"
sys.path.insert(0, str(SIM))

import base  # noqa: E402  (needs the path above)

REAL_VMM = os.environ.get("REAL_VMM")
REAL_SUPERVISOR = os.environ.get("REAL_SUPERVISOR")
VMM = REAL_VMM or str(SIM / "bin" / "dstack-vmm")
SUPERVISOR = REAL_SUPERVISOR or str(SIM / "bin" / "supervisor")
CVM = str(SIM / "bin" / "qemu")
TIMEOUT = 15

METADATA = {"bios": "ovmf.fd", "kernel": "bzImage", "initrd": "initramfs.cpio.gz", "rootfs": "rootfs.img.verity",
            "cmdline": "console=ttyS0 init=/init panic=1 dstack.rootfs_hash=abc dstack.rootfs_size=65536",
            "version": "0.5.5", "git_revision": "simulated", "shared_ro": True, "is_dev": False}
PLAIN_QEMU = """#!/bin/sh
if [ "$1" = --version ]; then echo "QEMU emulator version 8.2.2 (stand-in)"; exit 0; fi
echo "stand-in qemu pid $$ started"
echo "stand-in stderr" >&2
exec sleep 600
"""
QEMU_IMG = """#!/bin/sh
case "$1" in
create) truncate -s "$5" "$4" ;;
resize) truncate -s "$3" "$2" ;;
*) exit 1 ;;
esac
"""


def free_port(low=20000, high=32000):
    """A port nobody listens on, below the range the kernel hands out."""
    while True:
        port = random.randrange(low, high)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_until(check, what, timeout=TIMEOUT):
    """Calls check() until it is true; -> its answer. For what tells nobody when it is ready."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def toml(table, prefix=""):
    lines, tables = [], []
    for key, value in table.items():
        if isinstance(value, dict):
            tables.append((f"{prefix}{key}", value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            inner = [", ".join(f"{k} = {json.dumps(v)}" for k, v in one.items()) for one in value]
            lines.append(f"{key} = [" + ", ".join("{ " + one + " }" for one in inner) + "]")
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    text = "\n".join(lines) + "\n"
    for name, value in tables:
        text += f"\n[{name}]\n" + toml(value, name + ".")
    return text


def merged(into, changes):
    out = dict(into)
    for key, value in changes.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and key in out else value
    return out


class Host:
    def __init__(self, test, qemu=CVM, **changes):
        self.root = tempfile.mkdtemp(prefix="dsim")
        test.addCleanup(self.close)
        self.bin = self.path("bin")
        self.kms_port = free_port()
        self.host_api_port = free_port()
        for name in ("bin", "vm", "images/dstack-0.5.5", "work"):
            os.makedirs(self.path(name))
        self.script("plain-qemu", PLAIN_QEMU)
        self.script("qemu-img", QEMU_IMG)
        for name in ("bios", "kernel", "initrd", "rootfs"):
            self.write(f"images/dstack-0.5.5/{METADATA[name]}", f"simulated {name}\n")
        self.write("images/dstack-0.5.5/metadata.json", json.dumps(METADATA))
        self.config = merged({
            "address": "unix:" + self.path("vmm.sock"), "image_path": self.path("images"), "run_path": self.path("vm"),
            "kms_url": f"https://127.0.0.1:{self.kms_port}",
            "cvm": {"qemu_path": qemu, "kms_urls": ["https://kms.example.org:443"], "gateway_urls": [],
                    "cid_start": random.randrange(1 << 16, 1 << 30), "cid_pool_size": 1000,
                    "port_mapping": {"enabled": True, "range": [{"protocol": "tcp", "from": 9000, "to": 40000}]},
                    "auto_restart": {"enabled": True, "interval": 20}},
            "auth": {"enabled": True, "tokens": ["example-token"]},
            "supervisor": {"exe": SUPERVISOR, "sock": self.path("supervisor.sock"),
                           "pid_file": self.path("supervisor.pid"), "log_file": self.path("supervisor.log"),
                           "auto_start": False},
            "host_api": {"address": "vsock:0xffffffff", "port": self.host_api_port},
            "key_provider": {"port": free_port()},
        }, changes)
        self.processes = []
        self.vmm_process = self.supervisor_process = self.elsewhere = None

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8", errors="replace") as file:
            return file.read()

    def script(self, name, text):
        self.write(f"bin/{name}", text)
        os.chmod(self.path("bin", name), 0o755)
        return self.path("bin", name)

    def hide(self, name):
        """A machine without this program: all others, found by their names."""
        self.elsewhere = self.path("elsewhere")
        os.mkdir(self.elsewhere)
        for directory in reversed(os.environ["PATH"].split(":")):
            for entry in os.scandir(directory) if os.path.isdir(directory) else ():
                if entry.name != name:
                    link = os.path.join(self.elsewhere, entry.name)
                    if os.path.lexists(link):
                        os.unlink(link)
                    os.symlink(entry.path, link)

    def env(self):
        env = {key: value for key, value in os.environ.items() if key not in ("RUST_BACKTRACE", "DSTACK_SIM_QGS")}
        return {**env, "PATH": self.bin + ":" + (self.elsewhere or env["PATH"]), "PYTHONDONTWRITEBYTECODE": "1"}

    def spawn(self, command, log, **options):
        with open(self.path(log), "ab") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env(),
                                       cwd=self.path("work"), **options)
        self.processes.append(process)
        return process

    def start_supervisor(self):
        self.supervisor_process = self.spawn(
            [SUPERVISOR, "--uds", self.path("supervisor.sock"), "--remove-existing-uds", "--pid-file",
             self.path("supervisor.pid"), "--log-file", self.path("supervisor.log")], "supervisor.out")
        self.wait_for(self.supervisor_process, lambda: self.answers("supervisor.sock", "/ping"), "supervisor.out")

    def start_vmm(self, **options):
        self.write("vmm.toml", toml(self.config))
        self.vmm_process = self.spawn([VMM, "--config", self.path("vmm.toml"), "serve"], "vmm.out", **options)
        self.wait_for(self.vmm_process, lambda: self.answers("vmm.sock", "/prpc/Version"), "vmm.out")

    def wait_for(self, process, ready, log):
        def check():
            if process.poll() is not None:
                raise AssertionError(f"ended with {process.returncode}: {self.read(log)}")
            return ready()

        wait_until(check, f"{log} ready")

    def start(self):
        self.start_supervisor()
        self.start_vmm()
        return self

    def answers(self, sock, path):
        try:
            return base.http_call("unix:" + self.path(sock), "GET", path, timeout=5)[0] == 200
        except OSError:
            return False

    def stop(self, process, number=signal.SIGTERM):
        process.send_signal(number)
        return process.wait(TIMEOUT)

    def restart_vmm(self, number=signal.SIGTERM):
        code = self.stop(self.vmm_process, number)
        self.start_vmm()
        return code

    def supervisor(self, method, path, body=None):
        return json.loads(base.http_call("unix:" + self.path("supervisor.sock"), method, path, body)[2])

    def list(self):
        return self.supervisor("GET", "/list")["data"]

    def entry(self, name):
        return next(entry for entry in self.list() if entry["config"]["id"] == name)

    def call(self, method, body=None):
        """-> (status, answer)."""
        status, _, data = base.http_call("unix:" + self.path("vmm.sock"), "POST", f"/prpc/{method}?json",
                                         {} if body is None else body)
        return status, json.loads(data)

    def good(self, method, body=None):
        status, answer = self.call(method, body)
        if status != 200:
            raise AssertionError(f"{method}: {answer}")
        return answer

    def create(self, name="app", compose=None, ports=(), **more):
        compose = json.dumps({"manifest_version": 2, "name": name, "runner": "docker-compose",
                              "docker_compose_file": "services: {}\n", "allowed_envs": [], **(compose or {})}, indent=4)
        return self.good("CreateVm", {
            "name": name, "image": "dstack-0.5.5", "compose_file": compose, "vcpu": 1, "memory": 1024, "disk_size": 1,
            "ports": [{"protocol": "tcp", "host_address": "127.0.0.1", "host_port": host, "vm_port": guest}
                      for host, guest in ports], **more})["id"]

    def info(self, name):
        return self.good("GetInfo", {"id": name})["info"]

    def wait_info(self, name, **fields):
        return wait_until(lambda: (info := self.info(name)) and all(info[k] == v for k, v in fields.items()) and info,
                          f"{fields} of {name}, whose log is {self.vm_log(name)}")

    def vm_log(self, name, channel="stderr"):
        """What there is of it: upstream's supervisor makes the file only after it has answered /deploy."""
        try:
            return self.read(f"vm/{name}/{channel}.log")
        except OSError:
            return ""

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.orphans():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.root)

    def orphans(self):
        """Our QEMUs that still live, known by our directory in their command line or working directory."""
        out = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/cwd").startswith(self.root + "/"):
                    out.append(int(pid))
            except OSError:
                continue
        return out


class HostTest(unittest.TestCase):
    def setUp(self):
        if bool(REAL_VMM) != bool(REAL_SUPERVISOR):
            self.fail("REAL_VMM and REAL_SUPERVISOR must be set together")

    def host(self, qemu=CVM, **changes):
        return Host(self, qemu, **changes)

    def simulated_only(self, reason):
        if REAL_VMM:
            print(f"SKIPPED with the real VMM: {self.id()}: {reason}", file=sys.stderr)
            self.skipTest(reason)
