# SPDX-License-Identifier: Apache-2.0
"""Guest images for tests: whole ones of any size, archives of them, and archives that no maker would make."""

import gzip
import hashlib
import io
import json
import random
import struct
import tarfile
import zlib

NAME = "dstack-9.9.9"
BLOCK = 4096
SALT = hashlib.sha256(b"salt of a test").digest()
LISTED = ("ovmf.fd", "bzImage", "initramfs.cpio.gz", "metadata.json")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def noise(size, seed=1):
    """Bytes that do not compress, the same every time."""
    rng = random.Random(seed)
    return b"".join(rng.randbytes(min(1 << 26, size - at)) for at in range(0, size, 1 << 26))


def verity(data, data_block=BLOCK):
    """-> (data, superblock and tree as veritysetup writes them; root hash)."""
    per = BLOCK // 32
    level = [hashlib.sha256(SALT + data[at:at + data_block]).digest() for at in range(0, len(data), data_block)]
    levels = []
    while True:
        blocks = [b"".join(level[at:at + per]).ljust(BLOCK, b"\0") for at in range(0, len(level), per)]
        levels.insert(0, b"".join(blocks))
        level = [hashlib.sha256(SALT + block).digest() for block in blocks]
        if len(blocks) == 1:
            break
    head = struct.pack("<8sII16s32sIIQH6x256s168x", b"verity", 1, 1, b"of a test", b"sha256", data_block, BLOCK,
                       len(data) // data_block, len(SALT), SALT)
    start = -(-(len(data) + len(head)) // BLOCK) * BLOCK
    return (data + head).ljust(start, b"\0") + b"".join(levels), level[0].hex()


def files(size=1 << 20, seed=1, data_block=BLOCK, repeated=False, **metadata):
    """-> {name: bytes}; metadata overrides members of metadata.json (None: leaves one out). repeated: it compresses."""
    data = b"".join(noise(1 << 13, at) * 4 for at in range(size >> 15)) if repeated else noise(size, seed)
    image, root = verity(data, data_block)
    about = {"bios": "ovmf.fd", "kernel": "bzImage", "initrd": "initramfs.cpio.gz", "rootfs": "rootfs.img.verity",
             "cmdline": f"console=ttyS0 dstack.rootfs_hash={root} dstack.rootfs_size={len(data)}", "version": "9.9.9",
             "shared_ro": True, **metadata}
    about = {key: value for key, value in about.items() if value is not None}
    out = {"ovmf.fd": noise(20000, 2), "bzImage": noise(50000, 3), "initramfs.cpio.gz": noise(70000, 4),
           "rootfs.img.verity": image, "metadata.json": json.dumps(about).encode()}
    return sealed(out)


def sealed(out):
    """The same with the lists that fit."""
    out["sha256sum.txt"] = "".join(f"{sha256(out[name])}  {name}\n" for name in LISTED).encode()
    out["digest.txt"] = (sha256(out["sha256sum.txt"]) + "\n").encode()
    return out


def root_hash(image):
    return json.loads(image["metadata.json"])["cmdline"].partition("dstack.rootfs_hash=")[2].split()[0]


def digest(image):
    return image["digest.txt"].decode().strip()


def entry(name, data=b"", kind=tarfile.REGTYPE, mode=0o644, link="", form=tarfile.GNU_FORMAT):
    """One entry of a tar archive, as bytes."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, link
    info.size = len(data)
    return info.tobuf(form) + data + bytes(-len(data) % 512)


def tar(image, before=b"", after=b"", top=NAME):
    """As mkimage.sh makes it, with other entries in front or at the end."""
    body = b"".join(entry(f"{top}/{name}", data) for name, data in image.items())
    whole = before + body + after + bytes(1024)
    return whole + bytes(-len(whole) % 10240)


def packed(data, level=1):
    return gzip.compress(data, level, mtime=0)


def archive(image, **more):
    return packed(tar(image, **more))


def bomb(size):
    """An archive of one file of `size` bytes, most of which gzip has not."""
    out, press = io.BytesIO(), zlib.compressobj(9, zlib.DEFLATED, 31)
    info = tarfile.TarInfo(f"{NAME}/rootfs.img.verity")
    info.size = size
    out.write(press.compress(info.tobuf(tarfile.GNU_FORMAT)))
    zeros = bytes(1 << 20)
    for _ in range(size >> 20):
        out.write(press.compress(zeros))
    out.write(press.flush())
    return out.getvalue()


def manifest(image, urls, data=None, **more):
    """artifacts.json for one image; data: the archive, to pin its size and SHA-256 too."""
    name, version = NAME.rsplit("-", 1)
    item = {"name": name, "version": version, "kind": "image", "state": "supported", "urls": list(urls),
            "inside": {"digest": digest(image)}, **more}
    if data is not None:
        item.update(size=len(data), sha256=sha256(data))
    return json.dumps({"artifacts": [item]})
