# SPDX-License-Identifier: Apache-2.0
"""The simulated PCCS over HTTPS: settings overlay, interface, status codes, and the failures of the real one."""

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile

from intelsim import SimTest, free_port, request, self_signed

import pccs_store
import simpki

GOOD, BAD = "a1" * 16, "bad" + "x" * 29
PCKCERT = "pckcert?qeid=aa&cpusvn=" + "00" * 16 + "&pcesvn=0d00&pceid=0000&encrypted_ppid="
PPID = "5a" * 384


class PccsTest(SimTest):
    @classmethod
    def setUpClass(cls):
        """Keys and authorities are made once and copied: making them is most of the time a start takes."""
        cls.made = tempfile.mkdtemp(prefix="simtest-")
        cls.addClassCleanup(shutil.rmtree, cls.made)
        os.mkdir(os.path.join(cls.made, "ssl_key"))
        self_signed(os.path.join(cls.made, "ssl_key"))
        pccs_store.Pki(os.path.join(cls.made, "simulated-pki"))

    def setUp(self):
        super().setUp()
        self.port = free_port()
        for folder in ("opt/config", "run"):
            os.makedirs(self.path(folder))
        shutil.copytree(os.path.join(self.made, "ssl_key"), self.path("opt/ssl_key"))
        if self._testMethodName != "test_everything_on_one_server":  # that one makes its own
            shutil.copytree(os.path.join(self.made, "simulated-pki"), self.path("state/simulated-pki"))
        else:
            os.mkdir(self.path("state"))
        self.local = {"HTTPS_PORT": self.port, "hosts": "127.0.0.1", "ApiKey": GOOD,
                      "UserTokenHash": hashlib.sha512(b"user").hexdigest(),
                      "AdminTokenHash": hashlib.sha512(b"admin").hexdigest()}

    def start(self, listens=True, **changes):
        self.write("run/local.json", {**self.local, **changes})
        program = self.program("pccs.py", "--prefix", self.path("opt"), env={
            "NODE_CONFIG_DIR": f"{self.path('opt/config')}:{self.path('run')}", "STATE_DIRECTORY": self.path("state")})
        if listens:
            program.wait_for("HTTPS Server is running")
        return program

    def get(self, what, method="GET", data=None, headers=None, tee="sgx"):
        return request(f"https://127.0.0.1:{self.port}/{tee}/certification/v4/{what}", method, data, headers)


class Settings(PccsTest):
    def test_overlay_order_and_lenient_json(self):
        self.write("opt/config/default.json",
                   '{ // Intel\'s file\n "HTTPS_PORT": 1, "hosts": "1.2.3.4", "ApiKey": "x//y",\n'
                   ' "uri": "https://api.trustedservices.intel.com/sgx/certification/v4/", "CachingFillMode": "LAZY",\n'
                   ' "DB_CONFIG": "sqlite", "sqlite": {"options": {"storage": "pckcache.db",},}, }')
        self.write("run/production.json", {"HTTPS_PORT": 2, "CachingFillMode": "OFFLINE"})
        self.start()
        # port and host come from local.json (last), the fill mode from production.json of the later directory
        self.assertEqual(self.get(PCKCERT + PPID)[0], 461)

    def test_default_json_of_the_later_directory_does_not_beat_local(self):
        self.write("opt/config/local.json", {"CachingFillMode": "REQ"})
        self.write("run/default.json", {"CachingFillMode": "nonsense", "DB_CONFIG": "sqlite", "sqlite": {},
                                        "uri": "https://api.trustedservices.intel.com/sgx/certification/v4/"})
        self.start()
        self.assertEqual(self.get(PCKCERT + PPID)[0], 461)

    def test_default_json_without_database_cannot_start(self):
        self.write("opt/config/default.json", {"HTTPS_PORT": 8081, "uri": "https://x/sgx/certification/v4/",
                                               "CachingFillMode": "LAZY"})
        program = self.start(listens=False)
        self.assertEqual(program.exit_code(), 1)
        self.assertIn("DB_CONFIG", program.text())

    def test_broken_json(self):
        self.write("opt/config/default.json", '{"HTTPS_PORT": ')
        self.assertEqual(self.start(listens=False).exit_code(), 1)


class Interface(PccsTest):
    def test_everything_on_one_server(self):
        program = self.start()
        self.rootcacrl()
        self.collateral()
        self.pck_certificates(program)
        self.tokens()
        self.refusals()

    def test_no_way_to_intel(self):
        """Behind a proxy that is not there, what comes from Intel is 502."""
        program = self.start(proxy=f"http://127.0.0.1:{free_port()}")
        self.assertEqual(self.get("rootcacrl")[0], 502)
        self.assertEqual(self.get(PCKCERT + PPID)[0], 502)
        self.assertIn("through its proxy", program.text())

    def test_stand_in_for_intel(self):
        """401 for a bad key, 404 for a good one: what tells them apart, which PCCS itself does not."""
        program = self.start()
        url = f"https://127.0.0.1:{self.port}/simulated-pcs/sgx/certification/v4/"
        good, bad = ({"Ocp-Apim-Subscription-Key": key} for key in (GOOD, BAD))
        pckcerts = url + "pckcerts?pceid=0000&encrypted_ppid="
        self.assertEqual(request(pckcerts + PPID, headers=good)[0], 404)
        self.assertEqual(request(pckcerts + PPID, headers=bad)[0], 401)
        self.assertEqual(request(pckcerts + PPID)[0], 401)
        self.assertEqual(request(pckcerts + "5a", headers=good)[0], 400)
        self.assertEqual(request(url + "tcb", headers=good)[0], 404)
        self.assertNotIn(GOOD, program.text())

    def rootcacrl(self):
        status, headers, body = self.get("rootcacrl")
        self.assertEqual(status, 200)
        self.assertTrue(body.startswith("308"), body[:20])
        self.assertRegex(headers["Request-ID"], r"^[0-9a-f]{32}$")
        text = simpki.openssl("crl", "-inform", "DER", "-noout", "-text", data=bytes.fromhex(body)).decode()
        self.assertIn("simulated", text)
        self.assertIn("No Revoked Certificates", text)

    def collateral(self):
        for tee, what, header in (("sgx", "tcb?fmspc=00a067110000", "TCB-Info-Issuer-Chain"),
                                  ("tdx", "tcb?fmspc=00a067110000&update=early", "TCB-Info-Issuer-Chain"),
                                  ("sgx", "qe/identity", "SGX-Enclave-Identity-Issuer-Chain"),
                                  ("tdx", "qe/identity", "SGX-Enclave-Identity-Issuer-Chain"),
                                  ("sgx", "qve/identity", "SGX-Enclave-Identity-Issuer-Chain"),
                                  ("sgx", "pckcrl?ca=platform", "SGX-PCK-CRL-Issuer-Chain")):
            status, headers, body = self.get(what, tee=tee)
            self.assertEqual(status, 200, what)
            self.assertIn("BEGIN%20CERTIFICATE", headers[header])
            self.assertTrue("simulated" in body or body.startswith("308"))

    def pck_certificates(self, program):
        status, headers, body = self.get(PCKCERT + PPID)
        self.assertEqual(status, 200)
        self.assertEqual((headers["SGX-PCK-Certificate-CA-Type"], headers["SGX-TCBm"]),
                         ("platform", "00" * 16 + "0d00"))
        chain = simpki.openssl("x509", "-noout", "-issuer", "-subject", data=body.encode()).decode()
        self.assertIn("PCK Platform CA (simulated)", chain)
        self.assertIn("[Status=200]", program.text())
        self.assertNotIn(GOOD, program.text())

    def tokens(self):
        platform = {"qe_id": "ab" * 16, "pce_id": "0000", "cpu_svn": "", "pce_svn": "", "enc_ppid": "",
                    "platform_manifest": ""}
        for method, what, data, name, token in (
                ("POST", "platforms", platform, "user-token", "user"),
                ("GET", "platforms?source=reg", None, "admin-token", "admin"),
                ("POST", "refresh", None, "admin-token", "admin"),
                ("PUT", "platformcollateral", {"platforms": []}, "admin-token", "admin")):
            for headers, wanted in (({}, 401), ({name: "wrong"}, 401), ({name: token}, 200)):
                status, got, body = self.get(what, method, data, headers)
                self.assertEqual(status, wanted, what)
                if wanted == 401:
                    self.assertEqual(body, "Authentication failed.")
        self.assertRegex(got["Request-ID"], r"^[0-9a-f]{32}$")
        self.assertEqual(self.get("platforms?source=reg", headers={"admin-token": "admin"})[1]["platform-count"], "0")

    def refusals(self):
        self.assertEqual(self.get("pckcert?qeid=aa")[::2], (400, "Invalid request parameters."))
        self.assertEqual(self.get("tcb?fmspc=zz")[0], 400)
        status, headers, body = request(f"https://127.0.0.1:{self.port}/")
        self.assertEqual((status, "Cannot GET /" in body), (404, True))
        self.assertIn("Request-ID", headers)
        status, headers, _ = request(f"https://127.0.0.1:{self.port}/sgx/certification/v3/rootcacrl")
        self.assertEqual((status, headers["Warning"][:3]), (410, "299"))

    def test_bad_key_is_known_to_the_log_alone(self):
        program = self.start(ApiKey=BAD)
        self.assertEqual(self.get(PCKCERT + PPID)[::2], (404, "No cache data for this platform."))
        program.wait_for("[Status=401]")
        self.assertEqual(self.get("rootcacrl")[0], 200)
        self.assertEqual(self.get(PCKCERT + "00" * 384)[0], 404)
        program.wait_for("Encrypted ppid is all zeros.")
        self.assertNotIn(BAD, program.text())

    def test_cache_outlives_the_key_and_upper_case_hash_never_matches(self):
        first = self.start()
        self.assertEqual(self.get(PCKCERT + PPID)[0], 200)
        first.stop()
        self.start(ApiKey=BAD, AdminTokenHash=hashlib.sha512(b"admin").hexdigest().upper())
        self.assertEqual(self.get(PCKCERT + PPID)[0], 200)
        self.assertEqual(self.get("refresh", "POST", headers={"admin-token": "admin"})[0], 401)

    def test_silent_client_does_not_block_others(self):
        self.start()
        with socket.create_connection(("127.0.0.1", self.port)):
            self.assertEqual(self.get("rootcacrl")[0], 200)


class Failures(PccsTest):
    def test_key_of_another_certificate_ends_with_success(self):
        simpki.new_key(self.path("opt/ssl_key/private.pem"))
        self.assertEqual(self.start(listens=False).exit_code(), 0)

    def test_missing_tls_files(self):
        shutil.rmtree(self.path("opt/ssl_key"))
        program = self.start(listens=False)
        self.assertEqual(program.exit_code(), 1)
        self.assertIn("The private key or certificate for HTTPS server is missing.", program.text())

    def test_unknown_fill_mode(self):
        self.assertEqual(self.start(listens=False, CachingFillMode="lazy").exit_code(), 1)

    def test_unsupported_version(self):
        program = self.start(listens=False, uri="https://api.trustedservices.intel.com/sgx/certification/v9/")
        self.assertEqual(program.exit_code(), 0)

    def test_port_taken_or_foreign_address_lives_without_listening(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", self.port))
            sock.listen()
            taken = self.start(listens=False)
            taken.wait_for("uncaughtException")
        foreign = self.start(listens=False, hosts="203.0.113.7")
        foreign.wait_for("uncaughtException")
        for program in (taken, foreign):
            with self.assertRaises(subprocess.TimeoutExpired):
                program.process.wait(0.3)
        with self.assertRaises(OSError):
            self.get("rootcacrl")

    def test_other_upstream_over_an_existing_cache(self):
        self.start().stop()
        program = self.start(listens=False, uri="https://sbx.api.trustedservices.intel.com/sgx/certification/v4/")
        self.assertEqual(program.exit_code(), 1)
        self.assertIn("server address used by the caching db is different", program.text())
