# SPDX-License-Identifier: Apache-2.0
"""The stand-in QEMU, stopped and asked over qtest: simulated ACPI tables, and the kernel's setup block as QEMU patches it.

Like real ones the tables hang on QEMU's version, on machine, size and devices, and on nothing else; they describe no
machine. With `confidential-guest-support` there is more in them than without, as in a TD's.
"""

import base64
import hashlib
import json
import os
import re
import socket
import struct
import sys

# 00:00.0 and 00:1f.0 of a q35 machine: who reads tables looks whether it is one.
OWN_IDS = {0x80000000: 0x29C08086, 0x80000000 | 31 << 11: 0x29188086}
MEASURED = ("-smp", "-m", "-machine", "-device", "-serial", "-global", "-numa", "-no-hpet")
SETUP_SIZE, SETUP_DATA, FILE_DIR = 0x17, 0x18, 0x19


def is_asked(argv):
    return "-qtest" in argv


def filler(label, size):
    """Bytes that say what they are, and differ with the label."""
    seed = hashlib.sha256(label.encode()).hexdigest()
    return (f"simulated by dstack-host-sim {seed} ".encode() * (size // 64 + 1))[:size]


def tables(argv, version):
    """-> {name of the fw_cfg file: its bytes}"""
    options = [(argv[i], argv[i + 1] if i + 1 < len(argv) else "") for i in range(len(argv)) if argv[i] in MEASURED]
    # Where a memory backend has its name from is no part of the machine.
    machine = sorted((name, re.sub(r",memory-backend=\w+", "", value)) for name, value in options)
    label = json.dumps([version, machine])
    size = 8192 + 64 * len(machine) + (110 if "confidential-guest-support" in label else 0)
    return {"etc/acpi/tables": filler(label, size), "etc/acpi/rsdp": b"RSD PTR " + filler(version, 12),
            "etc/table-loader": filler(f"loader {size}", 4096)}


def check_td(argv):
    """What QEMU needs for a TD; None, or what it says when that is not there."""
    words = dict(zip(argv, argv[1:]))
    named = re.search(r"confidential-guest-support=([^,]*)", words.get("-machine", ""))
    if not named:
        return None
    objects = [after for word, after in zip(argv, argv[1:]) if word == "-object"]
    if not any(re.match(rf"tdx-guest,id={named[1]}(,|$)", each) for each in objects):
        return f"No such object '{named[1]}'"
    return None if words.get("-accel") == "kvm" else "tdx-guest needs -accel kvm"


def memory_bytes(argv):
    text = argv[argv.index("-m") + 1].split(",")[0].removeprefix("size=")
    units = {"k": 10, "M": 20, "G": 30, "T": 40}
    return int(text.rstrip("kMGT")) << units.get(text[-1], 20)


def patched_setup(argv):
    """The kernel's first sectors with what a loader fills in, by the rules of QEMU's x86_load_linux()."""
    with open(argv[argv.index("-kernel") + 1], "rb") as file:
        head = bytearray(file.read(256 * 512))
    setup = head[:((head[0x1F1] or 4) + 1) * 512]
    memory, initrd = memory_bytes(argv), os.path.getsize(argv[argv.index("-initrd") + 1])
    low = 0x80000000 if memory >= 0xB0000000 else memory
    most = 0xFFFFFFFF if setup[0x236] & 2 else struct.unpack_from("<I", setup, 0x22C)[0]
    most = min(most, low - 0x28000 - 1)
    setup[0x210] = 0xB0
    setup[0x211] |= 0x80
    struct.pack_into("<H", setup, 0x224, 0x20000 - 0x10000 - 0x200)
    struct.pack_into("<I", setup, 0x228, 0x20000)
    struct.pack_into("<II", setup, 0x218, most - initrd & ~4095, initrd)
    return bytes(setup)


class FwCfg:
    """Behind qtest's port and memory commands: the directory, the tables, the setup block."""

    def __init__(self, files, setup):
        self.memory, self.pci = {}, 0
        self.items = {0x20 + i: data for i, data in enumerate(files.values())}
        self.items[FILE_DIR] = struct.pack(">I", len(files)) + b"".join(
            struct.pack(">IHH", len(data), 0x20 + i, 0) + name.encode().ljust(56, b"\0")
            for i, (name, data) in enumerate(files.items()))
        self.items[SETUP_SIZE], self.items[SETUP_DATA] = struct.pack("<I", len(setup)), setup

    def transfer(self, at):
        control, length, address = struct.unpack(">IIQ", self.memory[at])
        self.memory[address] = self.items[control >> 16][:length].ljust(length, b"\0")
        self.memory[at] = bytes(16)

    def answer(self, line):
        words = line.split()
        numbers = [int(word, 0) for word in words[1:3]]
        if words[0] == "outl" and numbers[0] == 0xCF8:
            self.pci = numbers[1]
        elif words[0] == "outl" and numbers[0] == 0x518:
            self.transfer(int.from_bytes(numbers[1].to_bytes(4, "little"), "big"))
        elif words[0] == "inl":
            return f"OK 0x{OWN_IDS.get(self.pci, 0xffffffff):08x}"
        elif words[0] == "write":
            self.memory[numbers[0]] = bytes.fromhex(words[3][2:])
        elif words[0] == "read":
            return "OK 0x" + self.memory[numbers[0]][:numbers[1]].hex()
        elif words[0] == "b64read":
            return "OK " + base64.b64encode(self.memory[numbers[0]][:numbers[1]]).decode()
        return "OK"


def descriptor(argv, name):
    """Of the chardev with that id, which whoever starts this has opened."""
    return next(int(re.search(r"fd=(\d+)", word)[1]) for word in argv if word.startswith("socket,id=" + name))


def main(argv, version):
    failure = check_td(argv)
    if failure:
        print(f"qemu-system-x86_64: simulated: {failure}", file=sys.stderr)
        return 1
    fw_cfg = FwCfg(tables(argv, version), patched_setup(argv))
    major, minor, micro = map(int, version.split("."))
    greeting = {"QMP": {"version": {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": "simulated"},
                        "capabilities": []}}
    with socket.socket(fileno=descriptor(argv, "qmp")) as qmp, socket.socket(fileno=descriptor(argv, "qtest")) as qtest:
        qmp.sendall(json.dumps(greeting).encode() + b"\r\n")
        with qtest.makefile("r") as lines:
            for line in lines:
                qtest.sendall((fw_cfg.answer(line) + "\n").encode())
    return 0
