# SPDX-License-Identifier: Apache-2.0
"""The simulated key provider and aesmd as processes, over their real sockets."""

import hashlib
import json
import os
import socket
import struct
import time

from intelsim import SimTest, free_port, frame, read_all, self_signed

import base
import keybox
import tdquote

RECIPIENT = b"\x77" * 32


def quote(mrtd=b"\x01", rtmr3=b"\x02"):
    rtmrs = [b"\0" * 48, b"\0" * 48, b"\0" * 48, rtmr3 * 48]
    return tdquote.quote_from_report(tdquote.make_report(mrtd * 48, rtmrs, RECIPIENT))


class KeyProviderTest(SimTest):
    def setUp(self):
        super().setUp()
        for name in ("dev/sgx_enclave", "dev/sgx_provision"):
            self.write(name, "")
        key, cert = self_signed(self.dir)
        self.status = 200
        port = free_port()
        tls = base.server_tls(cert, key)
        pccs = base.HttpServer(f"tcp:127.0.0.1:{port}", lambda req: base.reply(self.status), tls=tls).start()
        self.addCleanup(pccs.stop)
        url = f"https://127.0.0.1:{port}/sgx/certification/v4/"
        self.qcnl = self.write("qcnl.conf", {"pccs_url": url, "use_secure_cert": False})
        self.socket = self.path("aesm.socket")
        self.port = free_port()

    def start_aesmd(self):
        aesmd = self.program("aesmd.py", "--socket", self.socket, "--dev", self.path("dev"),
                             env={"QCNL_CONF_PATH": self.qcnl})
        aesmd.wait_for("simulated aesmd on")
        return aesmd

    def start_provider(self, *args):
        return self.program("keyprovider.py", "--listen", f"127.0.0.1:{self.port}", "--aesm-socket", self.socket, *args)

    def exchange(self, data):
        """-> the answer's frame content, b"" when the connection closes without one."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(data)
            answer = read_all(sock)
        if answer:
            self.assertEqual(struct.unpack(">I", answer[:4])[0], len(answer) - 4)
        return answer[4:]

    def ask(self, data):
        text = json.dumps({"quote": list(data)}).encode()
        answer = self.exchange(struct.pack(">I", len(text)) + text)
        return {name: bytes(value) for name, value in json.loads(answer).items()} if answer else None

    def key(self, data):
        return keybox.open_box(self.ask(data)["encrypted_key"], RECIPIENT)


class Exchange(KeyProviderTest):
    def test_keys_and_refusals(self):
        self.start_aesmd()
        provider = self.start_provider()
        provider.wait_for("listens on")
        self.keys()
        self.refusals(provider)
        self.status = 200
        self.assertEqual(len(self.key(quote())), 32)  # still serving after all that

    def keys(self):
        answer = self.ask(quote())
        self.assertEqual(set(answer), {"encrypted_key", "provider_quote"})
        self.assertEqual(len(answer["encrypted_key"]), 80)
        self.assertEqual(tdquote.sgx_report_data(answer["provider_quote"])[:32],
                         hashlib.sha256(answer["encrypted_key"]).digest())
        measured = b"\x01" * 48 + b"\0" * 144 + b"\x02" * 48
        self.assertEqual(self.key(quote()), hashlib.sha256(keybox.SEALING_SECRET + measured).digest())
        self.assertNotEqual(self.key(quote()), self.key(quote(rtmr3=b"\x03")))
        self.assertNotEqual(self.key(quote()), self.key(quote(mrtd=b"\x03")))
        with self.assertRaises(ValueError):
            keybox.open_box(answer["encrypted_key"], b"\x78" * 32)

    def refusals(self, provider):
        foreign = bytearray(quote())
        foreign[12:28] = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")  # Intel's vendor id
        self.assertIsNone(self.ask(foreign))
        self.assertIsNone(self.ask(quote()[:600]))
        self.assertIsNone(self.ask(quote() + bytes((1 << 20) + 1)))
        self.assertEqual(self.exchange(b"\xff\xff\xff\xff"), b"")
        provider.wait_for("is too long")
        for text in (b"{", b"[]", b'{"quote": "x"}', b'{"quote": [256]}'):
            self.assertEqual(self.exchange(struct.pack(">I", len(text)) + text), b"", text)
        self.assertEqual(self.exchange(b"GET / HTTP/1.1\r\n\r\n"), b"")  # what curl gets

    def test_quote_needs_pccs(self):
        self.status = 404
        self.start_aesmd()
        provider = self.start_provider()
        provider.wait_for("listens on")
        self.assertIsNone(self.ask(quote()))
        provider.wait_for("AESM error 44")

    def test_silent_connections_do_not_block_but_are_limited(self):
        self.start_aesmd()
        provider = self.start_provider()
        provider.wait_for("listens on")
        silent = [socket.create_connection(("127.0.0.1", self.port), 5) for _ in range(31)]
        for sock in silent:
            self.addCleanup(sock.close)
        self.assertEqual(len(self.key(quote())), 32)
        silent.append(socket.create_connection(("127.0.0.1", self.port), 5))
        self.addCleanup(silent[-1].close)
        with socket.create_connection(("127.0.0.1", self.port), 5) as surplus:
            self.assertEqual(read_all(surplus), b"")
        provider.wait_for("connections already")


class Life(KeyProviderTest):
    def test_provider_waits_for_aesmd_and_terminates_at_once(self):
        provider = self.start_provider()
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(self.socket)  # as in a volume from before: it exists, nobody listens
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1)
        aesmd = self.start_aesmd()
        provider.wait_for("listens on")
        for program in (provider, aesmd):
            begun = time.monotonic()
            program.process.terminate()
            self.assertEqual(program.exit_code(), 0)
            self.assertLess(time.monotonic() - begun, 1)

    def test_provider_gives_up(self):
        self.assertEqual(self.start_provider("--aesm-wait", "0.3").exit_code(), 1)

    def test_devices_not_mapped(self):
        os.unlink(self.path("dev/sgx_enclave"))
        self.start_aesmd().wait_for("simulated aesmd on")
        provider = self.start_provider()
        self.assertEqual(provider.exit_code(), 1)
        self.assertIn("AESM error 2", provider.text())

    def test_another_build_has_other_keys(self):
        self.start_aesmd()
        first = self.start_provider()
        first.wait_for("listens on")
        key = self.key(quote())
        first.stop()
        self.start_provider("--enclave", "rebuilt").wait_for("listens on")
        self.assertNotEqual(self.key(quote()), key)
