# SPDX-License-Identifier: Apache-2.0
"""What `check` knows of images that `image` has looked at, simulated ones, and damaged ones that a machine needs."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(ROOT / "src/sim"), str(ROOT / "tests/rig")]

import guestimage
import imaging

DSTACK_HOST = os.environ.get("DSTACK_HOST") or str(ROOT / "build" / "dstack-host")
IMAGES = "/var/lib/dstack/images"
SIM = "/usr/share/dstack-host/defaults.d/50-sim.conf"
VM = "/var/lib/dstack/vm/11111111-2222-3333-4444-555555555555/vm-manifest.json"


def large_image():
    """With a kernel too large for every look of `check`."""
    out = imaging.files(1 << 18)
    out["bzImage"] = imaging.noise(2 << 20, 9)
    return imaging.sealed(out)


class ImageTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.put("/etc/dstack/host.conf", "IMAGE_VERSION=9.9.9\n")
        os.makedirs(self.root + IMAGES)

    def put(self, path, text):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w", encoding="utf-8") as handle:
            handle.write(text)

    def host(self, *words, code=0):
        done = subprocess.run([DSTACK_HOST, "--root", self.root, *words], capture_output=True, text=True, timeout=60,
                              check=False)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def row(self):
        """-> (status, text) of image.files."""
        done = subprocess.run([DSTACK_HOST, "--root", self.root, "check", "image.files"], capture_output=True, text=True,
                              timeout=60, check=False)
        line = next(line for line in done.stdout.splitlines() if line.startswith("image.files"))
        return line.split()[1], done.stdout

    def know(self, image):
        """-> its archive, which a manifest knows."""
        data, archive = imaging.archive(image), f"{self.root}/{imaging.NAME}.tar.gz"
        pathlib.Path(archive).write_bytes(data)
        self.put("/etc/dstack/artifacts.d/a.json", imaging.manifest(image, [f"file://{archive}"], data))
        return archive

    def file(self, name):
        return f"{self.root}{IMAGES}/{imaging.NAME}/{name}"

    def spoil(self, name):
        with open(self.file(name), "r+b") as handle:
            handle.seek(5000)
            handle.write(b"changed")

    def test_what_was_pulled_or_verified_is_no_question(self):
        image = large_image()
        archive = self.know(image)
        self.host("image", "pull", archive)
        self.assertEqual("ok", self.row()[0], self.row()[1])
        shutil.copytree(os.path.dirname(self.file("")), self.root + "/copy")
        shutil.rmtree(os.path.dirname(self.file("")))
        shutil.copytree(self.root + "/copy", os.path.dirname(self.file("")))
        self.assertEqual("warn", self.row()[0].lower(), self.row()[1])
        self.host("image", "verify")
        self.assertEqual("ok", self.row()[0], self.row()[1])
        self.spoil("bzImage")
        self.host("image", "verify", code=1)
        self.assertIn("bzImage: another content", self.row()[1])

    def test_a_simulated_image_is_whole_and_says_so(self):
        guestimage.install(self.root + IMAGES)
        self.put("/etc/dstack/host.conf", "")
        self.put("/usr/share/dstack-host/artifacts.json", (ROOT / "conf/artifacts.json").read_text())
        self.assertEqual("ok", self.row()[0])
        self.assertIn("it is another image", self.host("image", "verify", code=1))
        self.put(SIM, "")
        self.assertRegex(self.host("image", "verify"), r"whole, \d+ KiB, .*simulated: made by dstack-host-sim")
        self.assertEqual("simulated", json.loads(self.host("image", "list", "--json"))["images"][0]["state"])
        self.assertIn("simulated", self.host("image", "pull", code=1))
        with open(f"{self.root}{IMAGES}/dstack-0.5.5/rootfs.img.verity", "r+b") as handle:
            handle.write(b"changed")
        self.assertIn("restart dstack-sim-image", self.host("image", "verify", code=1))

    def replace(self, image, archive, code=0):
        said = self.host("image", "pull", "--replace", archive, code=code)
        if code == 0:
            for name, data in image.items():
                self.assertEqual(data, pathlib.Path(self.file(name)).read_bytes(), name)
        return said

    def test_the_same_bytes_may_come_under_a_machine(self):
        image = imaging.files(1 << 18)
        archive = self.know(image)
        self.host("image", "pull", archive)
        self.put(VM, '{"name": "app", "image": "%s"}' % imaging.NAME)
        self.spoil("rootfs.img.verity")
        self.assertIn("needed by the virtual machine app", self.replace(image, archive))
        os.unlink(self.file("initramfs.cpio.gz"))
        pathlib.Path(self.file("digest.txt")).write_text("none\n", encoding="utf-8")
        self.replace(image, archive)

    def test_other_bytes_that_are_measured_may_not(self):
        image = imaging.files(1 << 18)
        archive = self.know(image)
        self.host("image", "pull", archive)
        self.put(VM, '{"name": "app", "image": "%s"}' % imaging.NAME)
        for name in ("bzImage", "ovmf.fd", "initramfs.cpio.gz"):
            self.spoil(name)
            said = self.replace(image, archive, code=1)
            self.assertIn(f"({name}: ", said)
            command = f"mv {IMAGES}/{imaging.NAME} {IMAGES}-kept-{imaging.NAME} "
            self.assertIn(command, said)
            self.assertNotEqual(image[name], pathlib.Path(self.file(name)).read_bytes())
            os.rename(os.path.dirname(self.file("")), f"{self.root}{IMAGES}-kept-{imaging.NAME}")
            self.host("image", "pull", archive)
            shutil.rmtree(f"{self.root}{IMAGES}-kept-{imaging.NAME}")

    def test_another_image_stays_with_its_machine(self):
        shutil.rmtree(self.root + IMAGES)
        archive = self.know(imaging.files(1 << 18))
        os.makedirs(os.path.dirname(self.file("")))
        for name, data in imaging.files(1 << 18, seed=7).items():
            pathlib.Path(self.file(name)).write_bytes(data)
        self.put(VM, '{"name": "app", "image": "%s"}' % imaging.NAME)
        said = self.host("image", "pull", "--replace", archive, code=1)
        self.assertIn("it is another image", said)
        self.assertNotIn("sudo mv", said)


if __name__ == "__main__":
    unittest.main()
