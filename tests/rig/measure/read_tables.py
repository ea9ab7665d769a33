# SPDX-License-Identifier: Apache-2.0
"""read_tables.py IMAGE-DIRECTORY WINDOW: a second reader of a real QEMU's ACPI tables, sharing nothing with the program's.

Reads them from one that is stopped and from one whose firmware has run, of a machine with 2 vCPU and 2 GiB, and prints JSON:
SHA-384 of the stopped one's tables, RSDP and loader, which of the three differ, and where the tables do ("qword" of the
DSDT: in the resource descriptor of a 64-bit range)."""

import base64
import hashlib
import json
import socket
import struct
import subprocess
import sys
import tempfile

MACHINE = ["-machine", "q35,smm=off,hpet=off,memory-backend=ram", "-m", "2048M", "-smp", "2",
           *["-device", "virtio-rng-pci"] * 5]
FILES = ("etc/acpi/tables", "etc/acpi/rsdp", "etc/table-loader")
BUFFER, CONTROL = 0x100000, 0x1000
QWORD = b"\x8a\x2b\x00"


class Qemu:
    def __init__(self, image, memory):
        pairs = {name: socket.socketpair() for name in ("qtest", "qmp", "console")}
        argv = ["qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-accel", "tcg,thread=single", "-cpu",
                "qemu64,vendor=GenuineIntel", *MACHINE, "-object",
                f"memory-backend-file,id=ram,size=2048M,mem-path={memory},share=on",
                "-qtest", "chardev:qtest", "-qtest-log", "none", "-mon", "chardev=qmp,mode=control", "-serial",
                "chardev:console", "-bios", f"{image}/ovmf.fd", "-kernel", f"{image}/bzImage", "-initrd",
                f"{image}/initramfs.cpio.gz", "-append", "x"]
        for name, pair in pairs.items():
            argv += ["-chardev", f"socket,id={name},fd={pair[1].fileno()}"]
        self.process = subprocess.Popen(argv, pass_fds=[pair[1].fileno() for pair in pairs.values()])
        for pair in pairs.values():
            pair[1].close()
        self.sockets = {name: pair[0] for name, pair in pairs.items()}
        self.qtest, self.qmp = (self.sockets[name].makefile("rw") for name in ("qtest", "qmp"))
        self.qmp.readline()
        self.monitor("qmp_capabilities")

    def monitor(self, command):
        self.qmp.write(json.dumps({"execute": command}) + "\n")
        self.qmp.flush()
        while "return" not in json.loads(self.qmp.readline()):
            pass

    def ask(self, line):
        self.qtest.write(line + "\n")
        self.qtest.flush()
        answer = self.qtest.readline().split()
        assert answer[0] == "OK", (line, answer)
        return answer[-1]

    def pci(self, device, register, value):
        self.ask(f"outl 0xcf8 {0x80000000 | device << 11 | register:#x}")
        self.ask(f"outl 0xcfc {value:#x}")

    def item(self, key, length):
        words = struct.pack(">IIQ", key << 16 | 10, length, BUFFER)
        self.ask(f"write {CONTROL:#x} 16 0x{words.hex()}")
        self.ask("outl 0x514 0")
        self.ask(f"outl 0x518 {int.from_bytes(CONTROL.to_bytes(4, 'big'), 'little'):#x}")
        return base64.b64decode(self.ask(f"b64read {BUFFER:#x} {length}"))

    def files(self):
        count = struct.unpack(">I", self.item(0x19, 4))[0]
        found = {}
        for at in range(4, 4 + 64 * count, 64):
            entry = self.item(0x19, 4 + 64 * count)[at:at + 64]
            size, key = struct.unpack(">IH", entry[:6])
            found[entry[8:].split(b"\0")[0].decode()] = (key, size)
        return [self.item(*found[name]) for name in FILES]

    def end(self):
        self.process.kill()
        self.process.wait()


def stopped(image, window, memory):
    qemu = Qemu(image, memory)
    for device, register, value in ((0, 0x64, 0), (0, 0x60, window | 1), (31, 0x40, 0x601), (31, 0x44, 0x80)):
        qemu.pci(device, register, value)
    files = qemu.files()
    qemu.end()
    return files


def booted(image, memory):
    qemu = Qemu(image, memory)
    qemu.monitor("cont")
    qemu.sockets["console"].recv(1)
    qemu.monitor("stop")
    files = qemu.files()
    qemu.end()
    return files


def where(tables, at):
    """Is this byte in the 46 of a QWord descriptor?"""
    start = tables.rfind(QWORD, 0, at)
    return "qword" if 0 <= start and at < start + 46 else at


def main():
    image, window = sys.argv[1], int(sys.argv[2], 0)
    with tempfile.TemporaryDirectory() as memory:
        one, two = stopped(image, window, memory), booted(image, memory)
    places = [where(one[0], at) for at in range(len(one[0])) if one[0][at] != two[0][at]]
    print(json.dumps({"digests": [hashlib.sha384(data).hexdigest() for data in one],
                      "differ": [name for name, a, b in zip(FILES, one, two) if a != b],
                      "places": sorted(set(map(str, places)))}))


if __name__ == "__main__":
    main()
