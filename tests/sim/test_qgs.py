# SPDX-License-Identifier: Apache-2.0
"""The simulated QGS over its unix socket, and over vsock where the kernel lets us connect."""

import os
import socket
import ssl
import struct

from intelsim import SimTest, free_port, frame, read_all, self_signed

import base
import qcnl
import tdquote

HEADER = struct.Struct("<HHIII")
REPORT = tdquote.make_report(b"\x11" * 48, [bytes([0x20 + n]) * 48 for n in range(4)], b"report data")


class QgsTest(SimTest):
    def setUp(self):
        super().setUp()
        for name in ("dev/sgx_enclave", "dev/sgx_provision"):
            self.write(name, "")
        self.answers, self.requests = [(200, "simulated")], []

    def start_pccs(self):
        """A stand-in that answers what the test says; the real simulated one is in test_pccs.py."""
        key, self.ca = self_signed(self.dir)

        def app(req):
            self.requests.append(req)
            return base.reply(*(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]))
        port = free_port()
        server = base.HttpServer(f"tcp:127.0.0.1:{port}", app, tls=base.server_tls(self.ca, key)).start()
        self.addCleanup(server.stop)
        return f"https://localhost:{port}/sgx/certification/v4/"

    def start(self, config, *args, env=None):
        conf = self.write("qcnl.conf", config)
        self.qgs = self.program("qgs.py", "--unix", self.path("qgs.socket"), "--dev", self.path("dev"), *args,
                                env={"QCNL_CONF_PATH": conf, **(env or {})})
        self.qgs.wait_for("listening on unix:")

    def ask(self, data):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(self.path("qgs.socket"))
            sock.sendall(data)
            return read_all(sock)

    def message(self, kind, payload=b""):
        size = HEADER.size + len(payload)
        answer = self.ask(struct.pack(">I", size) + HEADER.pack(1, 1, kind, size, 0) + payload)
        if not answer:
            return None
        self.assertEqual(struct.unpack(">I", answer[:4])[0], len(answer) - 4)
        major, minor, kind, size, error = HEADER.unpack_from(answer, 4)
        self.assertEqual((major, minor, size), (1, 1, len(answer) - 4))
        return kind, error, answer[4 + HEADER.size:]

    def get_quote(self):
        return self.message(0, struct.pack("<II", len(REPORT), 0) + REPORT)


class Protocol(QgsTest):
    def test_quote_and_platform_info(self):
        url = self.start_pccs()
        self.start({"pccs_url": url, "use_secure_cert": False})
        kind, error, body = self.message(4)
        self.assertEqual((kind, error), (5, 0))
        _, _, id_size, svn_size = struct.unpack_from("<HHII", body)
        self.assertEqual(len(body), 12 + id_size + svn_size)
        self.assertEqual(self.requests, [])  # no network for platform information

        kind, error, body = self.get_quote()
        self.assertEqual((kind, error), (1, 0))
        id_size, quote_size = struct.unpack_from("<II", body)
        self.assertEqual((id_size, quote_size), (0, len(body) - 8))
        quote = tdquote.parse_quote(body[8:])
        self.assertEqual((quote["mrtd"], quote["rtmrs"][3], quote["report_data"][:11]),
                         (b"\x11" * 48, b"\x23" * 48, b"report data"))
        self.assertEqual(quote["vendor"], b"dstack-simulated")

        raw = self.ask(REPORT)  # the kernel's way: no frame at all
        self.assertEqual(tdquote.parse_quote(raw)["mrtd"], b"\x11" * 48)
        self.assertEqual(len(self.requests), 1)  # cached after the first
        self.assertEqual(self.requests[0].path, "/sgx/certification/v4/pckcert")
        self.assertEqual(os.stat(self.path("qgs.socket")).st_mode & 0o777, 0o660)

    def test_bad_requests(self):
        self.start({})
        self.assertIsNone(self.message(9))
        self.assertEqual(self.message(0, struct.pack("<II", 5, 0) + b"four")[1], 0x12001)
        self.assertEqual(self.message(2, struct.pack("<II", 0, 0))[:2], (3, 0x12001))
        self.assertEqual(self.ask(b"\xff" * 1024), b"")

    def test_vsock(self):
        port = 50000 + os.getpid() % 10000
        self.start({}, "--vsock", f"0xffffffff:{port}")
        self.qgs.wait_for(f"listening on vsock:0xffffffff:{port}")
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.3)
            try:
                sock.connect((1, port))
            except OSError as error:
                self.skipTest(f"bound, but this kernel has no vsock loopback to connect through: {error}")
            frame(sock, HEADER.pack(1, 1, 4, HEADER.size, 0))
            self.assertEqual(HEADER.unpack_from(read_all(sock), 4)[2::2], (5, 0))


class Causes(QgsTest):
    def test_devices_missing(self):
        os.unlink(self.path("dev/sgx_provision"))
        self.start({})
        self.assertEqual(self.message(4)[:2], (5, 0x12001))
        self.qgs.wait_for("0xe035")

    def test_no_certificate(self):
        self.answers = [(404, "No cache data for this platform."), (200, "simulated")]
        self.start({"pccs_url": self.start_pccs(), "use_secure_cert": False})
        self.assertEqual(self.get_quote()[:2], (1, 0x12001))
        self.qgs.wait_for("[QPL] No certificate data for this platform.")
        self.qgs.wait_for("0xe011")
        self.qgs.wait_for("tee_att_init_quote return 0x11001")
        self.assertEqual(self.get_quote()[:2], (1, 0))  # a failure is not remembered

    def test_certificate_check(self):
        url = self.start_pccs()
        self.start({"pccs_url": url, "use_secure_cert": True})
        self.assertEqual(self.get_quote()[1], 0x12001)
        self.qgs.wait_for("[QCNL] Encountered CURL error: (60)")
        self.qgs.stop()
        self.start({"pccs_url": url, "use_secure_cert": True}, env={"SSL_CERT_FILE": self.ca})
        self.assertEqual(self.get_quote()[1], 0)

    def test_retries_only_what_may_get_better(self):
        self.answers = [(503, ""), (200, "simulated")]
        self.start({"pccs_url": self.start_pccs(), "use_secure_cert": False, "retry_times": 2, "retry_delay": 0})
        self.assertEqual(self.get_quote()[1], 0)
        self.assertEqual(len(self.requests), 2)

    def test_nobody_there(self):
        self.start({"pccs_url": f"https://localhost:{free_port()}/", "use_secure_cert": False})
        self.assertEqual(self.get_quote()[1], 0x12001)
        self.qgs.wait_for("Encountered CURL error: (7)")
        self.qgs.wait_for("[QPL] Failed to get quote config. Error code is 0xb006")


class SettingsFile(SimTest):
    def parse(self, text):
        self.log = []
        return qcnl.parse(text, lambda level, line: self.log.append(line))

    def test_comments_unknown_keys_wrong_types(self):
        settings = self.parse('{ // c\n "pccs_url": "https://a//b/", /* c */ "use_secure_cert": "false", '
                              '"Retry_Times": 1, "retry_times": true, "x": 1}')
        self.assertEqual(settings, {**qcnl.DEFAULTS, "pccs_url": "https://a//b/"})
        self.assertEqual(self.log, [])

    def test_broken_json_means_the_defaults(self):
        for text in ('{"pccs_url": "https://a/",}', '{"pccs_url": "https://a/"', '{"pccs_url": "https://a/"} x',
                     '{"pccs_url": "https://a/", "x": NaN}'):
            self.assertEqual(self.parse(text), qcnl.DEFAULTS, text)
            self.assertIn("0xb035", self.log[0])

    def test_first_of_two_equal_keys(self):
        self.assertEqual(self.parse('{"pccs_url": "https://a/", "pccs_url": "https://b/"}')["pccs_url"], "https://a/")

    def test_legacy_form(self):
        settings = self.parse("# old\nPCCS_URL=https://old/v4/\nUSE_SECURE_CERT=false\n")
        self.assertEqual((settings["pccs_url"], settings["use_secure_cert"]), ("https://old/v4/", False))

    def test_network_codes(self):
        self.assertEqual(qcnl._network_code(ssl.SSLError()), 0xb00a)
        self.assertEqual(qcnl._network_code(socket.gaierror()), 0xb005)
