# SPDX-License-Identifier: Apache-2.0
"""What the VMM and its supervisor do over time: restarts, deaths, second copies, ghosts, and a CVM's boot and end."""

import hashlib
import json
import os
import signal
import socket
import ssl
import stat
import struct
import subprocess
import unittest

from vmmhost import CVM, REAL_VMM, VMM, HostTest, alive, free_port, toml, wait_until

import base
import keybox
import tdquote

KMS_COMPOSE = """services:
  kms:
    image: registry.example.org/dstack-kms:fixed
    ports:
      - "9100:9100"
    environment:
      - RUST_LOG=info
      - KMS_DOMAIN=kms.example.org
    restart: unless-stopped
"""


class KeyProvider:
    """One more end of the real framing; refuses (closes without an answer) while it has no key."""

    def __init__(self, test, port):
        self.key_salt = b""
        self.requests = 0
        self.server = base.StreamServer(f"tcp:127.0.0.1:{port}", self.serve).start()
        test.addCleanup(self.server.stop)

    def serve(self, sock, _peer):
        quote = bytes(json.loads(base.recv_exact(sock, struct.unpack(">I", base.recv_exact(sock, 4))[0]))["quote"])
        self.requests += 1
        measured = tdquote.parse_quote(quote)
        if self.key_salt is None:
            return
        box = keybox.seal(keybox.derive(measured, self.key_salt), measured["report_data"][:32])
        quote = tdquote.sgx_quote(hashlib.sha256(box).digest())
        body = json.dumps({"encrypted_key": list(box), "provider_quote": list(quote)}).encode()
        sock.sendall(struct.pack(">I", len(body)) + body)


class RestartTest(HostTest):
    """With a QEMU that only sleeps: this is about the VMM and the supervisor."""

    def plain(self, **changes):
        host = self.host(**changes)
        host.config["cvm"]["qemu_path"] = host.path("bin/plain-qemu")
        return host.start()

    def test_vmm_restart_keeps_pid_and_cid(self):
        host = self.plain()
        vm = host.create()
        before = host.entry(vm)
        for number in (signal.SIGTERM, signal.SIGKILL):
            code = host.restart_vmm(number)
            self.assertEqual(0 if number == signal.SIGTERM else -signal.SIGKILL, code)
            self.assertEqual(before, host.entry(vm))
            self.assertTrue(alive(before["state"]["pid"]))
        self.assertEqual("running", host.info(vm)["status"])
        other = host.create("other")
        self.assertNotEqual(before["config"]["cid"], host.entry(other)["config"]["cid"])

    def test_boot_progress_is_forgotten_at_restart(self):
        host = self.plain()
        vm = host.create()
        self.assertEqual("booting", host.info(vm)["boot_progress"])
        host.restart_vmm()
        self.assertEqual("running", host.info(vm)["boot_progress"])

    def test_supervisor_sigterm_kills_children(self):
        host = self.plain()
        pid = host.entry(host.create())["state"]["pid"]
        self.assertEqual(0, host.stop(host.supervisor_process))
        self.assertFalse(alive(pid))
        self.assertTrue(os.path.exists(host.path("supervisor.sock")), "the socket stays behind")

    def test_supervisor_sigkill_orphans_and_all_start_twice(self):
        host = self.plain()
        vm = host.create()
        pid = host.entry(vm)["state"]["pid"]
        host.stop(host.supervisor_process, signal.SIGKILL)
        self.assertTrue(alive(pid))
        self.assertEqual(400, host.call("Status")[0])
        self.assertEqual(200, host.call("Version")[0], "Version proves nothing")
        host.start_supervisor()
        self.assertEqual([], host.list())
        host.restart_vmm()
        second = host.entry(vm)["state"]["pid"]
        self.assertNotEqual(pid, second)
        self.assertTrue(alive(pid) and alive(second))

    def test_new_supervisor_is_found_within_the_interval(self):
        host = self.plain(cvm={"auto_restart": {"enabled": True, "interval": 1}})
        vm = host.create()
        host.stop(host.supervisor_process, signal.SIGKILL)
        host.start_supervisor()
        wait_until(host.list, "VM started a second time")
        self.assertEqual(vm, host.list()[0]["config"]["id"])

    def test_what_cannot_be_loaded_is_neither_shown_nor_stopped(self):
        host = self.plain()
        vm = host.create()
        pid = host.entry(vm)["state"]["pid"]
        manifest = host.read(f"vm/{vm}/vm-manifest.json")
        host.write(f"vm/{vm}/vm-manifest.json", "{")
        host.restart_vmm()
        self.assertEqual(0, host.good("Status")["total"])
        self.assertEqual((pid, "running"), (host.entry(vm)["state"]["pid"], host.entry(vm)["state"]["status"]))
        self.assertTrue(alive(pid))
        host.write(f"vm/{vm}/vm-manifest.json", manifest)
        host.restart_vmm()
        self.assertEqual("running", host.info(vm)["status"])
        self.assertEqual(pid, host.entry(vm)["state"]["pid"])

    def test_ghost_of_a_failed_creation(self):
        host = self.host()
        host.config["cvm"]["qemu_path"] = "/nonexistent/qemu"
        host.start()
        status, _ = host.call("CreateVm", {"name": "ghost", "image": "dstack-0.5.5", "vcpu": 1, "memory": 1,
                                           "compose_file": '{"manifest_version":2,"name":"g","runner":"x"}'})
        self.assertEqual(400, status)
        ghost = host.good("Status")["vms"][0]
        self.assertEqual(("ghost", "stopped", "never"), (ghost["name"], ghost["status"], ghost["uptime"]))
        self.assertEqual([], os.listdir(host.path("vm")) if REAL_VMM else
                         [n for n in os.listdir(host.path("vm")) if not n.startswith(".")])
        status, answer = host.call("RemoveVm", {"id": ghost["id"]})
        self.assertEqual(400, status)
        self.assertIn("Failed to remove VM directory", answer["error"])
        self.assertEqual(0, host.good("Status")["total"])

    def test_one_failing_vm_ends_a_restart_pass(self):
        host = self.plain(cvm={"auto_restart": {"enabled": True, "interval": 1}})
        vm = host.create()
        os.kill(host.entry(vm)["state"]["pid"], signal.SIGKILL)
        wait_until(lambda: host.entry(vm)["state"]["status"] == "running", "exited VM started again")
        host.good("StopVm", {"id": vm})
        self.assertEqual({"started": False}, json.loads(host.read(f"vm/{vm}/vm-state.json")))

    def test_images_are_seen_without_a_restart(self):
        host = self.plain()
        os.rename(host.path("images/dstack-0.5.5"), host.path("images/dstack-0.5.6"))
        self.assertEqual(["dstack-0.5.6"], [image["name"] for image in host.good("ListImages")["images"]])

    def test_socket_mode_and_lock(self):
        host = self.host()
        host.config["cvm"]["qemu_path"] = host.path("bin/plain-qemu")
        host.start_supervisor()
        host.start_vmm(umask=0o007)
        self.assertEqual(0o770, stat.S_IMODE(os.stat(host.path("vmm.sock")).st_mode))
        self.assertEqual(0o660, stat.S_IMODE(os.stat(host.path("vmm.sock.lock")).st_mode))
        host.stop(host.vmm_process)
        self.assertFalse(os.path.exists(host.path("vmm.sock")))

    def test_log_follow(self):
        host = self.plain()
        vm = host.create()
        wait_until(lambda: "started" in host.vm_log(vm, "stdout"), "output of QEMU")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(host.path("vmm.sock"))
            sock.sendall(f"GET /logs?id={vm}&follow=true&ch=stdout HTTP/1.1\r\nHost: x\r\n"
                         "Authorization: Bearer example-token\r\n\r\n".encode())
            text = b""
            while b"started" not in text:
                text += sock.recv(4096)
            with open(host.path("vm", vm, "stdout.log"), "a", encoding="ascii") as file:
                file.write("one more line\n")
            while b"one more line" not in text:
                text += sock.recv(4096)


class StartTest(HostTest):
    def run_vmm(self, host, *args):
        host.write("vmm.toml", toml(host.config))
        return subprocess.run([VMM, *args], capture_output=True, text=True, timeout=30, env=host.env(),
                              cwd=host.path("work"), check=False)

    def test_without_supervisor(self):
        host = self.host()
        run = self.run_vmm(host, "--config", host.path("vmm.toml"))
        self.assertEqual(1, run.returncode)
        self.assertIn("Failed to connect to supervisor", run.stderr)

    def test_auto_start_of_the_supervisor(self):
        host = self.host(supervisor={"auto_start": True, "detached": True})
        host.start_vmm()
        pid = int(host.read("supervisor.pid"))
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        host.stop(host.vmm_process)
        self.assertEqual("pong", host.supervisor("GET", "/ping")["data"])
        self.assertEqual("", host.read("supervisor.pid").strip("0123456789"), "no newline")

    def test_layers(self):
        host = self.host()
        host.start_supervisor()
        host.write("work/vmm.toml", 'misspelt = 1\n[gateway]\nbase_domain = "low.example"\nagent_port = 7\n')
        host.config["gateway"] = {"base_domain": "high.example"}
        host.start_vmm()
        gateway = host.good("GetMeta")["gateway"]
        self.assertEqual(("high.example", 7, 8082),
                         (gateway["base_domain"], gateway["agent_port"], gateway["port"]))

    def test_wrong_type_is_fatal(self):
        host = self.host(cvm={"kms_urls": "https://kms.example.org"})
        run = self.run_vmm(host, "--config", host.path("vmm.toml"))
        self.assertEqual(1, run.returncode)
        self.assertIn("cvm.kms_urls", run.stderr)

    def test_other_extensions_are_json(self):
        host = self.host()
        host.write("vmm.conf", "address = 1\n")
        self.assertEqual(1, self.run_vmm(host, "--config", host.path("vmm.conf")).returncode)

    def test_host_api_port_in_use(self):
        host = self.host()
        host.start_supervisor()
        with socket.socket(socket.AF_VSOCK) as sock:
            sock.bind((socket.VMADDR_CID_ANY, host.host_api_port))
            sock.listen()
            run = self.run_vmm(host, "--config", host.path("vmm.toml"))
        self.assertEqual(1, run.returncode)
        self.assertIn("Failed to bind host API", run.stderr)

    def test_version(self):
        short, long = (subprocess.run([VMM, flag], capture_output=True, text=True, check=True).stdout
                       for flag in ("-V", "--version"))
        self.assertEqual("dstack-vmm 0.5.5\n", short)
        self.assertRegex(long, r"^dstack-vmm v0\.5\.5 \(.+\)\n$")
        self.assertIn("simulated", subprocess.run([CVM, "--version"], capture_output=True, text=True,
                                                  check=True).stdout)

    def test_dry_run_prints_what_serve_deploys(self):
        host = self.host()
        host.config["cvm"]["qemu_path"] = host.path("bin/plain-qemu")
        host.start()
        port = free_port()
        vm = host.create(ports=[(port, 80)], stopped=False)
        entry = host.entry(vm)["config"]
        body = {**host.info(vm)["configuration"], "gpus": None}
        host.write("vm.json", json.dumps(body))
        run = self.run_vmm(host, "--config", host.path("vmm.toml"), "run", host.path("vm.json"), "--workdir",
                           host.path("once"), "--dry-run")
        self.assertEqual(0, run.returncode, run.stderr)
        lines = run.stdout.splitlines()
        line = lines[lines.index("# QEMU Command:") + 1].replace(host.path("once"), host.path("vm", vm))
        start = host.config["cvm"]["cid_start"]
        self.assertEqual(" ".join([entry["command"], *entry["args"]]),
                         line.replace(f"guest-cid={start}", f"guest-cid={start + 1}"))

    def test_supervisor_reopens_renamed_logs(self):
        host = self.host()
        host.start_supervisor()
        out = host.path("out.log")
        script = host.script("talk", "#!/bin/sh\necho one\nread x < " + host.path("fifo") + "\necho two\n")
        os.mkfifo(host.path("fifo"))
        host.supervisor("POST", "/deploy", {"id": "talk", "command": script, "stdout": out, "cwd": host.root})
        wait_until(lambda: os.path.exists(out) and host.read("out.log"), "first line")
        os.rename(out, out + ".1")
        # Heard of by inotify: what a child says before that still goes into the old file.
        wait_until(lambda: os.path.exists(out), "the new file, before there is any output for it")
        with open(host.path("fifo"), "w", encoding="ascii") as file:
            file.write("go\n")
        wait_until(lambda: os.path.exists(out) and host.read("out.log"), "second line in the new file")
        self.assertEqual(("one\n", "two\n"), (host.read("out.log.1"), host.read("out.log")))
        wait_until(lambda: host.entry("talk")["state"]["status"] == {"exited": 0}, "exit status")


class CvmTest(HostTest):
    """With the stand-in QEMU. A real VMM starts it, too, but would hear its reports only over a vsock of its own."""

    def test_second_qemu_on_the_same_disk_fails(self):
        host = self.host().start()
        port = free_port()
        vm = host.create(ports=[(port, 80)])
        config = host.entry(vm)["config"]
        wait_until(lambda: self.fetch(port) == (200, "simulated CVM app\n"), "guest answers")
        run = subprocess.run([config["command"], *config["args"]], capture_output=True, text=True, timeout=10,
                             cwd=config["cwd"], check=False)
        self.assertEqual(1, run.returncode)
        self.assertIn('Failed to get "write" lock', run.stderr)
        self.assertEqual((200, "simulated CVM app\n"), self.fetch(port))

    def test_cid_and_port_conflicts(self):
        host = self.host().start()
        port = free_port()
        vm = host.create(ports=[(port, 80)])
        wait_until(lambda: self.fetch(port), "guest answers")
        config = host.entry(vm)["config"]
        disk = host.path("other.img")
        with open(disk, "wb"):
            pass
        args = [arg.replace(host.path("vm", vm, "hda.img"), disk) for arg in config["args"]]
        run = subprocess.run([CVM, *args], capture_output=True, text=True, timeout=10, check=False)
        self.assertIn("unable to set guest cid", run.stderr)
        args = [arg.replace(f"guest-cid={config['cid']}", f"guest-cid={config['cid'] + 5000}") for arg in args]
        run = subprocess.run([CVM, *args], capture_output=True, text=True, timeout=10, check=False)
        self.assertIn("Could not set up host forwarding rule", run.stderr)
        self.assertEqual(1, run.returncode)

    def test_orphan_makes_the_second_start_fail(self):
        host = self.host().start()
        port = free_port()
        vm = host.create(ports=[(port, 80)])
        wait_until(lambda: self.fetch(port), "guest answers")
        pid = host.entry(vm)["state"]["pid"]
        host.stop(host.supervisor_process, signal.SIGKILL)
        host.start_supervisor()
        host.restart_vmm()
        wait_until(lambda: host.entry(vm)["state"]["status"] == {"exited": 256}, "second QEMU failed")
        self.assertEqual("exited", host.info(vm)["status"])
        self.assertTrue(alive(pid))
        self.assertEqual(200, self.fetch(port)[0])

    def test_boot_and_shutdown(self):
        self.simulated_only("guest reports need a vsock of their own")
        host = self.host().start()
        vm = host.create(ports=[(free_port(), 80)])
        info = host.wait_info(vm, boot_progress="done")
        self.assertRegex(info["instance_id"], "^[0-9a-f]{40}$")
        status, _, data = base.http_call("unix:" + host.path("vmm.sock"), "POST", "/guest/Info?json", {"id": vm})
        self.assertEqual((200, info["instance_id"]), (status, json.loads(data)["instance_id"]))
        host.good("ShutdownVm", {"id": vm})
        info = host.wait_info(vm, status="stopped")
        self.assertEqual("powering off", info["shutdown_progress"])
        self.assertEqual({"exited": 0}, host.entry(vm)["state"]["status"])
        self.assertIn("simulated guest", host.read(f"vm/{vm}/serial.log"))

    def test_disk_without_qemu_img(self):
        self.simulated_only("upstream needs qemu-img")
        host = self.host()
        os.unlink(host.path("bin/qemu-img"))
        host.hide("qemu-img")
        host.start()
        vm = host.create()
        self.assertEqual(1 << 30, os.stat(host.path("vm", vm, "hda.img")).st_size)
        host.wait_info(vm, boot_progress="done")

    def test_sealing_key(self):
        self.simulated_only("guest reports need a vsock of their own")
        host = self.host(cvm={"auto_restart": {"enabled": True, "interval": 1}})
        provider = KeyProvider(self, host.config["key_provider"]["port"])
        provider.key_salt = None
        host.start()
        vm = host.create(compose={"local_key_provider_enabled": True})
        info = host.wait_info(vm, status="exited")
        self.assertIn("Failed to get sealing key", info["boot_error"])
        self.assertEqual({"exited": 256}, host.entry(vm)["state"]["status"])
        provider.key_salt = b"first"
        host.wait_info(vm, boot_progress="done", boot_error="")
        instance = host.info(vm)["instance_id"]
        self.restart(host, vm)
        self.assertEqual(instance, host.wait_info(vm, boot_progress="done")["instance_id"])
        provider.key_salt = b"other provider build"
        self.restart(host, vm)
        host.wait_info(vm, boot_error="Failed to mount data disk: "
                       "the sealing key is not the one the disk was made with")

    def restart(self, host, vm):
        host.good("StopVm", {"id": vm})
        host.wait_info(vm, status="stopped")
        host.good("StartVm", {"id": vm})

    def test_kms(self):
        self.simulated_only("guest reports need a vsock of their own")
        host = self.host()
        KeyProvider(self, host.config["key_provider"]["port"])
        host.start()
        port = free_port()
        vm = host.create("kms", {"docker_compose_file": KMS_COMPOSE, "local_key_provider_enabled": True},
                         [(port, 9100)])
        host.wait_info(vm, boot_progress="done")
        where = f"tcp:127.0.0.1:{port}"
        status, _, data = base.http_call(where, "POST", "/prpc/Onboard.Bootstrap?json", {"domain": "kms.example.org"})
        self.assertEqual(200, status, data)
        base.http_call(where, "GET", "/finish")
        meta = wait_until(lambda: self.get_meta(port), "KMS speaks HTTPS")
        self.assertIn("BEGIN CERTIFICATE", meta["ca_cert"])
        self.restart(host, vm)
        self.assertEqual(meta["ca_cert"], wait_until(lambda: self.get_meta(port), "KMS again")["ca_cert"])

    def get_meta(self, port):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw) as sock:
                sock.sendall(b"GET /prpc/KMS.GetMeta HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                data = b""
                while part := sock.recv(65536):
                    data += part
        except OSError:
            return None
        return json.loads(data.partition(b"\r\n\r\n")[2])

    def fetch(self, port):
        try:
            status, _, data = base.http_call(f"tcp:127.0.0.1:{port}", "GET", "/", timeout=5)
            return status, data.decode()
        except OSError:
            return None


if __name__ == "__main__":
    unittest.main()
