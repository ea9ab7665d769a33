# SPDX-License-Identifier: Apache-2.0
"""The simulated Ethereum node over HTTP."""

import json
import os
import threading

from intelsim import ROOT, SimTest, free_port, request, wait_until

import ethrpc
import k256

CONF = dict(line.split("=", 1) for line in (ROOT / "conf/sim/defaults.conf").read_text().splitlines()
            if line[:1] not in ("", "#"))
CHAIN_ID = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}


class EthRpcTest(SimTest):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.fault = self.path("fault")
        node = self.program("ethrpc.py", "--listen", f"tcp:127.0.0.1:{self.port}", "--fault-file", self.fault)
        node.wait_for("listening on")

    def post(self, body, timeout=5):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        status, _, text = request(f"http://127.0.0.1:{self.port}/", "POST", data, headers, timeout)
        return status, json.loads(text) if text else None

    def call(self, method, *params):
        status, answer = self.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)})
        self.assertEqual((status, answer["id"], answer["jsonrpc"]), (200, 7, "2.0"))
        return answer.get("result", answer.get("error"))

    def test_chain(self):
        self.assertEqual(self.call("eth_chainId"), "0xaa36a7")
        number = self.call("eth_blockNumber")
        self.assertGreater(int(number, 16), 1000000)
        block = self.call("eth_getBlockByNumber", "latest", False)
        self.assertGreaterEqual(int(block["number"], 16), int(number, 16))
        earlier = self.call("eth_getBlockByNumber", hex(int(number, 16) - 1), False)
        now = self.call("eth_getBlockByNumber", number, False)
        self.assertEqual(int(now["timestamp"], 16) - int(earlier["timestamp"], 16), 12)
        self.assertIsNone(self.call("eth_getBlockByNumber", "0xffffffffff", False))

    def test_block_number_advances_with_time(self):
        now = ethrpc.time.time
        self.addCleanup(setattr, ethrpc.time, "time", now)
        first = ethrpc.height()
        ethrpc.time.time = lambda: now() + 24
        self.assertEqual(ethrpc.height() - first, 2)

    def test_contract(self):
        contract = CONF["KMS_CONTRACT"]
        self.assertGreater(len(self.call("eth_getCode", contract, "latest")), 4)
        self.assertEqual(self.call("eth_getCode", "0x" + "00" * 20, "latest"), "0x")
        word = self.call("eth_call", {"to": contract, "data": "0x25a992da"}, "latest")
        self.assertEqual("0x" + word[-40:], CONF["APP_AUTH_IMPLEMENTATION"])
        self.assertGreater(len(self.call("eth_getCode", CONF["APP_AUTH_IMPLEMENTATION"], "latest")), 4)
        text = bytes.fromhex(self.call("eth_call", {"to": contract, "data": "0x95f51931"}, "latest")[2:])
        self.assertEqual(text[64:64 + int.from_bytes(text[32:64], "big")].decode(), "53" * 20)
        self.assertEqual(self.call("eth_call", {"to": contract, "data": "0xdeadbeef"}, "latest")["code"], 3)
        self.assertEqual(self.call("eth_call", {"to": "0x" + "00" * 20, "data": "0x25a992da"}, "latest"), "0x")

    def test_errors_and_batches(self):
        self.assertEqual(self.call("eth_sendTransaction")["code"], -32601)
        self.assertEqual(self.call("eth_getCode")["code"], -32602)
        self.assertEqual(self.call("eth_getCode", "0x12", "latest")["code"], -32602)
        self.assertEqual(self.post(b"{")[1]["error"]["code"], -32700)
        self.assertEqual(self.post({"id": 1})[1]["error"]["code"], -32600)
        self.assertEqual(self.post([])[1]["error"]["code"], -32600)
        batch = self.post([CHAIN_ID, {"jsonrpc": "2.0", "method": "eth_chainId"},
                           {"jsonrpc": "2.0", "id": "b", "method": "nonsense"}])[1]
        self.assertEqual([(one["id"], "result" in one) for one in batch], [(1, True), ("b", False)])

    def test_faults(self):
        self.write("fault", "429\n")
        self.assertEqual(self.post(CHAIN_ID)[0], 429)
        self.write("fault", "hang")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.post(CHAIN_ID)))
        thread.start()
        thread.join(0.5)
        self.assertEqual(answers, [])
        os.unlink(self.fault)
        wait_until(lambda: answers)
        thread.join()
        self.assertEqual(answers[0][1]["result"], "0xaa36a7")


class Curve(SimTest):
    def test_known_values(self):
        self.assertEqual(k256.keccak256(b"").hex(), "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")
        self.assertEqual(k256.keccak256(b"transfer(address,uint256)")[:4].hex(), "a9059cbb")
        self.assertEqual(k256.public_key((1).to_bytes(32, "big")).hex(),
                         "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")

    def test_signatures(self):
        for number in range(8):
            secret, digest = k256.new_secret(bytes([number])), k256.keccak256(bytes([number]))
            signature = k256.sign(secret, digest)
            self.assertEqual(k256.recover(signature, digest), k256.public_key(secret))
            self.assertLessEqual(int.from_bytes(signature[32:64], "big"), k256.ORDER // 2)
