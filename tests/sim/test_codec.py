# SPDX-License-Identifier: Apache-2.0
"""Encodings the recordings do not cover: protobuf both ways, GET arguments, limits, MRCONFIGID, a KMS's compose."""

import base64
import json
import tempfile
import unittest
import unittest.mock

from vmmhost import HostTest

import base
import cvm_guest
import mrconfig
import proto
import qgs
import serde
import tdquote

UPSTREAM_COMPOSE = """services:
  auth-api:
    environment:
      HOST: 0.0.0.0
      ETH_RPC_URL: "${ETH_RPC_URL:-https://rpc.example.org}"
    ports:
      - 8001:8000
  kms:
    image: docker.io/dstacktee/dstack-kms@sha256:00
    ports:
      - 8000:8000
configs:
  kms.toml:
    content: |
      [core.onboard]
      auto_bootstrap_domain = "kms.example.org"
"""


class CodecTest(unittest.TestCase):
    def test_keccak(self):
        self.assertEqual("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
                         mrconfig.keccak256(b"").hex())
        self.assertEqual("4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
                         mrconfig.keccak256(b"abc").hex())

    def test_mr_config_id(self):
        first = mrconfig.mr_config_id(b"x", "local", b"", b"")
        second = mrconfig.mr_config_id(b"x", "local", b"\1", b"")
        self.assertEqual((48, 48, 1, 2), (len(first), len(second), first[0], second[0]))
        self.assertEqual(second, mrconfig.mr_config_id(b"x", "local", b"\1", first[1:21]), "app id of the compose")

    def test_field_numbers(self):
        """Bytes, not our own table: these numbers are upstream's."""
        config = {"name": "a", "image": "b", "compose_file": "c", "vcpu": 1, "memory": 300, "disk_size": 3,
                  "ports": [{"protocol": "tcp", "host_port": 9103, "vm_port": 9100, "host_address": "::1"}],
                  "encrypted_env": b"\1", "app_id": "", "user_config": "u", "hugepages": True, "pin_numa": True,
                  "gpus": {"gpus": [{"slot": "s"}], "attach_mode": "m"}, "kms_urls": ["k"], "gateway_urls": ["g"],
                  "stopped": True}
        for message, values, wanted in (
                ("VmConfiguration", config,
                 "0a01611201621a0163200128ac0230033a100a03746370108f47188c4722033a3a314201014a00520175580160016a080a03"
                 "0a017312016d72016b7a0167800101"),
                ("UpgradeAppRequest", {"id": "i", "compose_file": "c", "encrypted_env": b"e", "user_config": "u",
                                       "update_ports": True, "ports": [{}], "gpus": {}},
                 "0a01691201631a016522017528013a006a00"),
                ("ResizeVmRequest", {"id": "i", "vcpu": 0, "memory": 1, "disk_size": 2, "image": "x"},
                 "0a01691000180120022a0178")):
            self.assertEqual(wanted, proto.encode(message, values).hex())
            self.assertEqual(proto.to_jsonable(message, values),
                             proto.to_jsonable(message, proto.decode(message, bytes.fromhex(wanted))))

    def test_json_errors(self):
        schema = proto.json_schema("StatusRequest")
        for text, error in (('{"page":-1}', "invalid value: integer `-1`, expected u32 at line 1 column 10"),
                            ('{}\n x', "trailing characters at line 2 column 2"),
                            ('{"brief":1}', "invalid type: integer `1`, expected a boolean at line 1 column 10"),
                            ('{"page":1,}', "trailing comma at line 1 column 11"),
                            ('{"page" 1}', "expected `:` at line 1 column 9"),
                            ('{"page":1,"page":2}', "duplicate field `page` at line 1 column 16")):
            with self.assertRaisesRegex(serde.JsonError, "^" + serde.re.escape(error) + "$"):
                serde.loads(text, schema)

    def test_kms_layouts(self):
        kms = cvm_guest.Kms({"docker_compose_file": UPSTREAM_COMPOSE})
        self.assertEqual((True, 8000, "kms.example.org"), (kms.present, kms.port, kms.domain))
        self.assertEqual("https://rpc.example.org", kms.env["ETH_RPC_URL"])
        self.assertFalse(cvm_guest.Kms({"docker_compose_file": "services: {app: {image: nginx}}"}).present)


class QgsTest(unittest.TestCase):
    """The guest's way to a quote, against the simulated QGS's own framing."""

    def ask(self, quote):
        class Qgs(qgs.Qgs):
            def __init__(self):  # neither devices nor a PCCS
                pass

        Qgs.quote = quote
        with tempfile.TemporaryDirectory(prefix="dsim") as folder:
            server = base.StreamServer(f"unix:{folder}/qgs", Qgs().serve).start()
            self.addCleanup(server.stop)
            with unittest.mock.patch.dict("os.environ", DSTACK_SIM_QGS=f"{folder}/qgs"):
                return cvm_guest.get_quote(tdquote.make_report(bytes(48), [bytes(48)] * 4, b"asked"))

    def test_quote(self):
        quote = self.ask(lambda _self, report: tdquote.quote_from_report(report))
        self.assertEqual(b"asked", tdquote.parse_quote(quote)["report_data"].rstrip(b"\0"))

    def test_refused(self):
        with self.assertRaisesRegex(cvm_guest.GuestError, "QGS error 0x12001"):
            self.ask(lambda _self, _report: b"")

    def test_not_there(self):
        with unittest.mock.patch.dict("os.environ", DSTACK_SIM_QGS="/nonexistent/qgs"):
            with self.assertRaisesRegex(cvm_guest.GuestError, "Failed to get quote"):
                cvm_guest.get_quote(bytes(1024))


class WireTest(HostTest):
    def setUp(self):
        super().setUp()
        self.vmm = self.host()
        self.vmm.config["cvm"]["qemu_path"] = self.vmm.path("bin/plain-qemu")
        self.vmm.start()

    def raw(self, method, target, body=None, headers=None):
        return base.http_call("unix:" + self.vmm.path("vmm.sock"), method, target, body, headers)

    def protobuf(self, method, values):
        request, answer = proto.VMM_METHODS[method]
        status, headers, data = self.raw("POST", f"/prpc/{method}", proto.encode(request, values))
        self.assertEqual((200, "application/octet-stream"), (status, headers["Content-Type"]), data)
        return proto.decode(answer, data)

    def test_protobuf(self):
        compose = json.dumps({"manifest_version": 2, "name": "é", "runner": "docker-compose",
                              "key_provider_id": "00ff", "local_key_provider_enabled": True})
        vm = self.protobuf("CreateVm", {"name": "app", "image": "dstack-0.5.5", "compose_file": compose, "vcpu": 300,
                                        "memory": 1024, "disk_size": 1, "encrypted_env": b"\0\xff", "stopped": False,
                                        "kms_urls": ["https://a", "https://b"]})["id"]
        answer = self.protobuf("Status", {"ids": [vm]})
        self.assertEqual(1, answer["total"])
        config = answer["vms"][0]["configuration"]
        self.assertEqual((compose, 300, b"\0\xff", ["https://a", "https://b"]),
                         tuple(config[key] for key in ("compose_file", "vcpu", "encrypted_env", "kms_urls")))
        self.assertEqual(proto.to_jsonable("VmConfiguration", config), self.vmm.info(vm)["configuration"])
        tdx = next(arg for arg in self.vmm.entry(vm)["config"]["args"] if arg.startswith("tdx-guest"))
        self.assertEqual(2, base64.b64decode(tdx.partition("mrconfigid=")[2])[0], "form 2 with a key provider id")

    def test_get_arguments(self):
        status, _, data = self.raw("GET", "/prpc/Status?brief=true&page=0&keyword=zzz")
        self.assertEqual((200, 0), (status, json.loads(data)["total"]))

    def test_limit(self):
        status, headers, data = self.raw("POST", "/prpc/Status?json", b" " * ((10 << 20) + 1))
        self.assertEqual((400, "application/json"), (status, headers["Content-Type"]))
        self.assertIn("payload too large", json.loads(data)["error"])

    def test_headers(self):
        _, headers, _ = self.raw("GET", "/")
        self.assertEqual("no", headers["X-Accel-Buffering"])
        self.assertTrue(headers["X-App-Version"].startswith("v0.5.5 ("))
        self.assertEqual("dstack VMM", headers["Server"])


if __name__ == "__main__":
    unittest.main()
