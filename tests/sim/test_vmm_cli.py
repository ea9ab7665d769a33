# SPDX-License-Identifier: Apache-2.0
"""Upstream's own client, vmm-cli.py (its path in REAL_VMM_CLI): it drives the VMM, and `dstack-host compose` writes
the same bytes."""

import hashlib
import hmac
import json
import os
import random
import re
import subprocess
import sys
import threading
import unittest

from vmmhost import ROOT, HostTest, free_port, wait_until

import kms
import kms_keys

CLI = os.environ.get("REAL_VMM_CLI")
DSTACK_HOST = os.environ.get("DSTACK_HOST") or str(ROOT / "build" / "dstack-host")
INPUTS = 50
FLAGS = ("kms", "gateway", "local-key-provider", "public-logs", "public-sysinfo", "no-instance-id", "secure-time")
SIZES = ("0", "1", "512M", "4G", "1.5g", "0.5GB", "1T", "2tb", "0.25T", "1024mb", "1.0", "007")
BAD_SIZES = ("", "G", "4K", "1.5", "0.3M", "4 G", "-1G", "+1", "1e3", ".5G", "1.G", "4GiB", "4BG", "0x10", "1,5G")
# What JSON escapes, what it might, and what is more than one byte or one UTF-16 unit.
CHARS = ("\"\\/\b\f\n\r\t\x1b\x01\x1f\x7f", "\x85\xa0\xad\u2028\u2029\ufeff\ufffd", "äß中文🔒\U0010ffff",
         " :-#=${}[]'&<>|%", "abcXYZ019_")


def text(rng, most, alphabet="".join(CHARS)):
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(most)))


def env_line(rng):
    key = text(rng, 8, "ABC_09ab.- #")
    blank = rng.choice(("", " ", "\t", "\x0b", "\x1c "))
    return rng.choice((f"{blank}{key}{blank}={blank}{text(rng, 12)}", f"#{key}=1", blank, key, "=nameless", "A=1",
                       "A==2", "export B=3"))


@unittest.skipUnless(CLI, "REAL_VMM_CLI does not say where upstream's vmm-cli.py is")
class CliTest(HostTest):
    def cli(self, host, *args, code=0):
        done = subprocess.run([sys.executable, CLI, "--url", "unix:" + host.path("vmm.sock"), *args],
                              capture_output=True, timeout=60, cwd=host.path("work"), check=False,
                              env={**host.env(), "HOME": host.path("work"), "PYTHONUTF8": "1"})
        self.assertEqual(code, done.returncode, done.stderr.decode())
        return (done.stdout if code == 0 else done.stderr).decode()

    def compose(self, host, *more):
        host.write("dc.yaml", "services:\n  app:\n    image: registry.example.org/app:1  # ä\n")
        said = self.cli(host, "compose", "--name", "app", "--docker-compose", host.path("dc.yaml"), "--output",
                        host.path("app-compose.json"), *more)
        digest = hashlib.sha256(host.read("app-compose.json").encode()).hexdigest()
        self.assertIn(f"Compose hash: {digest}", said)
        return digest

    def deploy(self, host, *more):
        said = self.cli(host, "deploy", "--name", "app", "--image", "dstack-0.5.5", "--compose",
                        host.path("app-compose.json"), *more)
        return re.search("^Created VM with ID: ([0-9a-f-]{36})$", said, re.M)[1], said

    def listed(self, host):
        return json.loads(self.cli(host, "lsvm", "--json"))

    def plain(self):
        host = self.host()
        host.config["cvm"]["qemu_path"] = host.path("bin/plain-qemu")
        return host.start()

    def test_life_of_a_vm(self):
        host = self.plain()
        self.assertEqual("No VMs found\n", self.cli(host, "lsvm"))
        digest = self.compose(host, "--kms", "--swap", "1G")
        host.write("user.json", '{"ä": 1}')
        port = free_port()
        vm, said = self.deploy(host, "--vcpu", "2", "--memory", "2G", "--disk", "1", "--user-config",
                               host.path("user.json"), "--port", f"tcp:127.0.0.1:{port}:9100", "--kms-url",
                               "https://kms.example.org:1", "--gateway-url", "https://gateway.example.org:2",
                               "--swap", "1G")
        self.assertIn(f"App ID: {digest[:40]}\n", said)
        [shown] = self.listed(host)
        config = shown["configuration"]
        self.assertEqual((vm, "app", "running", digest[:40]),
                         tuple(shown[k] for k in ("id", "name", "status", "app_id")))
        self.assertEqual((2, 2048, 1, "dstack-0.5.5", host.read("app-compose.json"), '{"ä": 1}'),
                         tuple(config[k] for k in ("vcpu", "memory", "disk_size", "image", "compose_file",
                                                   "user_config")))
        self.assertEqual([{"protocol": "tcp", "host_address": "127.0.0.1", "host_port": port, "vm_port": 9100}],
                         config["ports"])
        self.assertEqual((["https://kms.example.org:1"], ["https://gateway.example.org:2"]),
                         (config["kms_urls"], config["gateway_urls"]))
        self.assertRegex(self.cli(host, "lsvm", "-v"), rf"│ {vm} │ {digest[:40]} │ app +│ running +│ \d+m?s +│ 2 ")
        self.assertIn("stop it first", self.cli(host, "remove", vm, code=1))
        self.assertEqual(f"Forcefully stopped VM {vm}\n", self.cli(host, "stop", "-f", vm))
        wait_until(lambda: self.listed(host)[0]["status"] == "stopped", "it stops")
        self.assertEqual(f"Started VM {vm}\n", self.cli(host, "start", vm))
        self.assertEqual("running", self.listed(host)[0]["status"])
        self.cli(host, "stop", "-f", vm)
        wait_until(lambda: self.listed(host)[0]["status"] == "stopped", "it stops")
        self.assertEqual(f"Removed VM {vm}\n", self.cli(host, "remove", vm))
        self.assertEqual([], self.listed(host))
        self.assertFalse(os.path.exists(host.path("vm", vm)))

    def test_changes(self):
        host = self.plain()
        first = self.compose(host)
        vm, _ = self.deploy(host, "--disk", "1", "--stopped")
        self.assertEqual("stopped", self.listed(host)[0]["status"])
        host.write("user.json", "other")
        self.cli(host, "update-user-config", vm, host.path("user.json"))
        second = self.compose(host, "--public-logs")
        self.assertNotEqual(first, second)
        self.cli(host, "update-app-compose", vm, host.path("app-compose.json"))
        [shown] = self.listed(host)
        self.assertEqual(("other", host.read("app-compose.json"), first[:40]),
                         (shown["configuration"]["user_config"], shown["configuration"]["compose_file"],
                          shown["app_id"]))

    def test_what_else_it_shows(self):
        host = self.plain()
        self.assertRegex(self.cli(host, "lsimage"), r"│ dstack-0\.5\.5 │ 0\.5\.5 +│")
        self.assertEqual("No GPUs found\n", self.cli(host, "lsgpu"))
        self.assertIn("API call failed", self.cli(host, "start", "00000000-0000-4000-8000-000000000000", code=1))
        # It can only do Basic, and the VMM wants Bearer.
        vm = host.create()
        self.assertIn("Failed to get logs", self.cli(host, "logs", vm))

    def test_encrypted_environment(self):
        """The VMM hands on the stand-in KMS's key; upstream's client accepts its signature and encrypts to it."""
        try:
            from cryptography.hazmat.primitives.asymmetric import x25519
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            import eth_keys  # noqa: F401  (vmm-cli.py needs it)
        except ImportError as error:
            self.skipTest(f"vmm-cli.py encrypts only with other people's modules: {error}")
        host = self.plain()
        stop, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=kms.run, args=(
            [("127.0.0.1", host.kms_port)], host.path("kms"), "kms.example.org",
            {"AUTO_BOOTSTRAP_DOMAIN": "kms.example.org"}, lambda stage: stage == "done" and done.set(), stop))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)
        self.assertTrue(done.wait(15))
        host.write("env", "# secret\nTOKEN = a=b ä\nEMPTY=\n")
        app = bytes.fromhex(self.compose(host, "--kms", "--env-file", host.path("env"))[:40])
        self.assertEqual(["TOKEN", "EMPTY"], json.loads(host.read("app-compose.json"))["allowed_envs"])
        keys = kms_keys.Keys(host.path("kms"))
        secret = x25519.X25519PrivateKey.from_private_bytes(
            hmac.new(keys.secret(), app + b"env-encrypt-key", hashlib.sha256).digest())
        for where in ([], ["--kms-url", f"https://127.0.0.1:{host.kms_port}"]):
            vm, said = self.deploy(host, "--disk", "1", "--env-file", host.path("env"), *where)
            self.assertIn(f"Verified signature from: 0x{keys.public_key().hex()}\n", said)
            with open(host.path("vm", vm, "shared/.encrypted-env"), "rb") as file:
                box = file.read()
            shared = secret.exchange(x25519.X25519PublicKey.from_public_bytes(box[:32]))
            self.assertEqual({"env": [{"key": "TOKEN", "value": "a=b ä"}, {"key": "EMPTY", "value": ""}]},
                             json.loads(AESGCM(shared).decrypt(box[32:44], box[44:], None)))

    def test_shutdown(self):
        self.simulated_only("guest reports need a vsock of their own")
        host = self.host().start()
        self.compose(host)
        vm, _ = self.deploy(host, "--disk", "1")
        host.wait_info(vm, boot_progress="done")
        self.assertEqual(f"Gracefully shutting down VM {vm}\n", self.cli(host, "stop", vm))
        host.wait_info(vm, status="stopped")


@unittest.skipUnless(CLI, "REAL_VMM_CLI does not say where upstream's vmm-cli.py is")
@unittest.skipUnless(os.access(DSTACK_HOST, os.X_OK), f"{DSTACK_HOST} is not built")
class ComposeTest(HostTest):
    def both(self, host, args):
        """-> ((worked, bytes) of upstream's, the same of ours)."""
        answers = []
        for name, command in (("theirs", [sys.executable, CLI]), ("ours", [DSTACK_HOST])):
            done = subprocess.run([*command, "compose", *args, "--output", host.path(name)], capture_output=True,
                                  timeout=60, check=False, env={**host.env(), "PYTHONUTF8": "1"})
            said = done.stdout + done.stderr
            if done.returncode:
                answers.append((False, b""))
                self.assertNotIn(b"Sanitizer", said)
                continue
            with open(host.path(name), "rb") as file:
                data = file.read()
            self.assertIn(hashlib.sha256(data).hexdigest().encode(), said)
            answers.append((True, data))
            os.unlink(host.path(name))
        return answers

    def random_args(self, host, rng):
        with open(host.path("dc.yaml"), "wb") as file:
            file.write(text(rng, 200).encode())
        args = [f"--name={text(rng, 20)}", "--docker-compose", host.path("dc.yaml")]
        args += [f"--{flag}" for flag in FLAGS if rng.randrange(2)]
        if rng.randrange(2):
            args.append(f"--key-provider-id={text(rng, 20)}")
        if rng.randrange(2):
            with open(host.path("prelaunch.sh"), "wb") as file:
                file.write(text(rng, 100).encode())
            args += ["--prelaunch-script", host.path("prelaunch.sh")]
        if rng.randrange(2):
            ends = rng.choice(("\n", "\r\n", "\r"))
            with open(host.path("env"), "wb") as file:
                file.write(ends.join(env_line(rng) for _ in range(rng.randrange(12))).encode())
            args += ["--env-file", host.path("env")]
        if rng.randrange(2):
            args.append(f"--swap={rng.choice(SIZES)}")
        return args

    def test_same_bytes(self):
        host = self.host()
        seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
        for number in range(INPUTS):
            args = self.random_args(host, random.Random(f"{seed} {number}"))
            with self.subTest(seed=seed, number=number, args=args):
                theirs, ours = self.both(host, args)
                self.assertTrue(theirs[0])
                self.assertEqual(theirs, ours)

    def test_same_refusals(self):
        host = self.host()
        host.write("dc.yaml", "x")
        for size in BAD_SIZES:
            with self.subTest(size=size):
                theirs, ours = self.both(host, ["--name", "x", "--docker-compose", host.path("dc.yaml"),
                                                f"--swap={size}"])
                self.assertEqual([(False, b"")] * 2, [theirs, ours])


if __name__ == "__main__":
    unittest.main()
