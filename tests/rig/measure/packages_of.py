# SPDX-License-Identifier: Apache-2.0
"""Debian packages as bytes, good ones and others."""

import gzip
import io
import tarfile

PROGRAM = "usr/bin/qemu-system-x86_64"


def member(name, data):
    return b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode(), 0, 0, 0, b"100644", len(data)) + data + b"\n" * (len(data) % 2)


def package(data, name="data.tar.gz"):
    control = member("control.tar.gz", gzip.compress(tar([])))
    return b"!<arch>\n" + member("debian-binary", b"2.0\n") + control + member(name, data)


def tar(entries):
    """Entries are (name, bytes) or TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size, info.mode = len(entry[1]), 0o755
                archive.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def directories(*names):
    return [special(name, tarfile.DIRTYPE) for name in names]


def of(*entries):
    return lambda: package(gzip.compress(tar([*directories("./", "./usr", "./usr/bin"), *entries]), 1))


def ten_gigabytes():
    """Zeros, as gzip's members one after the other; one tar header says how many."""
    info = tarfile.TarInfo("./usr/bin/zeros")
    info.size = 10 << 30
    piece = gzip.compress(bytes(64 << 20), 6)
    head = tar(directories("./", "./usr", "./usr/bin"))[:3 * tarfile.BLOCKSIZE]
    return package(gzip.compress(head + info.tobuf(tarfile.GNU_FORMAT)) + piece * 161)


def hostile(script):
    """(name, function that makes the bytes, what the message has to say)"""
    good = (f"./{PROGRAM}", script.read_bytes())
    return [
        ("up", of(("./usr/../../x", b"x")), "leads out"),
        ("absolute", of(("/usr/bin/x", b"x")), "leads out"),
        ("link-up", of(special("./usr/bin/l", tarfile.SYMTYPE, "../../../x")), "link that leads out"),
        ("link-absolute", of(special("./usr/bin/l", tarfile.SYMTYPE, "/etc")), "link that leads out"),
        ("hard-link-out", of(special("./usr/bin/l", tarfile.LNKTYPE, "../x")), "link that leads out"),
        ("through-a-link", of(special("./usr/l", tarfile.SYMTYPE, "bin"), ("./usr/l/x", b"x")), "in no directory of its own"),
        ("device", of(special("./usr/bin/d", tarfile.CHRTYPE)), "a device"),
        ("fifo", of(special("./usr/bin/f", tarfile.FIFOTYPE)), "a device"),
        ("twice", of(good, good), "twice"),
        ("10-gigabytes", ten_gigabytes, "more than 512 MiB"),
        ("many-files", of(*[special(f"./usr/{i}", tarfile.DIRTYPE) for i in range(20001)]), "more than 20000 files"),
        ("no-qemu", of(("./usr/bin/x", b"x")), "cannot be run"),
        ("no-data", lambda: b"!<arch>\n" + member("debian-binary", b"2.0\n"), "no data.tar"),
        ("empty", lambda: b"", "package"),
        ("text", lambda: b"no package at all\n" * 100, "package"),
        ("cut", lambda: of(good)()[:-40], "damaged|package"),
        ("garbage-inside", lambda: package(b"\x1f\x8b" + bytes(range(256)) * 9), "package"),
    ]
