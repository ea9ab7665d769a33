# SPDX-License-Identifier: Apache-2.0
"""Writes a synthetic guest image of the layout of dstack 0.5.5: formats and hashes are right, nothing boots."""

import argparse
import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile
import uuid
import zlib

NAME, VERSION = "dstack-0.5.5", "0.5.5"
# In sha256sum.txt; the root file system is bound by the command line instead.
LISTED = ("ovmf.fd", "bzImage", "initramfs.cpio.gz", "metadata.json")
_BLOCK = 4096
_SALT = hashlib.sha256(b"dstack-host simulation: verity salt").digest()


def _filler(label, size):
    """Bytes that say what they are; the same on every machine."""
    text = f"simulated {label}, part of dstack-host-sim. ".encode()
    return (text * (size // len(text) + 1))[:size]


def firmware():
    """128 KiB with TDVF metadata where real firmware has it, so that a measurement can be computed."""
    size, variables = 0x20000, 0x4000
    base = (1 << 32) - size
    sections = ((variables, size - variables, base + variables, size - variables, 0, 1),
                (0, variables, base, variables, 1, 0), (0, 0, 0x800000, 0x6000, 3, 0), (0, 0, 0x809000, 0x2000, 2, 0),
                (0, 0, 0x80b000, 0x2000, 3, 0), (0, 0, 0x810000, 0x10000, 3, 0))
    descriptor = struct.pack("<4sIII", b"TDVF", 16 + 32 * len(sections), 1, len(sections))
    descriptor += b"".join(struct.pack("<IIQQII", *section) for section in sections)
    data = bytearray(_filler("firmware", size))
    at = size - 0x1000
    data[at:at + len(descriptor)] = descriptor
    entry = struct.pack("<IH", size - at, 22) + uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
    footer = struct.pack("<H", 18 + len(entry)) + uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
    data[size - 32 - len(entry + footer):size - 32] = entry + footer
    return bytes(data)


def kernel():
    """A setup header and a PE header over filler: enough for loaders and for an Authenticode hash."""
    setup, body = 0x400, 0x4000
    data = bytearray(setup) + bytearray(_filler("kernel", body))
    data[0:2] = b"MZ"
    struct.pack_into("<I", data, 0x3C, 0x40)
    struct.pack_into("<4sHHIIIHH", data, 0x40, b"PE\0\0", 0x8664, 1, 0, 0, 0, 0xA0, 0x206)
    struct.pack_into("<HBBIIIII", data, 0x58, 0x20B, 2, 0, body, 0, 0, setup, setup)
    struct.pack_into("<QII6HIIII", data, 0x70, 0, 0x20, 0x20, 0, 0, 0, 0, 0, 0, 0, setup + body, setup, 0)
    struct.pack_into("<HH4QII", data, 0x9C, 10, 0, 0, 0, 0, 0, 0, 6)
    struct.pack_into("<8sIIIIIIHHI", data, 0xF8, b".text\0\0\0", body, setup, body, setup, 0, 0, 0, 0, 0x60000020)
    data[0x1F1] = 1  # one sector of setup after the boot sector
    struct.pack_into("<H", data, 0x1FE, 0xAA55)
    struct.pack_into("<2s4sH", data, 0x200, b"\xeb\x66", b"HdrS", 0x020F)
    data[0x211] = 1  # loaded high
    struct.pack_into("<I", data, 0x22C, 0x7FFFFFFF)  # highest initrd address
    struct.pack_into("<I", data, 0x238, 2047)  # longest command line
    return bytes(data)


def initrd():
    """A cpio archive with one file, gzip without compression: the same bytes from every version of zlib."""
    content = b"simulated\n"
    archive = _cpio("SIMULATED", content, 0o100644) + _cpio("TRAILER!!!", b"", 0)
    archive += bytes(-len(archive) % 512)
    stored = b"\x01" + struct.pack("<HH", len(archive), len(archive) ^ 0xFFFF) + archive
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + stored + struct.pack("<II", zlib.crc32(archive), len(archive))


def _cpio(name, content, mode):
    fields = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def rootfs():
    """-> (data with its dm-verity superblock and hash block, root hash, size of the data)."""
    data = _filler("root file system", 16 * _BLOCK)
    hashes = b"".join(hashlib.sha256(_SALT + data[at:at + _BLOCK]).digest() for at in range(0, len(data), _BLOCK))
    tree = hashes.ljust(_BLOCK, b"\0")
    superblock = struct.pack("<8sII16s32sIIQH6x256s168x", b"verity", 1, 1, b"dstack-simulated", b"sha256",
                             _BLOCK, _BLOCK, len(data) // _BLOCK, len(_SALT), _SALT)
    return data + superblock.ljust(_BLOCK, b"\0") + tree, hashlib.sha256(_SALT + tree).hexdigest(), len(data)


def build():
    """-> {file name: bytes}."""
    root, root_hash, data_size = rootfs()
    cmdline = ("console=ttyS0 init=/init panic=1 net.ifnames=0 biosdevname=0 "
               "mce=off oops=panic pci=noearly pci=nommconf random.trust_cpu=y "
               "random.trust_bootloader=n tsc=reliable no-kvmclock "
               f"dstack.rootfs_hash={root_hash} dstack.rootfs_size={data_size}")
    metadata = {"bios": "ovmf.fd", "kernel": "bzImage", "cmdline": cmdline, "initrd": "initramfs.cpio.gz",
                "rootfs": "rootfs.img.verity", "version": VERSION, "git_revision": "simulated", "shared_ro": True,
                "is_dev": False}
    files = {"ovmf.fd": firmware(), "bzImage": kernel(), "initramfs.cpio.gz": initrd(), "rootfs.img.verity": root,
             "metadata.json": (json.dumps(metadata, indent=4) + "\n").encode()}
    files["sha256sum.txt"] = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in LISTED).encode()
    files["digest.txt"] = (hashlib.sha256(files["sha256sum.txt"]).hexdigest() + "\n").encode()
    return files


def state_of(folder):
    """"absent", "real" (or at least not ours), "whole" or "broken"."""
    if not os.path.lexists(folder):
        return "absent"
    try:
        with open(os.path.join(folder, "metadata.json"), "rb") as stream:
            if b'"git_revision": "simulated"' not in stream.read(65536):
                return "real"
    except OSError:
        return "real"  # without its mark there is no telling whose it is
    try:
        return "whole" if _sums_fit(folder) else "broken"
    except (OSError, ValueError):
        return "broken"


def _sums_fit(folder):
    """By its own lists: an image of an older release of ours is whole too, and a sealed disk may depend on it."""
    def content(name):
        with open(os.path.join(folder, os.path.basename(name)), "rb") as stream:
            return stream.read()
    sums = content("sha256sum.txt")
    listed = dict(reversed(line.split("  ", 1)) for line in sums.decode().splitlines())
    return (content("digest.txt").decode().strip() == hashlib.sha256(sums).hexdigest() and set(LISTED) <= set(listed)
            and all(hashlib.sha256(content(name)).hexdigest() == wanted for name, wanted in listed.items())
            and len(content("rootfs.img.verity")) > 0)


def install(images):
    """Whole or not at all: staged beside the images directory, where the VMM does not look, then renamed into it."""
    final = os.path.join(images, NAME)
    state = state_of(final)
    if state in ("real", "whole"):
        return state
    os.makedirs(images, mode=0o755, exist_ok=True)
    staging = tempfile.mkdtemp(dir=os.path.dirname(os.path.abspath(images)), prefix=".dstack-sim-image-")
    try:
        for name, data in build().items():
            with open(os.path.join(staging, name), "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        os.chmod(staging, 0o755)
        if state == "broken":
            os.rename(final, staging + "-old")
            shutil.rmtree(staging + "-old")
        os.rename(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return "written"


def main(argv=None):
    parser = argparse.ArgumentParser(description="synthetic guest image")
    parser.add_argument("--images", default="/var/lib/dstack/images")
    args = parser.parse_args(argv)
    try:
        state = install(args.images)
    except OSError as error:
        print(f"simulated guest image: {error}", file=sys.stderr, flush=True)
        return 1
    says = {"real": "is not simulated, left alone", "whole": "unchanged (simulated)", "written": "written (simulated)"}
    print(f"{os.path.join(args.images, NAME)} {says[state]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
