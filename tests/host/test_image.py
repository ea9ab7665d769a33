#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""dstack-host-image.service in a booted system: brings the configured image, goes on after a power cut, leaves it alone."""

import json
import pathlib
import sys
import time

from life import TOP, Story, built, main

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "rig"))
import imaging

IMAGES = "/var/lib/dstack/images"
UNIT = "dstack-host-image.service"
URL = f"http://127.0.0.1:8000/{imaging.NAME}.tar.gz"
# Gives parts, a quarter of a MiB every 30 ms; a line of what was asked for in /srv/log.
SERVER = """
import http.server, re, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = open("/srv" + self.path, "rb").read()
        asked = re.fullmatch(r"bytes=(\\d+)-", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        with open("/srv/log", "a") as log:
            log.write(f"{first}\\n")
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(data) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        for at in range(first, len(data), 1 << 18):
            self.wfile.write(data[at:at + (1 << 18)])
            time.sleep(0.03)
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""


def serve(box):
    box.run(["systemd-run", "--quiet", "--unit=server", "python3", "/srv/server.py"])
    box.run("until curl -sf -o /dev/null -r 0-0 http://127.0.0.1:8000/server.py; do :; done", timeout=30)
    box.run("rm /srv/log")


def row(box):
    done = box.run(["dstack-host", "status", "--json"], check=False)
    return next(part for part in json.loads(done.stdout)["parts"] if part["id"] == "image")


def state(box):
    """The byte that a next run goes on from."""
    return box.run(f"od -An -t u8 -j 216 -N 8 {IMAGES}/.pull/*/state 2>/dev/null || true").stdout.strip()


def tell():
    release = "bookworm"
    story = Story("image", release)
    image = imaging.files(24 << 20)

    @story.step("without a server it fails, says why, and status names the next command")
    def _(box):
        box.add_repo(built(release))
        box.apt_install("dstack-host-tools", "curl", timeout=600)
        box.write(f"/etc/systemd/system/{UNIT}", (TOP / "units" / UNIT).read_text())
        box.run(["mkdir", "-p", "/etc/dstack/artifacts.d"])
        box.write("/etc/dstack/artifacts.d/test.json", imaging.manifest(image, [URL], imaging.archive(image)))
        box.run(["dstack-host", "config", "set", "IMAGE_VERSION=9.9.9"])
        box.run("systemctl daemon-reload")
        assert box.run(["systemctl", "start", UNIT], check=False, timeout=60).code
        journal = box.run(["journalctl", "-u", UNIT, "-o", "cat"]).stdout
        assert "Failed to connect" in journal and "same command goes on" in journal, journal
        found = row(box)
        assert found["state"] == "waiting" and found["fix"] == "sudo dstack-host image pull", found

    @story.step("while it fetches, status says how far it is")
    def _(box):
        box.write("/srv/server.py", SERVER)
        with open(f"{box.root}/srv/{imaging.NAME}.tar.gz", "wb") as handle:
            handle.write(imaging.archive(image))
        serve(box)
        box.run(["systemctl", "start", "--no-block", UNIT])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and (not state(box) or "MiB" not in row(box)["detail"]):
            pass  # asking takes its time
        assert "of 24 MiB" in row(box)["detail"], row(box)

    @story.step("after a power cut it goes on where it was")
    def _(box):
        box.kill_power()
        box.start()
        at = state(box)
        assert int(at) > 0, at
        serve(box)
        box.run(["systemctl", "start", UNIT], timeout=60)
        asked = box.read("/srv/log").split()
        assert asked == [at], f"{at} bytes were stored, and it asked for {asked}"
        for name, data in image.items():
            assert box.read(f"{IMAGES}/{imaging.NAME}/{name}", text=False) == data, name
        assert row(box)["state"] == "ok", row(box)

    @story.step("an image that is there is left alone, one that no manifest knows is the operator's")
    def _(box):
        box.run(["systemctl", "stop", "server"])
        box.run(["systemctl", "start", UNIT], timeout=60)
        box.run(["dstack-host", "config", "set", "IMAGE_VERSION=9.9.8"])
        box.run(["systemctl", "start", UNIT], timeout=60)
        assert "no manifest knows" in box.run(["journalctl", "-u", UNIT, "-o", "cat"]).stdout
        assert row(box)["state"] == "waiting", row(box)

    story.run("image")


if __name__ == "__main__":
    main(tell)
