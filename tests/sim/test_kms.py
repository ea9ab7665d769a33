# SPDX-License-Identifier: Apache-2.0
"""The simulated KMS as the stand-in CVM runs it: onboarding, HTTPS, the chain behind GetMeta."""

import json
import os
import socket
import ssl
import threading
import time

from intelsim import SimTest, free_port, request, wait_until

import base
import ethrpc
import k256
import kms
import simpki
import tdquote

DOMAIN = "kms.sim.example"


class KmsTest(SimTest):
    def setUp(self):
        super().setUp()
        self.port, self.second_port = free_port(), free_port()
        self.rpc_port = free_port()
        self.fault = self.path("fault")
        self.chain = ethrpc.EthRpc(self.fault)
        self.chain_requests = []
        server = base.HttpServer(f"tcp:127.0.0.1:{self.rpc_port}", self.ask_chain).start()
        self.addCleanup(server.stop)
        self.addCleanup(self.chain.stopping.set)
        self.env = {"ETH_RPC_URL": f"http://127.0.0.1:{self.rpc_port}", "KMS_CONTRACT_ADDR": ethrpc.KMS_CONTRACT}

    def ask_chain(self, req):
        self.chain_requests.append(req)
        return self.chain(req)

    def start(self, **env):
        self.stages, self.stop = [], threading.Event()
        self.thread = threading.Thread(target=kms.run, daemon=True, args=(
            [("127.0.0.1", self.port), ("127.0.0.1", self.second_port)], self.path("state"), DOMAIN,
            {**self.env, **env}, self.stages.append, self.stop))
        self.thread.start()
        self.addCleanup(self.end)
        wait_until(lambda: "done" in self.stages)

    def end(self):
        self.stop.set()
        self.thread.join(10)
        self.assertFalse(self.thread.is_alive())

    def get(self, path, scheme="https", port=None, **kwargs):
        return request(f"{scheme}://127.0.0.1:{port or self.port}{path}", **kwargs)

    def post(self, method, args, scheme="https"):
        status, _, body = self.get(f"/prpc/{method}?json", scheme, method="POST", data=args)
        return status, json.loads(body)

    def wait_for_https(self):
        def there():
            try:
                return self.get("/")[0] == 404
            except OSError:
                return False
        wait_until(there)


class Onboarding(KmsTest):
    def test_bootstrap_then_https_on_the_same_port(self):
        self.start()
        self.assertEqual(self.stages, ["starting containers", "done"])
        status, headers, page = self.get("/", "http")
        self.assertEqual((status, headers["Content-Type"][:9]), (200, "text/html"))
        self.assertIn("imulated", page)
        self.assertEqual(headers["Connection"], "close")  # or a client would keep talking to the phase that has ended
        with self.assertRaises(OSError):
            self.get("/")
        self.assertEqual(self.get("/prpc/KMS.GetMeta", "http")[0], 404)
        self.assertEqual(self.post("Onboard.Bootstrap", {"domain": "a\nb"}, "http")[0], 400)
        status, info = self.post("Onboard.Bootstrap", {"domain": DOMAIN}, "http")
        self.assertEqual((status, set(info)), (200, {"ca_pubkey", "k256_pubkey", "quote", "eventlog"}))
        self.assertEqual(tdquote.parse_quote(bytes.fromhex(info["quote"]))["vendor"], b"dstack-simulated")
        self.assertEqual(self.get("/finish", "http")[0], 200)
        self.wait_for_https()
        meta = json.loads(self.get("/prpc/KMS.GetMeta", port=self.second_port)[2])
        self.assertEqual(meta["bootstrap_info"], info)
        self.assertEqual(meta["k256_pubkey"], info["k256_pubkey"])

    def test_finish_without_keys_begins_again(self):
        self.start()
        self.assertEqual(self.post("Finish", {}, "http"), (200, {}))
        wait_until(lambda: self.stages.count("done") == 2)
        self.assertEqual(self.get("/", "http")[0], 200)
        self.assertEqual(self.post("Bootstrap", {}, "http")[0], 200)  # domain of the compose
        self.post("Onboard.Finish", {}, "http")
        self.wait_for_https()

    def test_root_keys_outlive_a_restart(self):
        self.start(AUTO_BOOTSTRAP_DOMAIN=DOMAIN)
        first = json.loads(self.get("/prpc/GetMeta")[2])
        self.assertIsNone(first["bootstrap_info"])
        self.end()
        self.start(AUTO_BOOTSTRAP_DOMAIN="other.example")
        self.assertEqual(json.loads(self.get("/prpc/GetMeta")[2]), first)
        self.assertEqual(os.stat(self.path("state/root-k256.key")).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.path("state")).st_mode & 0o777, 0o700)


class Service(KmsTest):
    def test_meta_certificates_and_keys(self):
        self.start(AUTO_BOOTSTRAP_DOMAIN=DOMAIN)
        begun = time.monotonic()
        status, _, body = self.get("/prpc/KMS.GetMeta")
        self.assertLess(time.monotonic() - begun, 1)
        meta = json.loads(body)
        self.assertEqual(status, 200)
        self.assertEqual(list(meta), ["ca_cert", "allow_any_upgrade", "k256_pubkey", "bootstrap_info", "is_dev",
                                      "gateway_app_id", "kms_contract_address", "chain_id", "app_auth_implementation"])
        self.assertEqual((meta["chain_id"], meta["kms_contract_address"]), (11155111, ethrpc.KMS_CONTRACT))
        self.assertEqual((meta["app_auth_implementation"], meta["gateway_app_id"]),
                         (ethrpc.APP_IMPLEMENTATION, "53" * 20))
        self.certificate(meta["ca_cert"])
        self.env_key(meta["k256_pubkey"])
        temp = json.loads(self.get("/prpc/KMS.GetTempCaCert")[2])
        self.assertEqual((set(temp), temp["ca_cert"]), ({"temp_ca_cert", "temp_ca_key", "ca_cert"}, meta["ca_cert"]))
        self.assertEqual(self.get("/nothing")[0], 404)
        self.assertEqual(self.post("KMS.Nothing", {}), (400, {"error": "Service not found: Nothing"}))
        self.assertEqual(self.post("KMS.GetAppKey", {})[0], 400)

    def certificate(self, ca_cert):
        """Valid under the CA for the DNS name, and only for that."""
        context = ssl.create_default_context(cadata=ca_cert)
        with self.assertRaises(OSError):
            self.get("/", tls=context)  # 127.0.0.1 is not in it
        with ssl.create_default_context(cadata=ca_cert).wrap_socket(
                socket.create_connection(("127.0.0.1", self.port), 5), server_hostname=DOMAIN) as sock:
            self.assertEqual(sock.getpeercert()["subjectAltName"], (("DNS", DOMAIN),))
        self.assertIn("simulated", simpki.openssl("x509", "-noout", "-subject", data=ca_cert.encode()).decode())

    def env_key(self, root_pubkey):
        app_id = "ab" * 20
        status, answer = self.post("KMS.GetAppEnvEncryptPubKey", {"app_id": app_id})
        self.assertEqual((status, answer), self.post("GetAppEnvEncryptPubKey", {"app_id": app_id}))
        digest = k256.keccak256(b"dstack-env-encrypt-pubkey:" + bytes.fromhex(app_id + answer["public_key"]))
        self.assertEqual(k256.recover(bytes.fromhex(answer["signature"]), digest).hex(), root_pubkey)
        self.assertEqual(self.post("GetAppEnvEncryptPubKey", {"app_id": "xy"})[0], 400)

    def test_hanging_chain_hangs_get_meta_alone(self):
        self.start(AUTO_BOOTSTRAP_DOMAIN=DOMAIN)
        for fault, requests in (("hang", (1,)), ("429", range(2, 7))):
            self.write("fault", fault)
            self.chain_requests.clear()
            with self.assertRaises(OSError):
                self.get("/prpc/KMS.GetMeta", timeout=0.6)
            self.assertIn(len(self.chain_requests), requests)  # patience, and retries with growing pauses
            self.assertEqual(self.get("/nothing", timeout=1)[0], 404)
            self.assertEqual(self.get("/prpc/GetTempCaCert", timeout=1)[0], 200)
        os.unlink(self.fault)
        self.assertEqual(self.get("/prpc/KMS.GetMeta")[0], 200)

    def test_chain_without_the_contract(self):
        self.start(AUTO_BOOTSTRAP_DOMAIN=DOMAIN, KMS_CONTRACT_ADDR="0x" + "66" * 20)
        status, _, body = self.get("/prpc/KMS.GetMeta")
        self.assertEqual(status, 400)
        self.assertIn("could not decode", json.loads(body)["error"])

    def test_without_chain_everything_is_allowed(self):
        self.start(AUTO_BOOTSTRAP_DOMAIN=DOMAIN, ETH_RPC_URL="")
        meta = json.loads(self.get("/prpc/GetMeta")[2])
        self.assertEqual((meta["allow_any_upgrade"], meta["chain_id"], meta["gateway_app_id"]), (True, None, "any"))
