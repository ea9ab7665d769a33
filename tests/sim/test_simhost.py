# SPDX-License-Identifier: Apache-2.0
"""What the simulation puts on a machine: device nodes, guest image, container images, units, users, defaults."""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import unittest
import unittest.mock

from intelsim import ROOT, SIM, SimTest

import base
import ethrpc
import guestimage
import images
import sgx

UNITS = sorted((ROOT / "units/sim").glob("dstack-sim-*.service"))


def run(*argv, code=0, **kwargs):
    """-> what it printed; it must end with this exit code."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False,
                          **kwargs)
    if done.returncode != code:
        raise AssertionError(f"{argv} ended with {done.returncode}: {done.stdout}")
    return done.stdout


class Devices(SimTest):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("dev"))
        self.marker = self.path("run/dstack-sim/devices")

    def make(self):
        return sgx.make(self.path("dev"), self.marker, lambda name: {"sgx": 4001, "sgx_prv": 4002}[name])

    @unittest.skipUnless(os.geteuid() == 0, "making device nodes needs root")
    def test_make_repair_remove(self):
        try:
            self.make()
        except sgx.SgxError as error:
            self.skipTest(str(error))
        os.chmod(self.path("dev/sgx_provision"), 0o600)
        self.make()
        for name, gid in (("sgx_enclave", 4001), ("sgx_provision", 4002), ("sgx_vepc", 4001)):
            info = os.stat(self.path("dev", name))
            self.assertTrue(stat.S_ISCHR(info.st_mode))
            self.assertEqual((info.st_mode & 0o777, info.st_uid, info.st_gid), (0o660, 0, gid))
        with open(self.marker, encoding="utf-8") as stream:
            text = stream.read()
        self.assertIn("simulated", text)
        self.assertEqual(text.count("/dev/sgx_"), 3)
        sgx.remove(self.path("dev"), self.marker)
        self.assertEqual((os.listdir(self.path("dev")), os.path.exists(self.marker)), ([], False))

    @unittest.skipUnless(os.geteuid() == 0, "making device nodes needs root")
    def test_real_devices_are_left_alone(self):
        self.write("dev/sgx_enclave", "real")
        try:
            made = self.make()
        except sgx.SgxError as error:
            self.skipTest(str(error))
        self.assertEqual(len(made), 2)
        sgx.remove(self.path("dev"), self.marker)
        self.assertEqual(os.listdir(self.path("dev")), ["sgx_enclave"])

    def test_refused_mknod_is_said(self):
        os.rmdir(self.path("dev"))
        self.write("dev", "no directory")
        group = os.stat(self.path("dev")).st_gid
        with self.assertRaisesRegex(OSError, "Not a directory"):
            sgx.make(self.path("dev"), self.marker, lambda name: group)
        real = os.mknod
        self.addCleanup(setattr, os, "mknod", real)
        os.mknod = lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted"))
        os.mkdir(self.path("dev2"))
        with self.assertRaisesRegex(sgx.SgxError, "does not allow device nodes"):
            sgx.make(self.path("dev2"), self.marker, lambda name: group)

    def test_missing_group(self):
        with self.assertRaisesRegex(sgx.SgxError, "does not exist"):
            sgx.group_id("no-such-group-here")


class GuestImage(SimTest):
    def test_layout_and_hashes(self):
        images_dir = self.path("images")
        self.assertEqual(guestimage.install(images_dir), "written")
        folder = os.path.join(images_dir, "dstack-0.5.5")
        self.assertEqual(sorted(os.listdir(folder)), ["bzImage", "digest.txt", "initramfs.cpio.gz", "metadata.json",
                                                      "ovmf.fd", "rootfs.img.verity", "sha256sum.txt"])
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o755)
        with open(os.path.join(folder, "metadata.json"), encoding="utf-8") as stream:
            metadata = json.load(stream)
        self.assertEqual(list(metadata), ["bios", "kernel", "cmdline", "initrd", "rootfs", "version", "git_revision",
                                          "shared_ro", "is_dev"])
        self.assertEqual((metadata["version"], metadata["git_revision"]), ("0.5.5", "simulated"))
        self.assertEqual((metadata["shared_ro"], metadata["is_dev"]), (True, False))
        self.assertEqual(run("sha256sum", "-c", "sha256sum.txt", cwd=folder).count(": OK"), 4)
        digest = run("sha256sum", "sha256sum.txt", cwd=folder).split()[0]
        with open(os.path.join(folder, "digest.txt"), encoding="ascii") as stream:
            self.assertEqual(stream.read().strip(), digest)
        run("gzip", "-t", "initramfs.cpio.gz", cwd=folder)
        self.verity(folder, metadata["cmdline"])
        self.assertEqual(os.listdir(self.dir), ["images"])  # nothing staged is left

    def verity(self, folder, cmdline):
        root, size = re.search(r"dstack\.rootfs_hash=([0-9a-f]{64}) dstack\.rootfs_size=(\d+)", cmdline).groups()
        with open(os.path.join(folder, "rootfs.img.verity"), "rb") as stream:
            data = stream.read()
        blocks, tree, salt = data[:int(size)], data[int(size) + 4096:], data[int(size) + 88:int(size) + 120]
        leaves = b"".join(hashlib.sha256(salt + blocks[at:at + 4096]).digest() for at in range(0, len(blocks), 4096))
        self.assertEqual(tree, leaves.ljust(4096, b"\0"))
        self.assertEqual(hashlib.sha256(salt + tree).hexdigest(), root)
        if shutil.which("veritysetup"):
            path = os.path.join(folder, "rootfs.img.verity")
            run("veritysetup", "verify", f"--hash-offset={size}", path, path, root)

    def test_repeated_broken_and_real(self):
        images_dir = self.path("images")
        guestimage.install(images_dir)
        before = os.stat(self.path("images/dstack-0.5.5")).st_ino
        self.assertEqual(guestimage.install(images_dir), "whole")
        self.assertEqual(os.stat(self.path("images/dstack-0.5.5")).st_ino, before)
        os.truncate(self.path("images/dstack-0.5.5/bzImage"), 100)
        self.assertEqual(guestimage.install(images_dir), "written")
        self.assertEqual(guestimage.state_of(self.path("images/dstack-0.5.5")), "whole")
        self.write("images/dstack-0.5.5/metadata.json", {"git_revision": "9932ef47"})
        self.assertEqual(guestimage.install(images_dir), "real")

    def test_same_on_every_machine(self):
        # A sealed simulated disk depends on it: a change here is a new image.
        self.assertEqual(guestimage.build()["digest.txt"].decode().strip(), DIGEST)


DIGEST = "0931df9bb27460553c75d595a351cbbdb90e51c8d01e145d3fb9339899e5e185"


class FakeDocker:
    """The calls images.py makes, on a unix socket."""

    def __init__(self, address, root):
        self.images, self.calls, self.root = {}, [], root
        self.server = base.HttpServer(address, self.answer, body_limit=1 << 30).start()

    def answer(self, req):
        self.calls.append((req.method, req.path))
        if req.method == "POST" and req.path == "/images/load":
            with tarfile.open(fileobj=io.BytesIO(req.body)) as tar:
                for entry in json.load(tar.extractfile("manifest.json")):
                    text = tar.extractfile(entry["Config"]).read()
                    layer = tar.extractfile(entry["Layers"][0]).read()
                    assert json.loads(text)["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
                    image_id = "sha256:" + hashlib.sha256(text).hexdigest()
                    self.images[entry["RepoTags"][0]] = {"Id": image_id, "Config": json.loads(text)["config"]}
                    self.layer = layer
            return base.reply_json({"stream": "Loaded"})
        if req.path == "/info":
            return base.reply_json({"DockerRootDir": self.root})
        if req.path == "/containers/json":
            return base.reply_json([{"Id": "c" + json.loads(req.arg("filters"))["ancestor"][0][-8:]}])
        name = req.path.removeprefix("/images/").removesuffix("/json")
        if req.method == "DELETE":
            self.images = {tag: image for tag, image in self.images.items() if image["Id"] != name}
            return base.reply_json([])
        if req.method == "GET" and name in self.images:
            return base.reply_json(self.images[name])
        return base.reply_json({"message": "No such image"}, 404)


@unittest.skipUnless(os.path.exists("/usr/bin/python3") and shutil.which("ldd"), "needs the system's Python and ldd")
class ContainerImages(SimTest):
    def docker(self):
        docker = FakeDocker("unix:" + self.path("docker.sock"), self.dir)
        self.addCleanup(docker.server.stop)
        return docker

    def ensure(self):
        return images.ensure(images.Docker("unix:" + self.path("docker.sock")), "/usr/bin/python3",
                             images.Note(self.path("state/on-disk")))

    def test_load_once_and_again_after_a_change(self):
        docker = self.docker()
        self.assertEqual(sorted(self.ensure()), sorted(images.IMAGES))
        self.assertEqual(self.ensure(), [])
        old = docker.images["dstack-sim/aesmd:latest"]["Id"]
        docker.images["dstack-sim/aesmd:latest"]["Config"]["Labels"][images.LABEL] = "older"
        self.assertEqual(self.ensure(), ["dstack-sim/aesmd:latest"])
        self.assertIn(("DELETE", f"/images/{old}"), docker.calls)
        self.chroot(docker.layer, docker.images["dstack-sim/gramine-sealing-key-provider:latest"]["Config"]["Cmd"])

    def test_not_known_to_be_on_the_disk(self):
        """The power went after Docker had the images and before they were flushed: what it has may be damaged."""
        docker = self.docker()
        with unittest.mock.patch.object(images.Docker, "flush", side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, self.ensure)
        damaged = {image["Id"] for image in docker.images.values()}
        self.assertEqual(len(damaged), 2)
        for kept in (True, False):  # Docker still has the images; it has lost them, but not their layer
            with self.subTest(kept=kept):
                if not kept:
                    images.Note(self.path("state/on-disk")).write([images.LOADING])
                    docker.images = {}
                docker.calls.clear()
                self.assertEqual(sorted(self.ensure()), sorted(images.IMAGES))
                first, *_, last = [number for number, call in enumerate(docker.calls)
                                   if call == ("POST", "/images/load")]
                removed = set(docker.calls[first:last])
                for image_id in damaged:
                    self.assertIn(("DELETE", f"/containers/c{image_id[-8:]}"), removed)
                    self.assertIn(("DELETE", f"/images/{image_id}"), removed)
        docker.calls.clear()
        self.assertEqual(self.ensure(), [])
        self.assertNotIn("DELETE", [method for method, _ in docker.calls])

    def chroot(self, layer, command):
        """The image is whole: its own Python runs its own program."""
        if os.geteuid() != 0:
            self.skipTest("chroot needs root")
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            tar.extractall(self.path("root"))
        said = run("chroot", self.path("root"), *command, "--aesm-wait", "0", code=1)
        self.assertIn("no answer on /var/run/aesmd/aesm.socket", said)
        text = "import ssl, json, urllib.request, encodings.idna; print(ssl.create_default_context().verify_mode)"
        run("chroot", self.path("root"), "/usr/bin/python3", "-S", "-c", text)

    def test_no_docker(self):
        with self.assertRaisesRegex(images.ImageError, "does not answer"):
            images.Docker("unix:" + self.path("absent.sock")).inspect("x")


class Files(unittest.TestCase):
    def test_units(self):
        self.assertGreaterEqual(len(UNITS), 6)
        for unit in UNITS:
            text = unit.read_text()
            self.assertRegex(text, r"(?m)^Description=Simulated ", unit.name)
            self.assertNotIn("[Install]", text, unit.name)
            for program in re.findall(r"/usr/lib/dstack-host-sim/(\S+\.py)", text):
                self.assertTrue((SIM / program).exists(), program)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd-analyze")
    def test_units_parse(self):
        for unit in UNITS:
            said = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)],
                                  capture_output=True, text=True, check=False).stderr
            ours = [line for line in said.splitlines()
                    if unit.name in line and "is not executable" not in line and "not found" not in line.lower()]
            self.assertEqual(ours, [], unit.name)

    def test_defaults(self):
        text = (ROOT / "conf/sim/defaults.conf").read_text()
        self.assertIn("simulated", text.splitlines()[1] + text.splitlines()[2])
        found = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
        self.assertEqual((found["KMS_CONTRACT"], found["APP_AUTH_IMPLEMENTATION"]),
                         (ethrpc.KMS_CONTRACT, ethrpc.APP_IMPLEMENTATION))
        self.assertEqual({found["AESMD_IMAGE"], found["KEY_PROVIDER_IMAGE"]}, set(images.IMAGES))
        self.assertRegex(found["KMS_IMAGE"], r"^registry\.simulated\.invalid/\S+@sha256:[0-9a-f]{64}$")

    def test_users(self):
        text = (ROOT / "conf/sim/sysusers.conf").read_text()
        for line in ("u pccs ", "u qgsd ", "m qgsd sgx\n", "m qgsd sgx_prv\n"):
            self.assertIn("\n" + line, text)
