#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`image pull` among archives and servers that are not what they should be, killed at any moment, and without room."""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent))

import hostile
import imaging
from common import build, corner, tap

IMAGES = "/var/lib/dstack/images"
FILE = imaging.NAME + ".tar.gz"
STATE_AT = 216      # in `state`: where the number of bytes is that it has (src/host/image/image-state.c)
MS_REMOUNT = 32
IN_DELETE = 0x200
KILLS = 200 * tap.SOAK if tap.SOAK else 12
FAULTS = 20 * tap.SOAK if tap.SOAK else 2  # of each kind
HTTP_SAMPLE = 3
SLOWEST = 60        # seconds that any of these may take


class Place:
    """A root with a manifest of one image; pulls into it."""

    def __init__(self, program, path, image):
        self.program, self.path, self.image = program, path, image
        os.makedirs(path + "/etc/dstack/artifacts.d")
        os.makedirs(path + IMAGES)
        with open(path + "/canary", "w", encoding="utf-8") as handle:
            handle.write("untouched")

    def know(self, urls, data=None, **more):
        with open(self.path + "/etc/dstack/artifacts.d/a.json", "w", encoding="utf-8") as handle:
            handle.write(imaging.manifest(self.image, urls, data, **more))

    def argv(self, *words):
        return [self.program, "--root", self.path, "image", *words]

    def run(self, *words):
        return subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=SLOWEST, check=False,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C"})

    def seen(self):
        """What the VMM would see: {image: {file: bytes}}."""
        found, top = {}, pathlib.Path(self.path + IMAGES)
        for folder in top.iterdir():
            if (folder / "metadata.json").exists():
                found[folder.name] = {path.name: path.read_bytes() for path in folder.iterdir()}
        return found

    def state(self):
        """The byte that a next run goes on from, None: from the first."""
        try:
            with open(f"{self.path}{IMAGES}/.pull/{imaging.NAME}/state", "rb") as handle:
                return struct.unpack_from("<Q", handle.read(), STATE_AT)[0]
        except FileNotFoundError:
            return None

    def others(self):
        """What lies around and should not: anything but our own directories."""
        bad = [] if pathlib.Path(self.path + "/canary").read_text() == "untouched" else ["the canary was written to"]
        allowed = {"", "/etc", "/etc/dstack", "/etc/dstack/artifacts.d", "/etc/dstack/artifacts.d/a.json", "/canary",
                   "/var", "/var/lib", "/var/lib/dstack", "/run", "/run/dstack", "/run/dstack/.lock"}
        for folder, names, files in os.walk(self.path):
            inside = folder[len(self.path):]
            if inside.startswith(IMAGES):
                names[:] = []
                continue
            bad += [f"{inside}/{name} was made" for name in files if f"{inside}/{name}" not in allowed]
        return bad


@contextlib.contextmanager
def place(program, work, image):
    path = f"{work}/place"
    try:
        yield Place(program, path, image)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def serving(data, name="range-good", **more):
    good = hostile.response(200, data)
    with hostile.Peer(name, lambda _: good, **more) as peer:
        yield peer, f"http://127.0.0.1:{peer.port}/{FILE}"


def is_there(where):
    """Complaints, unless the image is there, whole, with sane modes and owners."""
    seen = where.seen()
    if seen != {imaging.NAME: where.image}:
        return [f"there is {[(name, sorted(files)) for name, files in seen.items()]}"]
    bad, folder = [], where.path + IMAGES + "/" + imaging.NAME
    for path, mode in [(folder, 0o755)] + [(f"{folder}/{name}", 0o644) for name in where.image]:
        st = os.stat(path)
        if st.st_mode & 0o7777 != mode or st.st_uid or st.st_gid:
            bad.append(f"{path} is {st.st_mode:o} {st.st_uid}:{st.st_gid}")
    return bad + ([".pull is left"] if os.path.exists(where.path + IMAGES + "/.pull") else [])


def refused(where, done, fragment, kept=False):
    """Complaints, unless nothing is there and it was said why, once."""
    bad = where.others()
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    if done.returncode != 1 or len(errors) != 1:
        bad.append(f"exit status {done.returncode}, {done.stderr[-400:]!r}")
    elif fragment not in errors[0]:
        bad.append(f"does not say \"{fragment}\": {errors[0]}")
    if where.seen():
        bad.append(f"the VMM sees {list(where.seen())}")
    if not kept and os.path.exists(where.path + IMAGES + "/.pull"):
        bad.append("something is kept")
    if not all(char.isprintable() or char == "\n" for char in done.stderr):
        bad.append(f"control characters: {done.stderr!r}")
    return bad


def head_with(name, **fields):
    """A header of a file whose number fields are the given bytes; its sum is right."""
    block = bytearray(imaging.entry(name)[:512])
    for at, value in fields.values():
        block[at:at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def archives(image):
    """[(what, archive, what is said)], all but the first few with the manifest's digest as the only pin."""
    top, entry, arch = imaging.NAME, imaging.entry, imaging.archive
    good = arch(image)
    out = [
        ("cut in the middle", good[:len(good) // 2], "ends too early"),
        ("cut by a byte", good[:-1], "ends too early"),
        ("longer by some bytes", good + b"trailer" * 50, "damaged"),
        ("no archive", b"<html>" * 5000, "no gzip archive"),
        ("gzip, but no tar", imaging.packed(imaging.noise(40960)), "no tar archive"),
        ("tar, not compressed", imaging.tar(image), "no gzip archive"),
        ("tar that was cut", imaging.packed(imaging.tar(image)[:700000]), "cut off"),
        ("something behind its end", imaging.packed(imaging.tar(image) + b"x" * 512), "follows its end"),
        ("two archives in sequence", imaging.packed(imaging.tar(image) * 2), "follows its end"),
        ("a way up", arch(image, before=entry(f"{top}/../../canary", b"gone")), "leads out"),
        ("an absolute path", arch(image, before=entry("/canary", b"gone")), "leads out"),
        ("a link out", arch(image, before=entry(f"{top}/x", kind=tarfile.SYMTYPE, link="../../..")), "a link"),
        ("a hard link out", arch(image, before=entry(f"{top}/x", kind=tarfile.LNKTYPE, link="/canary")), "a link"),
        ("a link, then a file below it", arch(image, before=entry(f"{top}/x", kind=tarfile.SYMTYPE, link="/etc") +
                                              entry(f"{top}/x/passwd", b"root")), "a link"),
        ("a character device", arch(image, before=entry(f"{top}/x", kind=tarfile.CHRTYPE)), "a device"),
        ("a block device", arch(image, before=entry(f"{top}/x", kind=tarfile.BLKTYPE)), "a device"),
        ("a pipe", arch(image, before=entry(f"{top}/x", kind=tarfile.FIFOTYPE)), "a pipe"),
        ("a setuid bit", arch(image, before=entry(f"{top}/x", b"x", mode=0o4755)), "others' rights"),
        ("a file twice", arch(image, after=entry(f"{top}/bzImage", b"other")), "there twice"),
        ("a file twice but for case", arch(image, after=entry(f"{top}/BZIMAGE", b"other")), "there twice"),
        ("a name of 300 characters", arch(image, before=entry(f"{top}/{'n' * 300}", b"x")), "longer than any"),
        ("the same by pax", arch(image, before=entry(f"{top}/{'n' * 300}", b"x", form=tarfile.PAX_FORMAT)), "changes what"),
        ("a name that steers a terminal", arch(image, before=entry(f"{top}/\x1b[2J\n", b"x")), "no file of"),
        ("a hidden file", arch(image, before=entry(f"{top}/.x", b"x")), "no file of"),
        ("a directory", arch(image, before=entry(f"{top}/x", kind=tarfile.DIRTYPE)), "a directory"),
        ("another directory", arch(image, top="dstack-9.9.8"), "no file of"),
        ("a file with holes", arch(image, before=entry(f"{top}/x", kind=tarfile.GNUTYPE_SPARSE)), "with holes"),
        ("a size that is no number", imaging.packed(head_with(f"{top}/x", size=(124, b"99999999999\0"))), "no number"),
        ("a size in binary, of 2^88", imaging.packed(head_with(f"{top}/x", size=(124, b"\x80" + b"\xff" * 11))), "no number"),
        ("a size below zero", imaging.packed(head_with(f"{top}/x", size=(124, b"\xff" * 12))), "no number"),
        ("a size of 8 GiB", imaging.packed(head_with(f"{top}/x", size=(124, b"77777777777\0")) +
                                           bytes(1 << 20)), "no room"),
        ("a thousand entries", arch(image, before=entry(f"{top}/", kind=tarfile.DIRTYPE) * 1000), "entries"),
        ("an end without end", imaging.packed(imaging.tar(image) + bytes(64 << 20)), "end has no end"),
        ("a file that nobody knows", arch({**image, "measurement.cbor": b"x"}), "of which nothing tells"),
        ("a checksum of gzip that is wrong", flipped(good, len(good) - 6), "damaged"),
    ]
    for name in image:
        data = image[name]
        out.append((f"one bit of {name}", arch({**image, name: flipped(data, len(data) // 2)}), ""))
    return out + lying(image)


def lying(image):
    """Whole by its own lists, but its metadata.json lies: (what, archive, said); the manifest's digest is theirs."""
    changes = [("names no kernel", {"kernel": None}, "names no kernel"),
               ("names a file that is not there", {"bios": "other.fd"}, "does not list other.fd"),
               ("names a file elsewhere", {"initrd": "../../etc/shadow"}, "names no initrd"),
               ("names a number", {"kernel": 7}, "names no kernel"),
               ("has no command line", {"cmdline": None}, "no cmdline"),
               ("has no root hash", {"cmdline": "console=ttyS0"}, "no dstack.rootfs_hash"),
               ("has another root hash", {"cmdline": f"dstack.rootfs_hash={'0' * 64} dstack.rootfs_size={1 << 20}"},
                "root hash is not"),
               ("has another size", {"cmdline": f"dstack.rootfs_hash={'0' * 64} dstack.rootfs_size=4096"}, "no dm-verity"),
               ("has a size that is none", {"cmdline": f"dstack.rootfs_hash={'0' * 64} dstack.rootfs_size=-1"}, "no dstack"),
               ("lets guests write", {"shared_ro": False}, "shared_ro"),
               ("calls the kernel a root file system", {"rootfs": "bzImage"}, "no rootfs")]
    out = []
    for what, change, said in changes:
        other = imaging.files(**change)
        out.append((f"metadata.json {what}", imaging.archive(other), said, other))
    for what, text in (("is a list", b"[]"), ("is nested", b"[" * 100000), ("has 20 MB", b" " * (20 << 20) + b"{}")):
        other = imaging.sealed({**image, "metadata.json": text})
        out.append((f"metadata.json {what}", imaging.archive(other), "metadata.json", other))
    unlisted = dict(image)
    unlisted["sha256sum.txt"] = b"".join(line + b"\n" for line in image["sha256sum.txt"].splitlines()[:3])
    unlisted["digest.txt"] = imaging.sha256(unlisted["sha256sum.txt"]).encode()
    out.append(("sha256sum.txt that leaves metadata.json out", imaging.archive(unlisted), "does not list metadata", unlisted))
    return out


def test_good(report, program, work, image):
    """From a server and from a file; again changes nothing; 1024-byte blocks too, as releases have them."""
    bad = []
    small = imaging.files(1 << 20, data_block=1024)
    for each in (image, small):
        with place(program, work, each) as where, serving(imaging.archive(each)) as (peer, url):
            where.know([url], imaging.archive(each))
            done = where.run("pull", "9.9.9")
            bad += is_there(where) + ([] if done.returncode == 0 else [done.stderr])
            again = where.run("pull")  # IMAGE_VERSION is another one
            bad += [] if again.returncode == 3 else [f"an unknown image: {again.returncode} {again.stderr}"]
            again = where.run("pull", imaging.NAME)
            bad += [] if again.returncode == 0 and len(peer.seen) == 1 else [f"again: {again.stderr} {len(peer.seen)}"]
    with place(program, work, image) as where:
        where.know([])
        with open(f"{work}/{FILE}", "wb") as handle:
            handle.write(imaging.archive(image))
        where.know([f"file://{work}/{FILE}"])
        done = where.run("pull", "9.9.9")
        bad += is_there(where) + ([] if done.returncode == 0 else [done.stderr])
    return report.ok(not bad, "a good image from a server and from a file", bad)


def test_archives(report, program, work, image):
    bad, cases = [], archives(image)
    for what, data, said, *other in cases:
        with place(program, work, other[0] if other else image) as where, serving(data) as (_, url):
            where.know([url])
            bad += [f"{what}: {line}" for line in refused(where, where.run("pull", "9.9.9"), said, said == "no room")]
    report.counts["archives"] += len(cases)
    report.ok(not bad, f"{len(cases)} archives that are none are refused", bad)


def test_bomb(report, program, work, image):
    """10 GB from 10 MB: refused by what its header says, or cut short, and not a MiB is written."""
    data = imaging.bomb(1 << 30)
    bad = []
    with place(program, work, image) as where, serving(data) as (_, url):
        where.know([url], unpacked=64 << 20)
        bad += refused(where, where.run("pull", "9.9.9"), "larger than")
    report.ok(not bad, f"a bomb of {len(data) >> 10} KiB", bad)


def test_pinned(report, program, work, image):
    """Size and SHA-256 in the manifest: what differs is refused, and the next URL is tried."""
    good, bad = imaging.archive(image), []
    other = imaging.packed(imaging.tar(image), 0)
    for what, data, said in [("other bytes of the same files", other, "bytes, the right one"),
                             ("one bit of the archive", flipped(good, 4), "SHA-256"),
                             ("cut", good[:-5], "bytes, the right one"), ("longer", good + b"x", "bytes, the right one")]:
        with place(program, work, image) as where, serving(data) as (_, url), serving(good) as (_, mirror):
            where.know([url], good)
            bad += [f"{what}: {line}" for line in refused(where, where.run("pull", "9.9.9"), said)]
            where.know([url, mirror], good)
            done = where.run("pull", "9.9.9")
            bad += [f"{what}, then a mirror: {line}" for line in is_there(where) or
                    ([] if done.returncode == 0 else [done.stderr])]
    report.ok(not bad, "what the manifest pins is held against what comes, and the next mirror is asked", bad)


def test_servers(report, program, work, image):
    """Faults of HTTP: an end in time, and either the image or nothing."""
    good, bad = imaging.archive(image), []
    known = {"status-404": "404", "status-500": "500", "refused": "connect", "redirect-file": "", "redirect-ftp": ""}
    names = [name for name in hostile.names("http") if name != "good"]
    if not tap.SOAK:
        names = random.Random(tap.SEED).sample(names, HTTP_SAMPLE)
    for name in dict.fromkeys([*names, *[name for name in known if name in hostile.BEHAVIOURS]]):
        with place(program, work, image) as where, serving(good, name) as (_, url):
            where.know([url], good)
            done = where.run("pull", "9.9.9", "--timeout", "1")
            if done.returncode == 0:
                bad += [f"{name}: {line}" for line in is_there(where)]
            else:
                bad += [f"{name}: {line}" for line in refused(where, done, known.get(name, ""), kept=True)]
    for what, answer, said in [
            ("a web page for a missing file", hostile.response(200, b"<html>no</html>", "Content-Type: text/html"), "web page"),
            ("a redirect to a file", hostile.response(302, b"", "Location: file:///etc/passwd"), ""),
            ("a redirect without end", hostile.response(302, b"", "Location: /again"), "")]:
        with place(program, work, image) as where, hostile.Peer("good", lambda _, say=answer: say) as peer:
            where.know([f"http://127.0.0.1:{peer.port}/{FILE}"])
            done = where.run("pull", "9.9.9")
            bad += [f"{what}: {line}" for line in refused(where, done, said)]
    report.counts["servers"] += len(names) + 3
    report.ok(not bad, f"{len(names) + 3} servers that misbehave", bad)


def interrupted(where, url, data):
    """Pulls until something is stored, and is killed then."""
    where.know([url], data)
    with subprocess.Popen(where.argv("pull", "9.9.9"), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + SLOWEST
        while not where.state() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)  # a file that another process renames: nothing to wait on
        process.kill()


def test_ranges(report, program, work, image):
    """Servers that are asked for the rest of a file: it goes on, or begins again, or says why it cannot."""
    data, bad = imaging.archive(image), []
    with serving(data, "range-paced") as (_, url), place(program, work, image) as where:
        interrupted(where, url, data)
        at = where.state()
        shutil.copytree(where.path, f"{work}/half")
        done = where.run("gc")
        if imaging.NAME not in done.stdout or os.path.exists(where.path + IMAGES + "/.pull"):
            bad.append(f"gc leaves half a pull: {done.stdout} {done.stderr}")
    bad += [] if at else ["nothing was stored"]
    fails = {"range-longer": "bytes, the right one"}
    for name in hostile.names("range"):
        shutil.copytree(f"{work}/half", f"{work}/place")
        where = Place.__new__(Place)
        where.program, where.path, where.image = program, f"{work}/place", image
        with serving(data, name) as (peer, url):
            where.know([url], data)
            done = where.run("pull", "9.9.9", "--timeout", "1")
            asked = peer.seen[0].headers.get("range") if peer.seen else None
        if asked != f"bytes={at}-":
            bad.append(f"{name}: asked for {asked}, {at} bytes were stored")
        if name in fails:
            bad += [f"{name}: {line}" for line in refused(where, done, fails[name], kept=True)]
        else:
            bad += [f"{name}: {line} {done.stderr}" for line in is_there(where)]
        shutil.rmtree(where.path)
    shutil.rmtree(f"{work}/half")
    for name in ("range-close-at-99", "range-stall-at-99"):
        with place(program, work, image) as where, serving(data, name) as (peer, url):
            where.know([url], data)
            done = where.run("pull", "9.9.9", "--timeout", "1")
            bad += [f"{name}: {line} {done.stderr}" for line in is_there(where)]
            wanted = f"bytes={len(data) - len(data) // 100 - (1 if len(data) % 100 else 0)}-"
            if len(peer.seen) != 2 or peer.seen[1].headers.get("range") != wanted:
                bad.append(f"{name}: {[each.headers.get('range') for each in peer.seen]}, not {wanted}")
    report.counts["ranges"] += len(hostile.names("range")) + 2
    report.ok(not bad, f"{len(hostile.names('range')) + 2} servers that are asked for a part", bad)


def test_kill(report, program, work, image):
    """SIGKILL at any moment: never half an image in sight, no stored byte is fetched again, the same bytes in the end."""
    data, bad, resumed = imaging.archive(image), [], 0
    rng = random.Random(tap.SEED)
    where, kills = None, 0
    while kills < KILLS:
        with place(program, work, image) as where, serving(data, "range-paced") as (peer, url):
            where.know([url], data)
            longest, at = 0.6, None
            while kills < KILLS:
                before = len(peer.seen)
                with subprocess.Popen(where.argv("pull", "9.9.9"), stderr=subprocess.PIPE, text=True) as process:
                    try:
                        process.communicate(timeout=rng.uniform(0, longest))
                    except subprocess.TimeoutExpired:
                        process.send_signal(signal.SIGKILL)
                        process.communicate()
                    kills += 1
                asked = [each.headers.get("range") for each in peer.seen[before:]]
                if asked and asked[0] != (f"bytes={at}-" if at else None):
                    bad.append(f"{at} bytes were stored, and it asked for {asked[0]}")
                resumed += bool(asked and asked[0])
                if where.seen():
                    break
                if where.state() is None and at:
                    bad.append(f"{at} bytes were stored, and are not any more")
                at = where.state()
            done = where.run("pull", "9.9.9")
            bad += is_there(where) + ([] if done.returncode == 0 else [done.stderr])
    report.counts["kills"] += kills
    report.counts["resumes"] += resumed
    report.ok(not bad and resumed, f"killed at {kills} moments, gone on {resumed} times", bad)


def test_room(report, program, work, image):
    """Said before a byte is written; once there is room, the same command goes on."""
    data, bad = imaging.archive(image), []
    with place(program, work, image) as where, serving(data) as (_, url):
        corner.mount("small", where.path + IMAGES, "tmpfs", data="size=4m")
        try:
            where.know([url], data)
            bad += refused(where, where.run("pull", "9.9.9"), "no room", kept=True)
            corner.mount("small", where.path + IMAGES, "tmpfs", MS_REMOUNT, data="size=256m")
            done = where.run("pull", "9.9.9")
            bad += is_there(where) + ([] if done.returncode == 0 else [done.stderr])
        finally:
            corner.unmount(where.path + IMAGES)
    report.ok(not bad, "no room, then room", bad)


def test_faults(report, program, work, image):
    """The disk fails at any call: said, nothing half in sight, and the next run brings the image."""
    if not shutil.which("strace"):
        report.skip("faults of the disk", "no strace")
        return
    data, bad, rng, struck = imaging.archive(image), [], random.Random(tap.SEED), 0
    calls = [("pwrite64", "ENOSPC", 400, "no room"), ("pwrite64", "EIO", 400, "cannot write"),
             ("fallocate", "ENOSPC", 7, "no room"), ("fsync", "EIO", 30, ""), ("renameat2", "EIO", 1, "put it in place")]
    for call, error, most, said in calls * FAULTS:
        number = rng.randint(1, most)
        with place(program, work, image) as where, serving(data, "range-paced") as (_, url):
            where.know([url], data)
            inject = ["strace", "-f", "-o", f"{work}/strace", "-e", f"trace={call}", "-e",
                      f"inject={call}:error={error}:when={number}"]
            done = subprocess.run([*inject, *where.argv("pull", "9.9.9")], capture_output=True, text=True, check=False,
                                  timeout=SLOWEST)
            with open(f"{work}/strace", encoding="utf-8", errors="replace") as handle:
                hit = "(INJECTED)" in handle.read()
            struck += hit
            what = f"{call} {number} {error}"
            # The image is in place by then; what is lost is only that it need not be looked at again.
            only_record = done.returncode == 0 and "check will not know" in done.stderr and where.seen()
            if hit and not only_record and (done.returncode != 1 or said not in done.stderr):
                bad.append(f"{what}: exit status {done.returncode}, {done.stderr[-300:]}")
            if where.seen() not in ({}, {imaging.NAME: image}):
                bad.append(f"{what}: half an image is in sight")
            done = where.run("pull", "9.9.9")
            bad += [f"{what}, then: {line}" for line in is_there(where) or ([] if done.returncode == 0 else [done.stderr])]
    report.counts["faults"] += struck
    report.ok(not bad and struck > len(calls) * FAULTS // 3, f"{struck} faults of the disk", bad)


def test_two(report, program, work, image):
    """Two at once: one waits for nobody and says so."""
    data, bad = imaging.archive(image), []
    with place(program, work, image) as where, serving(data, "range-paced") as (peer, url):
        where.know([url], data)
        with subprocess.Popen(where.argv("pull", "9.9.9"), stderr=subprocess.PIPE, text=True) as first:
            while not peer.seen and first.poll() is None:
                time.sleep(0.002)
            second = where.run("pull", "9.9.9")
            said = first.communicate(timeout=SLOWEST)[1]
        bad += [] if second.returncode == 75 else [f"the second: {second.returncode} {second.stderr}"]
        bad += is_there(where) + ([] if first.returncode == 0 else [said])
    report.ok(not bad, "two pulls at once", bad)


@contextlib.contextmanager
def watched(folder, bad):
    """Nothing may be deleted in a directory: what is exchanged is moved, in one step."""
    fd = corner.libc.inotify_init1(os.O_NONBLOCK)
    try:
        corner.checked(corner.libc.inotify_add_watch(fd, os.fsencode(folder), IN_DELETE) < 0, "inotify")
        yield
        events = b""
        with contextlib.suppress(BlockingIOError):
            events = os.read(fd, 4096)
        if imaging.NAME.encode() in events:
            bad.append("there was a moment without an image")
    finally:
        os.close(fd)


def test_replace(report, program, work, image):
    """A broken one is replaced when that is asked for, in one step; not what is measured while a machine needs it."""
    data, bad = imaging.archive(image), []
    with place(program, work, image) as where, serving(data) as (_, url):
        where.know([url], data)
        folder = where.path + IMAGES + "/" + imaging.NAME
        bad += [] if where.run("pull", "9.9.9").returncode == 0 else ["the first pull"]
        with open(folder + "/rootfs.img.verity", "r+b") as handle:
            handle.seek(5000)
            handle.write(b"changed")
        broken = where.run("verify")
        bad += [] if broken.returncode == 1 and "rootfs.img.verity: its block 1 " in broken.stderr else [broken.stderr]
        kept = where.run("pull", "9.9.9")
        bad += [] if kept.returncode == 1 and "--replace" in kept.stderr else [f"not asked for: {kept.stderr}"]
        machine = where.path + "/var/lib/dstack/vm/11111111-2222-3333-4444-555555555555"
        os.makedirs(machine)
        with open(machine + "/vm-manifest.json", "w", encoding="utf-8") as handle:
            handle.write('{"name": "app", "image": "%s"}' % imaging.NAME)
        with open(folder + "/bzImage", "r+b") as handle:
            handle.write(b"changed")
        for words in (["pull", "9.9.9", "--replace"], ["rm", imaging.NAME]):
            needed = where.run(*words)
            if needed.returncode != 1 or "the virtual machine app" not in needed.stderr:
                bad.append(f"{words}: {needed.returncode} {needed.stderr}")
        kept = where.run("gc")
        bad += [] if kept.returncode == 0 and "needed by the virtual machine app" in kept.stdout else [kept.stdout]
        elsewhere = where.path + "/srv/vm"
        shutil.move(os.path.dirname(machine), elsewhere)
        for text in ('run_path = "/srv/vm"', "run_path = what is this"):
            with open(where.path + "/etc/dstack/vmm.toml", "w", encoding="utf-8") as handle:
                handle.write(text + "\n")
            kept = where.run("rm", imaging.NAME)
            bad += [] if kept.returncode == 1 and where.seen() else [f"{text}: {kept.stderr}"]
        os.unlink(where.path + "/etc/dstack/vmm.toml")
        shutil.rmtree(elsewhere)
        with watched(where.path + IMAGES, bad):
            done = where.run("pull", "9.9.9", "--replace")
        bad += is_there(where) + ([] if done.returncode == 0 else [done.stderr])
        done = where.run("gc")
        bad += [] if done.returncode == 0 and not where.seen() else [f"gc: {done.stdout} {done.stderr}"]
    report.ok(not bad, "replaced in one step, never what a machine measures; removed when nobody needs it", bad)


def test_record(report, program, work, image):
    """An image that no manifest knows: with the digest of its maker, and what was verified is recorded."""
    data, bad = imaging.archive(image), []
    with place(program, work, image) as where, serving(data) as (_, url):
        unknown = where.run("pull", url)
        bad += [] if unknown.returncode == 3 and "--digest" in unknown.stderr else [unknown.stderr]
        wrong = where.run("pull", url, "--digest", "0" * 64)
        bad += [] if wrong.returncode == 1 and "another image" in wrong.stderr else [wrong.stderr]
        done = where.run("pull", url, "--digest", imaging.digest(image))
        bad += is_there(where) + ([] if done.returncode == 0 else [done.stderr])
        bad += [] if where.run("gc").returncode == 0 and not where.seen() else ["gc"]
        done = where.run("pull", imaging.NAME)
        bad += is_there(where) + ([] if done.returncode == 0 else [done.stderr])
        with open(f"{where.path}/etc/dstack/artifacts.d/{imaging.NAME}.json", encoding="utf-8") as handle:
            bad += [] if imaging.sha256(data) in handle.read() else ["no SHA-256 was recorded"]
    report.ok(not bad, "an unknown image with a digest is recorded", bad)


# What is wrong with the program, its file, the patch, the test that shows it.
BROKEN = [
    ("a reader that takes links", "src/host/image/image-tar.c", [("} else if (type == '0') {", "} else if (type != 'L') {")],
     test_archives),
    ("a verity that looks at no data", "src/host/image/image-verity.c",
     [("return check_blocks(v, 0, v->data_block, 0, from, to, \"block\");", "(void)from; (void)to; return 0;")],
     test_archives),
    ("a cut that lies about its place", "src/host/image/image-pump.c",
     [("p->cut.at = p->marked_at = p->at;", "p->cut.at = (p->marked_at = p->at) + 1;")], test_kill),
    ("an image that is shown by hand", "src/host/image/image-stage.c",
     [("unsigned flags = replace ? RENAME_EXCHANGE : RENAME_NOREPLACE;",
       "unsigned flags = RENAME_NOREPLACE; if (replace) stage_remove_dir(s->images, s->name);")], test_replace),
]


class Quiet(tap.Report):
    """A report of what should fail."""

    def ok(self, good, name, details=()):
        self.failed += not good
        return good


def test_broken(report, work, images):
    for number, (what, source, replacements, test) in enumerate(BROKEN):
        program = build.variant(work, f"image-{number}", source, replacements)
        quiet = Quiet()
        test(quiet, program, work, images[test])
        report.ok(quiet.failed, f"image rig catches {what}")


def main():
    tap.need_root()
    corner.enter()
    report, program = tap.Report(), build.program()
    small, large = imaging.files(1 << 20), imaging.files(24 << 20)
    tests = {test_good: small, test_archives: small, test_bomb: small, test_pinned: small, test_servers: small,
             test_ranges: large, test_kill: large, test_room: large, test_faults: large, test_two: large, test_replace: small,
             test_record: small}
    wanted = sys.argv[1:]
    with corner.workspace("2g") as work:
        for test, image in tests.items():
            if not wanted or test.__name__ in wanted:
                test(report, program, work, image)
        if not wanted:
            test_broken(report, work, tests)
    return report.finish(("archives", "servers", "ranges", "kills", "resumes", "faults"))


if __name__ == "__main__":
    sys.exit(main())
