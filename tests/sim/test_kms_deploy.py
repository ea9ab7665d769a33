# SPDX-License-Identifier: Apache-2.0
"""`dstack-host kms deploy` against the stand-ins: once and never twice, frozen first, followed until it is a KMS."""

import fcntl
import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import threading
import unittest
import urllib.request

from test_lifecycle import KeyProvider
from vmmhost import ROOT, HostTest, alive, free_port, wait_until

import base
import ethrpc

DSTACK_HOST = os.environ.get("DSTACK_HOST") or str(ROOT / "build" / "dstack-host")
DIGEST = "@sha256:" + "0123456789abcdef" * 4
DEADLINE = 60
SOCKET = "run/dstack/vmm/vmm.sock"
# No KMS gets so far that it boots: these hold for upstream's VMM, too.
WITHOUT_GUEST = ("test_waits_for_a_setting", "test_another_compose_of_that_name_is_left_alone", "test_no_image_no_kms",
                 "test_a_port_in_use", "test_a_damaged_record_stops_it",
                 "test_machines_are_looked_for_where_the_vmm_keeps_them")


class Between:
    """A relay in front of the VMM's socket that can lose the answer to CreateVm, and looks at the disk before it."""

    def __init__(self, test, listen, to, on_create):
        self.to, self.on_create, self.creates, self.lose = to, on_create, 0, None
        self.looks = threading.Semaphore(0)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(listen)
        self.sock.listen(16)
        test.addCleanup(self.sock.close)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.relay, args=(conn,), daemon=True).start()

    def relay(self, conn):
        with conn, socket.socket(socket.AF_UNIX) as vmm:
            try:
                vmm.connect(self.to)
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                data = conn.recv(65536)
                if not data:
                    return
                head += data
            create = head.startswith(b"POST /prpc/CreateVm")
            if create:
                self.creates += 1
                self.on_create()
                if self.lose == "until looked for twice":
                    conn.shutdown(socket.SHUT_RDWR)
                    for _ in range(2):
                        self.looks.acquire(timeout=DEADLINE)
            elif self.creates:
                self.looks.release()
            vmm.sendall(head)
            threading.Thread(target=self.copy, args=(conn, vmm), daemon=True).start()
            answer = vmm.recv(65536)
            if create and self.lose:
                if self.lose == "the answer":
                    conn.shutdown(socket.SHUT_RDWR)  # it was made, and nobody hears of it
                return
            conn.sendall(answer)
            self.copy(vmm, conn)

    @staticmethod
    def copy(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass


@unittest.skipUnless(os.access(DSTACK_HOST, os.X_OK), f"{DSTACK_HOST} is not built")
class DeployTest(HostTest):
    def setUp(self):
        super().setUp()
        if self._testMethodName not in WITHOUT_GUEST:
            self.simulated_only("the stand-in guest brings the KMS, and reports only to the stand-in VMM")
        self.h = self.host()
        self.h.config["address"] = "unix:" + self.h.path("real.sock")
        os.makedirs(self.h.path("run/dstack/vmm"))
        os.makedirs(self.h.path("etc/dstack"))
        self.frozen = None
        self.between = Between(self, self.h.path(SOCKET), self.h.path("real.sock"), self.look_at_disk)
        KeyProvider(self, self.h.config["key_provider"]["port"])
        chain = ethrpc.EthRpc(self.h.path("fault"))
        self.addCleanup(chain.stopping.set)
        self.rpc = free_port()
        self.addCleanup(base.HttpServer(f"tcp:127.0.0.1:{self.rpc}", chain).start().stop)
        self.port = free_port()
        self.settings()

    def settings(self, **changes):
        values = {"DOMAIN": "sim.example", "KMS_IMAGE": "registry.sim.example/dstack-kms" + DIGEST,
                  "KMS_CONTRACT": ethrpc.KMS_CONTRACT, "APP_AUTH_IMPLEMENTATION": ethrpc.APP_IMPLEMENTATION,
                  "ETH_RPC_URLS": f"http://127.0.0.1:{self.rpc}", "KMS_PORT": self.port, "IMAGE_DIR": "/images",
                  "VM_DIR": "/vm", "VMM_PORT_RANGES": "tcp:20000-32000", **changes}
        self.h.write("etc/dstack/host.conf", "".join(f"{k}={v}\n" for k, v in values.items() if v is not None))

    def look_at_disk(self):
        kms = pathlib.Path(self.h.path("var/lib/dstack/kms"))
        self.frozen = {path.name: path.read_text() for path in kms.glob("*")} if kms.exists() else {}

    def start(self):
        """The VMM listens beside the relay."""
        self.h.start_supervisor()
        self.h.write("vmm.toml", "")
        answers = self.h.answers
        self.h.answers = lambda sock, path: answers("real.sock" if sock == "vmm.sock" else sock, path)
        self.h.start_vmm()

    def run_it(self, *args, **env):
        return subprocess.run([DSTACK_HOST, "--root", self.h.root, "kms", *args], capture_output=True, text=True,
                              timeout=DEADLINE, check=False, env={**os.environ, **env})

    def deploy(self, code=0, **env):
        done = self.run_it("deploy", **env)
        self.assertEqual(code, done.returncode, done.stderr)
        self.assertEqual("", done.stdout)
        return done.stderr

    def vms(self):
        status, _, data = base.http_call("unix:" + self.h.path("real.sock"), "POST", "/prpc/Status?json", {})
        self.assertEqual(200, status)
        return json.loads(data)["vms"]

    def call(self, method, body):
        status, _, data = base.http_call("unix:" + self.h.path("real.sock"), "POST", f"/prpc/{method}?json", body)
        self.assertEqual(200, status, data)

    def record(self):
        return json.loads(self.h.read("var/lib/dstack/kms/deploy.json"))

    def test_waits_for_a_setting(self):
        self.settings(KMS_CONTRACT=None)
        self.assertIn("waits for the setting KMS_CONTRACT", self.deploy())
        self.assertFalse(os.path.exists(self.h.path("var/lib/dstack/kms")))
        done = self.run_it("status")
        self.assertEqual((1, "state         waiting\nwaits_for     setting KMS_CONTRACT\n"),
                         (done.returncode, done.stdout))

    def test_deploys_once(self):
        self.start()
        self.assertIn("the KMS is ready", self.deploy())
        [vm] = self.vms()
        config = vm["configuration"]
        self.assertEqual(("kms", "dstack-0.5.5", 2, 4096, 20),
                         tuple(config[key] for key in ("name", "image", "vcpu", "memory", "disk_size")))
        self.assertEqual([{"protocol": "tcp", "host_address": "127.0.0.1", "host_port": self.port, "vm_port": 9100}],
                         config["ports"])
        # On disk before the VMM was asked, and what the VMM was then asked for.
        self.assertEqual({"docker-compose.yaml", "auth-eth.env", "app-compose.json", "deploy.json"}, set(self.frozen))
        self.assertEqual(config["compose_file"], self.frozen["app-compose.json"])
        self.assertEqual("", json.loads(self.frozen["deploy.json"])["vm_id"])
        self.assertEqual(vm["id"], self.record()["vm_id"])
        for name in self.frozen:
            self.assertEqual(0o600, stat.S_IMODE(os.stat(self.h.path("var/lib/dstack/kms", name)).st_mode), name)
        ca = self.h.read("var/lib/dstack/kms/ca.pem")
        self.assertIn("BEGIN CERTIFICATE", ca)

        self.assertIn("the KMS is ready", self.deploy())
        self.assertEqual([vm["id"]], [one["id"] for one in self.vms()])
        self.assertEqual(1, self.between.creates)
        self.assertEqual(ca, self.h.read("var/lib/dstack/kms/ca.pem"))
        done = self.run_it("status", "--json")
        status = json.loads(done.stdout)
        self.assertEqual((0, "dstack-host.kms/1", "ready", vm["id"], "as deployed"),
                         (done.returncode, *(status[key] for key in ("schema", "state", "vm", "settings"))))

    def test_a_lost_answer_makes_no_second_kms(self):
        self.start()
        self.between.lose = "the answer"
        said = self.deploy()
        self.assertIn("no answer to the creation", said)
        self.assertIn("the KMS is ready", said)
        self.assertEqual(1, len(self.vms()))
        self.assertEqual(1, self.between.creates)
        self.assertEqual(self.vms()[0]["id"], self.record()["vm_id"])

    def test_a_slow_creation_makes_no_second_kms(self):
        self.start()
        self.between.lose = "until looked for twice"
        self.assertIn("the KMS is ready", self.deploy())
        self.assertEqual((1, 1), (len(self.vms()), self.between.creates))

    def test_killed_between_creation_and_record(self):
        self.start()
        self.deploy()
        record = self.record()
        self.h.write("var/lib/dstack/kms/deploy.json", json.dumps({**record, "vm_id": ""}))
        self.deploy()
        self.assertEqual((record["vm_id"], 1), (self.record()["vm_id"], self.between.creates))
        os.unlink(self.h.path("var/lib/dstack/kms/deploy.json"))
        self.deploy()
        self.assertEqual((record, 1), (self.record(), self.between.creates))

    def test_another_compose_of_that_name_is_left_alone(self):
        self.start()
        compose = {"manifest_version": 2, "name": "kms", "runner": "docker-compose", "docker_compose_file": "x: 1\n"}
        self.call("CreateVm", {"name": "kms", "image": "dstack-0.5.5", "compose_file": json.dumps(compose),
                               "vcpu": 1, "memory": 1024, "disk_size": 1})
        self.assertIn("has another compose", self.deploy(1))
        self.assertEqual((1, 0), (len(self.vms()), self.between.creates))
        self.assertFalse(os.path.exists(self.h.path("var/lib/dstack/kms")))

    def test_changed_settings_change_nothing(self):
        self.start()
        self.deploy()
        before = self.record()
        self.settings(KMS_VCPU=4, KMS_IMAGE="registry.sim.example/dstack-kms@sha256:" + "f" * 64)
        self.assertIn("the settings have changed since", self.deploy())
        self.assertEqual((before, 1), (self.record(), len(self.vms())))
        self.assertEqual(self.vms()[0]["configuration"]["compose_file"],
                         self.h.read("var/lib/dstack/kms/app-compose.json"))
        # Without settings it is still looked after.
        self.settings(KMS_IMAGE=None)
        self.assertIn("the KMS is ready", self.deploy())
        # The contract is not a matter of taste.
        self.settings(KMS_CONTRACT="0x" + "1" * 40)
        self.assertIn("its contract is", self.deploy(1))

    def test_no_image_no_kms(self):
        os.unlink(self.h.path("images/dstack-0.5.5/bzImage"))
        self.start()
        self.assertIn("does not accept the guest image", self.deploy(1))
        os.rename(self.h.path("images/dstack-0.5.5"), self.h.path("images/dstack-0.5.4"))
        self.assertIn("guest image dstack-0.5.5 is not in /images", self.deploy(1))
        self.assertEqual(([], 0), (self.vms(), self.between.creates))
        self.assertFalse(os.path.exists(self.h.path("var/lib/dstack/kms")))

    def test_a_port_in_use(self):
        self.start()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", self.port))
            sock.listen()
            self.assertIn("something answers on", self.deploy(1))
        self.call("CreateVm", {"name": "app", "image": "dstack-0.5.5", "vcpu": 1, "memory": 1024, "disk_size": 1,
                               "compose_file": json.dumps({"manifest_version": 2, "name": "a", "runner": "none"}),
                               "ports": [{"protocol": "tcp", "host_address": "127.0.0.1", "host_port": self.port,
                                          "vm_port": 80}]})
        self.assertIn("maps port", self.deploy(1))
        self.assertEqual(0, self.between.creates)

    def test_a_lost_kms_is_not_replaced(self):
        self.start()
        self.deploy()
        vm = self.vms()[0]["id"]
        self.call("StopVm", {"id": vm})
        wait_until(lambda: self.vms()[0]["status"] == "stopped", "it stops")
        self.call("RemoveVm", {"id": vm})
        self.assertIn("not making another", self.deploy(1))
        os.unlink(self.h.path("var/lib/dstack/kms/deploy.json"))
        self.assertIn("another one would have other keys", self.deploy(1))
        self.assertEqual(([], 1), (self.vms(), self.between.creates))

    def test_machines_are_looked_for_where_the_vmm_keeps_them(self):
        """Not at VM_DIR, where the operator's own vmm.toml says otherwise."""
        self.start()
        hidden = "elsewhere/vm/00000000-0000-0000-0000-00000000000a"
        os.makedirs(self.h.path(hidden))
        self.h.write(f"{hidden}/vm-manifest.json", json.dumps({"name": "kms"}))
        self.h.write("etc/dstack/vmm.toml", 'run_path = "/elsewhere/vm"\n')
        self.assertIn(f"/{hidden} holds a virtual machine named kms", self.deploy(1))
        self.assertEqual(([], 0), (self.vms(), self.between.creates))
        os.makedirs(self.h.path("var/lib/dstack/kms"), exist_ok=True)
        self.h.write("etc/dstack/vmm.toml", "")
        os.rename(self.h.path(hidden), self.h.path("vm", os.path.basename(hidden)))
        self.assertIn("/vm/00000000-0000-0000-0000-00000000000a holds a virtual machine", self.deploy(1))

    def test_a_damaged_record_stops_it(self):
        self.start()
        for text in ("", "{}", json.dumps({"schema": "dstack-host.kms-deploy/1", "vm_id": "../x"})):
            os.makedirs(self.h.path("var/lib/dstack/kms"), exist_ok=True)
            self.h.write("var/lib/dstack/kms/deploy.json", text)
            self.assertIn("deploy.json", self.deploy(1))
            self.assertEqual((1, text), (self.run_it("status").returncode, self.h.read("var/lib/dstack/kms/deploy.json")))
        self.assertEqual(([], 0), (self.vms(), self.between.creates))

    def test_another_ca_is_an_error(self):
        self.start()
        self.deploy()
        self.h.write("var/lib/dstack/kms/ca.pem", "another\n")
        self.assertIn("another CA", self.deploy(1))
        self.assertEqual("another\n", self.h.read("var/lib/dstack/kms/ca.pem"))
        self.assertEqual(1, self.run_it("status").returncode)

    def test_a_kms_without_its_keys_is_not_given_new_ones(self):
        self.start()
        self.deploy()
        vm = self.vms()[0]["id"]
        self.call("StopVm", {"id": vm})
        wait_until(lambda: self.vms()[0]["status"] == "stopped", "it stops")
        subprocess.run(["rm", "-r", self.h.path("vm", vm, "guest", "kms-certs")], check=True)
        self.call("StartVm", {"id": vm})
        self.assertIn("no keys any more", self.deploy(1))

    def test_a_stopped_kms_is_started(self):
        self.start()
        self.deploy()
        record, ca = self.record(), self.h.read("var/lib/dstack/kms/ca.pem")
        self.stop_vm(record["vm_id"])
        status = json.loads(self.run_it("status", "--json").stdout)
        self.assertEqual(("stopped", "sudo systemctl restart dstack-kms", False),
                         tuple(status[key] for key in ("vm_status", "start_with", "ready")))
        said = self.deploy()
        self.assertIn("started the KMS, which was stopped", said)
        self.assertIn("the KMS is ready", said)
        self.assertEqual((record, ca, 1), (self.record(), self.h.read("var/lib/dstack/kms/ca.pem"),
                                           self.between.creates))
        self.assertNotIn("start_with", json.loads(self.run_it("status", "--json").stdout))

    def test_a_stopped_vm_that_is_not_on_record_is_only_named(self):
        """It may be one that the VMM is still making."""
        self.start()
        self.deploy()
        record = self.record()
        self.stop_vm(record["vm_id"])
        os.unlink(self.h.path("var/lib/dstack/kms/deploy.json"))
        process, notify = self.deploy_in_background("unrecorded")
        self.await_said(notify, "its virtual machine is stopped; sudo systemctl restart dstack-kms starts it")
        process.terminate()
        process.wait(DEADLINE)
        self.assertEqual((record["vm_id"], "stopped"), (self.record()["vm_id"], self.vms()[0]["status"]))
        self.assertIn("started the KMS", self.deploy())

    def stop_vm(self, vm):
        self.call("StopVm", {"id": vm})
        wait_until(lambda: self.vms()[0]["status"] == "stopped", "it stops")

    def deploy_in_background(self, name):
        """-> (process, the socket it tells what it does)."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.bind(self.h.path(name))
        notify.settimeout(DEADLINE)
        process = subprocess.Popen([DSTACK_HOST, "--root", self.h.root, "kms", "deploy"], stderr=subprocess.DEVNULL,
                                   env={**os.environ, "NOTIFY_SOCKET": self.h.path(name)})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, notify

    def await_said(self, notify, text, never=None):
        said = []
        while not said or text not in said[-1]:
            said.append(notify.recv(4096).decode())
            if never:
                self.assertNotIn(never, said[-1])
        return said

    def test_nobody_waits_for_the_vmm_because_of_it(self):
        """While CreateVm is under way the lock of the writing verbs is free, and no other KMS can be made."""
        free, others = [], []

        def while_creating():
            self.look_at_disk()
            if others:
                return
            with open(self.h.path("run/dstack/.lock"), "r+b") as lock:
                try:
                    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    free.append(True)
                except OSError:
                    free.append(False)
            others.append(self.deploy_in_background("other"))
            self.await_said(others[0][1], "waiting for another kms deploy", never="creating the virtual machine")

        self.between.on_create = while_creating
        self.start()
        self.assertIn("the KMS is ready", self.deploy())
        self.assertEqual([True], free)
        self.await_said(others[0][1], "ready: ")
        self.assertEqual(0, others[0][0].wait(DEADLINE))
        self.assertEqual((1, 1), (self.between.creates, len(self.vms())))

    def test_one_at_a_time_makes_the_keys(self):
        """Another deployment may be making them: the KMS would start with a mixture of its keys and ours."""
        other = None

        def another_deployment():
            nonlocal other
            other = open(self.h.path("run/dstack/.kms-lock"), "r+b")
            self.addCleanup(other.close)
            # It gets the lock when the virtual machine is on record, which has not booted by then.
            threading.Thread(target=fcntl.lockf, args=(other, fcntl.LOCK_EX), daemon=True).start()

        self.between.on_create = another_deployment
        self.start()
        process, notify = self.deploy_in_background("one")
        self.await_said(notify, "waiting for another kms deploy", never="the KMS's keys")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=DEADLINE) as page:
            self.assertIn(b"No root keys yet", page.read())
        fcntl.lockf(other, fcntl.LOCK_UN)
        self.await_said(notify, "ready: ")
        self.assertEqual(0, process.wait(DEADLINE))

    def test_waits_for_the_lock_and_finds_what_it_made(self):
        """The answer comes while another verb has the lock: recorded later, never made again."""
        holder = []

        def take_it():
            holder.append(open(self.h.path("run/dstack/.lock"), "r+b"))  # pylint: disable=consider-using-with
            fcntl.lockf(holder[0], fcntl.LOCK_EX | fcntl.LOCK_NB)

        self.between.on_create = take_it
        self.start()
        process, notify = self.deploy_in_background("locked")
        self.await_said(notify, "creating the virtual machine")
        wait_until(lambda: holder, "the VMM is asked")
        inode = f":{os.fstat(holder[0].fileno()).st_ino} "

        def is_waited_for():
            with open("/proc/locks", encoding="ascii") as locks:
                return any("->" in line and inode in line for line in locks)

        wait_until(is_waited_for, "it wants the lock")
        self.assertEqual((1, ""), (len(self.vms()), self.record()["vm_id"]))
        holder[0].close()
        self.await_said(notify, "ready: ")
        self.assertEqual(0, process.wait(DEADLINE))
        self.assertEqual((self.vms()[0]["id"], 1), (self.record()["vm_id"], self.between.creates))

    def test_a_failed_creation_can_be_repeated(self):
        good = self.h.read("bin/qemu-img")
        self.h.script("qemu-img", "#!/bin/sh\nexit 1\n")
        self.start()
        self.assertIn("refuses to create the KMS", self.deploy(1))
        # As at upstream, the VMM still shows a VM whose directory is gone.
        self.assertEqual(["stopped"], [vm["status"] for vm in self.vms()])
        self.h.script("qemu-img", good)
        self.assertIn("the KMS is ready", self.deploy())
        self.assertEqual(2, self.between.creates)
        self.assertEqual(1, len([vm for vm in self.vms() if vm["status"] == "running"]))

    def test_tells_what_it_waits_for_and_goes_on(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.bind(self.h.path("notify"))
        notify.settimeout(DEADLINE)
        process = subprocess.Popen([DSTACK_HOST, "--root", self.h.root, "kms", "deploy"],
                                   env={**os.environ, "NOTIFY_SOCKET": self.h.path("notify")}, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        said = notify.recv(4096).decode()
        self.assertIn("STATUS=waiting for dstack-vmm: ", said)
        self.assertTrue(alive(process.pid))
        self.start()
        while not said.startswith("STATUS=ready"):
            said = notify.recv(4096).decode()
        self.assertEqual(0, process.wait(DEADLINE))
        # Ended by the unit's stop, it ends.
        self.h.stop(self.h.vmm_process)
        process = subprocess.Popen([DSTACK_HOST, "--root", self.h.root, "kms", "deploy"], stderr=subprocess.DEVNULL,
                                   env={**os.environ, "NOTIFY_SOCKET": self.h.path("notify")})
        self.assertIn("waiting for dstack-vmm", notify.recv(4096).decode())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(-signal.SIGTERM, process.wait(DEADLINE))


if __name__ == "__main__":
    unittest.main()
