# SPDX-License-Identifier: Apache-2.0
"""`image pull` and `image verify` against the commands that they replace, on a loopback server."""

import os
import pathlib
import shutil
import socket
import tempfile
import threading

import race
import imaging
import measuring

MIB = int(os.environ.get("BENCH_IMAGE_MIB") or "1024")
ROUNDS = 7
MOST_PULL, MOST_MIB, MOST_VERITY = 0.25, 24, 0.6
IMAGES = "/var/lib/dstack/images"
FILE = imaging.NAME + ".tar.gz"
ROOTFS = "rootfs.img.verity"


class Server:
    """Gives one file to whoever connects, as fast as the kernel can."""

    def __init__(self, path):
        self.path, self.socket = path, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/{FILE}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            conn, _ = self.socket.accept()
            with conn, open(self.path, "rb") as handle:
                conn.recv(65536)
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % os.path.getsize(self.path))
                conn.sendfile(handle)


def emptied(path):
    def before():
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        os.sync()
    return before


def same(folder, hashes):
    """Not timed: every file is what it should be."""
    def check(_):
        for name, wanted in hashes.items():
            if imaging.sha256((pathlib.Path(folder) / imaging.NAME / name).read_bytes()) != wanted:
                raise race.Wrong(f"{folder}: {name} is another file")
    return check


def by_hand(url):
    """As a guide tells it, with OpenSSL's faster digest; what it writes is not durable."""
    return ["sh", "-c", f"curl -s -o {FILE} {url} && openssl dgst -sha256 {FILE} && tar -xzf {FILE} && "
            f"openssl dgst -sha256 {imaging.NAME}/*"]


def contest(card, program, work, title, compressible):
    image = imaging.files(MIB << 20, repeated=compressible)
    data = imaging.archive(image)
    root_hash = imaging.root_hash(image)
    hashes = {name: imaging.sha256(content) for name, content in image.items()}
    pathlib.Path(work, FILE).write_bytes(data)
    root, hand = f"{work}/root", f"{work}/hand"
    os.makedirs(root + "/etc/dstack/artifacts.d", exist_ok=True)
    server = Server(f"{work}/{FILE}")
    pathlib.Path(root, "etc/dstack/artifacts.d/a.json").write_text(imaging.manifest(image, [server.url], data))
    del image, data
    ours = [program, "--root", root, "image"]
    times = race.race(
        race.Contestant("pull", lambda: measuring.measure([*ours, "pull", "9.9.9"]), emptied(root + "/var"),
                        same(root + IMAGES, hashes)),
        race.Contestant("by hand", lambda: measuring.measure(by_hand(server.url), cwd=hand), emptied(hand), same(hand, hashes)),
        rounds=ROUNDS)
    card.section(f"An image of {MIB} MiB, {title}, from a loopback server", "by hand: curl, openssl dgst, tar, openssl dgst")
    for name, results in times.items():
        card.figure(name, [race.seconds(result) for result in results])
    card.ratio("pull, verified and durable", times, "pull", "by hand", MOST_PULL)
    card.bar("largest process of a pull", [result.rss_kib for result in times["pull"]], MOST_MIB, " MiB", 1 / 1024)
    if not compressible and shutil.which("veritysetup"):
        verity(card, ours, f"{root}{IMAGES}/{imaging.NAME}/{ROOTFS}", root_hash)


def verity(card, ours, path, root_hash):
    times = race.race(
        race.Contestant("verify", lambda: measuring.measure([*ours, "verify", imaging.NAME])),
        race.Contestant("veritysetup", lambda: measuring.measure(
            ["veritysetup", "verify", f"--hash-offset={MIB << 20}", path, path, root_hash])), rounds=ROUNDS)
    for name, results in times.items():
        card.figure(name, [race.seconds(result) for result in results])
    card.ratio("verify of the whole image", times, "verify", "veritysetup", MOST_VERITY)


def run(card, program):
    missing = [name for name in ("curl", "openssl", "tar") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        card.skip("image pull", f"needs root, {' '.join(missing)}")
        return
    with tempfile.TemporaryDirectory(prefix="dstack-bench-", dir="/var/tmp") as work:
        contest(card, program, work, "mostly incompressible", False)
        contest(card, program, work, "compressible", True)
