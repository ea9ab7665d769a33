# SPDX-License-Identifier: Apache-2.0
"""All recorded requests to dstack-vmm and supervisor 0.5.5, sent anew: status, content type and body must be the same.

What may differ (ids, times, PIDs, paths, ports, git revision) is replaced in one place, normalized().
"""

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import unittest

from vmmhost import VECTORS, HostTest, wait_until

import base
import proto

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NOBODY = "00000000-0000-4000-8000-000000000000"


def recorded(name):
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


class Replay:
    """Sends the entries of a file in order; ids of the recording are those of this run under another name."""

    def __init__(self, test, host, sock="vmm.sock"):
        self.test = test
        self.host = host
        self.sock = sock
        self.ids = {NOBODY: NOBODY}
        self.count = 0

    def send(self, entry):
        request = entry["request"]
        body = request.get("body")
        if "body_hex" in request:
            body = bytes.fromhex(request["body_hex"])
        elif body is not None and not isinstance(body, str):
            body = json.dumps(body)
        target = request["path"]
        for old, new in self.ids.items():
            target = target.replace(old, new)
            body = body.replace(old, new) if isinstance(body, str) else body
        headers = dict(request.get("headers", {}))
        return base.http_call("unix:" + self.host.path(self.sock), request["method"], target, body, headers)

    def learn(self, expected, actual):
        for old, new in zip(UUID.findall(expected), UUID.findall(actual)):
            self.ids.setdefault(old, new)

    def play(self, entry):
        self.count += 1
        with self.test.subTest(entry["name"]):
            status, headers, data = self.send(entry)
            expected = entry["response"]
            self.test.assertEqual(expected["status"], status, data)
            self.test.assertEqual(expected["content_type"], headers["Content-Type"])
            if expected["body"] is None:
                return  # an HTML page of the web framework
            if expected["content_type"] == "application/octet-stream":
                self.compare_protobuf(entry, expected["body"].encode(), data)
                return
            actual = data.decode()
            self.learn(expected["body"], actual)
            self.test.assertEqual(self.normalized(expected["body"]), self.normalized(actual))

    def compare_protobuf(self, entry, expected, actual):
        message = "ProtoError" if entry["response"]["status"] != 200 else proto.VMM_METHODS["Version"][1]
        wanted, got = proto.decode(message, expected), proto.decode(message, actual)
        if "rev" in got:
            self.test.assertEqual(actual, proto.encode(message, got))
            wanted["rev"] = got["rev"]
        else:
            self.test.assertEqual(expected, actual)
        self.test.assertEqual(wanted, got)

    def normalized(self, text):
        host = self.host
        for ours, theirs in ((host.path("vmm.sock"), "/run/dstack/vmm/vmm.sock"),
                             (host.path("vm"), "/var/lib/dstack/vm"), (host.path("images"), "/var/lib/dstack/images"),
                             (host.path("bin/plain-qemu"), "/usr/bin/qemu-system-x86_64"),
                             (f"https://127.0.0.1:{host.kms_port}/", "https://127.0.0.1:9103/")):
            text = text.replace(ours, theirs)
        for old, new in self.ids.items():
            text = text.replace(new, old)
        text = re.sub(r'"rev":"[^"]*"', '"rev":"REV"', text)
        text = re.sub(r'"(uptime|exited_at)":"(\d+[a-z]+ ?)+"', r'"\1":"TIME"', text)
        text = re.sub(r'"(started_at|stopped_at|pid)":\d+', r'"\1":0', text)
        return re.sub(r"qemu pid \d+", "qemu pid 0", text)


class ReplayTest(HostTest):
    def plain_host(self, qemu=None):
        """A host as the recording's: a QEMU that only sleeps, CIDs from 1001."""
        host = self.host(cvm={"cid_start": 1000, "auto_restart": {"enabled": False}})
        host.config["cvm"]["qemu_path"] = qemu or host.path("bin/plain-qemu")
        return host.start()

    def played(self, replay, name):
        self.assertEqual(len(recorded(name)), replay.count, "every entry was played")

    def test_requests(self):
        replay = Replay(self, self.plain_host())
        for entry in recorded("requests"):
            replay.play(entry)
        self.played(replay, "requests")

    def test_lifecycle(self):
        host = self.plain_host()
        replay = Replay(self, host)
        for entry in recorded("lifecycle"):
            if entry["name"] == "logs-stdout":
                vm = host.list()[0]["config"]["id"]
                wait_until(lambda: host.vm_log(vm), "output of QEMU")
                wait_until(lambda: host.vm_log(vm, "stdout"), "output of QEMU")
            if entry["name"] in ("status-stopped", "start-again"):
                wait_until(lambda: host.list()[0]["state"]["status"] == "stopped", "QEMU reaped")
            replay.play(entry)
        self.played(replay, "lifecycle")

    def test_supervisor(self):
        host = self.plain_host()
        replay = Replay(self, host, "supervisor.sock")
        create = next(entry for entry in recorded("lifecycle") if entry["name"] == "create-kms")["request"]["body"]
        for entry in recorded("supervisor"):
            if entry["name"] == "list-one":
                host.good("CreateVm", create)
            if entry["name"] == "list-stopped":
                vm = host.list()[0]["config"]["id"]
                host.good("StopVm", {"id": vm})
                wait_until(lambda: host.list()[0]["state"]["status"] == "stopped", "QEMU reaped")
            replay.play(entry)
        self.played(replay, "supervisor")

    def test_failures(self):
        host = self.plain_host("/nonexistent/qemu")
        replay = Replay(self, host)
        for entry in recorded("failures"):
            prepare = getattr(self, "before_" + entry["name"].replace("-", "_"), None)
            undo = prepare(host, replay, entry) if prepare else None
            replay.play(entry)
            if undo:
                undo()
        self.played(replay, "failures")

    def before_create_no_qemu_img(self, host, _replay, _entry):
        host.script("qemu-img", "#!/nonexistent/interpreter\n")  # execve: No such file or directory

    def before_remove_ghost2(self, host, replay, entry):
        old = UUID.search(entry["response"]["body"])[0]
        ghost = [vm for vm in host.good("Status")["vms"] if vm["name"] == "ghost2"]
        self.assertEqual(("stopped", "never"), (ghost[0]["status"], ghost[0]["uptime"]))
        replay.ids[old] = ghost[0]["id"]

    def before_status_no_supervisor(self, host, _replay, _entry):
        host.stop(host.supervisor_process, signal.SIGKILL)

    def before_pubkey_wrong_cert(self, host, _replay, entry):
        if not shutil.which("openssl"):
            self.fail("openssl is needed to make a certificate")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
                        "/CN=wrong.example.org", "-keyout", host.path("key.pem"), "-out", host.path("cert.pem")],
                       check=True, capture_output=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(host.path("cert.pem"), host.path("key.pem"))

        def answer(req):
            self.assertEqual({"app_id": entry["request"]["body"]["app_id"]}, req.json())
            return base.reply(200, entry["response"]["body"], "application/json", {"Connection": "close"})

        server = base.HttpServer(f"tcp:127.0.0.1:{host.kms_port}", answer, tls=tls).start()
        return server.stop

    def before_pubkey_hang(self, host, _replay, _entry):
        sock = socket.create_server(("127.0.0.1", host.kms_port))
        return sock.close


if __name__ == "__main__":
    unittest.main()
