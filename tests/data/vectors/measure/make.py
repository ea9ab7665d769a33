#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the synthetic guest image that the vectors here were measured on: a firmware with TDVF metadata, a kernel
that is both a bzImage and a PE file, an initrd. Deterministic; nothing in it can run."""
import hashlib, struct, sys, uuid, os

out = sys.argv[1] if len(sys.argv) > 1 else "image"
os.makedirs(out, exist_ok=True)


def stream(name, n):
    b = b""
    i = 0
    while len(b) < n:
        b += hashlib.sha256(f"{name}:{i}".encode()).digest()
        i += 1
    return bytearray(b[:n])


def guid(s):
    return uuid.UUID(s).bytes_le


# firmware: 256 KiB; boot firmware volume measured page by page, configuration volume, hand-off block, scratch memory
fw = stream("fw", 0x40000)
top = 0x100000000 - len(fw)
sections = [  # data offset, raw size, address, memory size, type, attributes (1 = extended into MRTD)
    (0x20000, 0x20000, top + 0x20000, 0x20000, 0, 1),
    (0x0, 0x20000, top, 0x20000, 1, 0),
    (0, 0, 0x810000, 0x10000, 3, 0),
    (0, 0, 0x80B000, 0x2000, 3, 0),
    (0, 0, 0x809000, 0x2000, 2, 0),
    (0, 0, 0x800000, 0x6000, 3, 0),
]
desc = b"TDVF" + struct.pack("<III", 16 + 32 * len(sections), 1, len(sections))
for s in sections:
    desc += struct.pack("<IIQQII", *s)
at = 0x3F000
fw[at:at + len(desc)] = desc
entry = struct.pack("<I", len(fw) - at)
table = entry + struct.pack("<H", len(entry) + 18) + guid("e47a6535-984a-4798-865e-4685a7bf8ec2")
table += struct.pack("<H", len(table) + 18) + guid("96b582de-1fb2-45f7-baea-a366c55a082d")
fw[len(fw) - 32 - len(table):len(fw) - 32] = table
open(f"{out}/ovmf.fd", "wb").write(fw)

# kernel: 3 setup sectors, protocol 2.15, loadable above 4 GiB; PE32+ with two sections; length not a multiple of 8
k = stream("kernel", 70003)
k[0:2] = b"MZ"
struct.pack_into("<I", k, 0x3C, 0x40)
k[0x40:0x44] = b"PE\0\0"
struct.pack_into("<HHIIIHH", k, 0x44, 0x8664, 2, 0, 0, 0, 160, 0x206)
opt = 0x58
k[opt:opt + 160] = bytes(160)
struct.pack_into("<H", k, opt, 0x20B)
struct.pack_into("<I", k, opt + 60, 0x200)  # size of headers
struct.pack_into("<I", k, opt + 108, 6)
for i, (ptr, size) in enumerate([(0x200, 0x600), (0x800, 70003 - 0x800)]):
    o = opt + 160 + 40 * i
    k[o:o + 40] = bytes(40)
    struct.pack_into("<II", k, o + 16, size, ptr)
k[0x1F1] = 3
struct.pack_into("<H", k, 0x1FE, 0xAA55)
k[0x202:0x206] = b"HdrS"
struct.pack_into("<H", k, 0x206, 0x20F)
k[0x1F2:0x1FE] = bytes(12)
k[0x208:0x22C] = bytes(36)  # as a real kernel: loader fields are zero in the file
k[0x211] = 0x01
k[0x22C:0x268] = bytes(60)
struct.pack_into("<I", k, 0x22C, 0x7FFFFFFF)
struct.pack_into("<H", k, 0x236, 0x007F)
struct.pack_into("<I", k, 0x260, 0x10000)
open(f"{out}/bzImage", "wb").write(k)
open(f"{out}/initramfs.cpio.gz", "wb").write(stream("initrd", 300001))
open(f"{out}/rootfs.img.verity", "wb").write(stream("rootfs", 65536))
open(f"{out}/metadata.json", "w").write(
    '{"bios":"ovmf.fd","kernel":"bzImage","cmdline":"console=ttyS0 init=/init panic=1 dstack.rootfs_hash=00aa '
    'dstack.rootfs_size=65536","initrd":"initramfs.cpio.gz","rootfs":"rootfs.img.verity","version":"0.5.5",'
    '"shared_ro":true,"is_dev":false}')
for f in sorted(os.listdir(out)):
    print(hashlib.sha256(open(f"{out}/{f}", "rb").read()).hexdigest(), f)
