# SPDX-License-Identifier: Apache-2.0
"""Simulated: a program that speaks QMP and qtest as QEMU does, and misbehaves. Runs inside a jail, as one that is
called like its behaviour; what it achieved that it should not is the last line of its standard error."""

import base64
import ctypes
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time

GREETING = {"QMP": {"version": {"qemu": {"major": 9, "minor": 2, "micro": 1}, "package": "simulated"},
                    "capabilities": []}}
OWN_IDS = {0x80000000: 0x29C08086, 0x80000000 | 31 << 11: 0x29188086}


def say(text):
    os.write(2, (text + "\n").encode())


class Machine:
    """fw_cfg behind qtest, as much of it as is asked for."""

    def __init__(self, setup):
        self.memory, self.pci, self.high = {}, 0, 0
        files = [("etc/acpi/tables", 0x20, b"T" * 1000), ("etc/acpi/rsdp", 0x21, b"R" * 20),
                 ("etc/table-loader", 0x22, b"L" * 128)]
        self.items = {key: data for _, key, data in files}
        self.items[0x19] = struct.pack(">I", len(files)) + b"".join(
            struct.pack(">IHH", len(data), key, 0) + name.encode().ljust(56, b"\0") for name, key, data in files)
        self.items[0x17], self.items[0x18] = struct.pack("<I", len(setup)), setup

    def dma(self, at):
        control, length, address = struct.unpack(">IIQ", self.memory[at])
        data = self.items[control >> 16]
        self.memory[address] = data[:length].ljust(length, b"\0")
        self.memory[at] = bytes(16)

    def answer(self, line):
        words = line.split()
        numbers = [int(word, 0) for word in words[1:3]] if len(words) > 1 else []
        if words[0] == "outl":
            if numbers[0] == 0xCF8:
                self.pci = numbers[1]
            elif numbers[0] == 0x518:
                self.dma(struct.unpack("<I", struct.pack(">I", numbers[1]))[0])
        elif words[0] == "inl":
            return f"OK 0x{OWN_IDS.get(self.pci, 0xffffffff):08x}"
        elif words[0] == "write":
            self.memory[numbers[0]] = bytes.fromhex(words[3][2:])
        elif words[0] == "read":
            return "OK 0x" + self.memory[numbers[0]][:numbers[1]].hex()
        elif words[0] == "b64read":
            return "OK " + base64.b64encode(self.memory[numbers[0]][:numbers[1]]).decode()
        return "OK"


def setup_of(argv):
    with open(argv[argv.index("-kernel") + 1], "rb") as handle:
        head = bytearray(handle.read(128 << 10))
    head[0x210] = 0xB0
    return bytes(head[:(head[0x1F1] + 1) * 512])


def serve(machine, change=lambda line, answer: answer, greeting=None):
    qmp, qtest = socket.socket(fileno=4), socket.socket(fileno=3)
    qmp.sendall((json.dumps(greeting or GREETING) + "\r\n").encode())
    for line in qtest.makefile("r"):
        answer = change(line, machine.answer(line))
        if answer is not None:
            qtest.sendall((answer + "\n").encode())
    while True:
        time.sleep(60)


# --- what each does ------------------------------------------------------------------------------

def good(machine):
    serve(machine)


def leaves(machine):
    say("simulated-qemu: this machine type is not supported")
    sys.exit(1)


def hangs(machine):
    while True:
        signal.pause()


def crashes(machine):
    os.kill(os.getpid(), signal.SIGSEGV)
    ctypes.string_at(0)


def burns(machine):
    while True:
        pass


def silent(machine):
    serve(machine, lambda line, answer: None)


def floods_qtest(machine):
    socket.socket(fileno=4).sendall((json.dumps(GREETING) + "\n").encode())
    qtest = socket.socket(fileno=3)
    while True:
        qtest.sendall(b"OK " * 20000)


def floods_lines(machine):
    socket.socket(fileno=4).sendall((json.dumps(GREETING) + "\n").encode())
    qtest = socket.socket(fileno=3)
    while True:
        qtest.sendall(b"OK\n" * 20000)


def floods_qmp(machine):
    qmp = socket.socket(fileno=4)
    while True:
        qmp.sendall(b"{" * 65536)


def floods_stderr(machine):
    while True:
        say("x" * 60000)


def fails(machine):
    serve(machine, lambda line, answer: "FAIL Unknown command")


def out_of_order(machine):
    held = []

    def change(line, answer):
        held.append(answer)
        if len(held) < 2:
            return None
        swapped = "\n".join(reversed(held))
        held.clear()
        return swapped
    serve(machine, change)


def answers_twice(machine):
    serve(machine, lambda line, answer: answer + "\n" + answer)


def short_bytes(machine):
    serve(machine, lambda line, answer: answer[:-4] if line.startswith("b64read") else answer)


def bad_base64(machine):
    serve(machine, lambda line, answer: re.sub("[A-Z]", "!", answer[3:]) if line.startswith("b64read") else answer)


def no_number(machine):
    serve(machine, lambda line, answer: "OK zero" if line.startswith("inl") else answer)


def other_machine(machine):
    serve(machine, lambda line, answer: "OK 0x12378086" if line.startswith("inl") else answer)


def dma_error(machine):
    serve(machine, lambda line, answer: "OK 0x00000001" if line.startswith("read ") else answer)


def many_files(machine):
    machine.items[0x19] = b"\xff\xff\xff\xff"
    serve(machine)


def no_tables(machine):
    machine.items[0x19] = machine.items[0x19].replace(b"etc/acpi/tables", b"etc/acpi/tablet")
    serve(machine)


def huge_tables(machine):
    machine.items[0x19] = machine.items[0x19][:4] + b"\x7f" + machine.items[0x19][5:]
    serve(machine)


def other_kernel(machine):
    machine.items[0x18] = b"x" * len(machine.items[0x18])
    serve(machine)


def huge_setup(machine):
    machine.items[0x17] = b"\xff\xff\xff\x7f"
    serve(machine)


def no_version(machine):
    serve(machine, greeting={"QMP": {"version": {"qemu": {"major": "9"}}}})


def ends_midway(machine):
    count = iter(range(9))
    serve(machine, lambda line, answer: answer if next(count, None) is not None else sys.exit(0))


def tries(attempts):
    """What of these worked; said in one line, and then it leaves."""
    done = []
    for name, attempt in attempts:
        try:
            if attempt() is not False:
                done.append(name)
        except (OSError, MemoryError, ValueError):
            pass
    say("achieved: " + (" ".join(done) or "nothing"))
    sys.exit(3)


def forks(machine):
    def fork():
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
            os._exit(0)
    tries([("fork", fork), ("spawn", lambda: os.posix_spawn("/usr/bin/sleep", ["sleep", "600"], {}))])


def lives_on(machine):
    """Its first thread ends; another keeps all that is open."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    ctypes.CDLL(None).syscall(60, 0)  # exit, of this thread alone


def peeks(machine):
    """At what lies beside it."""
    here = os.path.dirname(sys.argv[0])
    tries([(name, lambda name=name: open(os.path.join(here, name), "rb").close()) for name in ("secret", "../secret")])


def writes(machine):
    def put(path):
        return lambda: open(path, "wb").close()
    places = ("/usr/x", "/etc/x", "/tmp/x", "/var/x", "/run/x", "/x", "/dev/shm/x", "/root/x",
              os.path.dirname(sys.argv[0]) + "/x")
    tries([(path, put(path)) for path in places] +
          [(path, lambda path=path: os.listdir(path)) for path in ("/home", "/root", "/etc/dstack", "/var", "/run", "/dev",
                                                                    "/sys", "/proc/1")])


def connects(machine):
    kinds = ((socket.AF_INET, "inet"), (socket.AF_INET6, "inet6"), (socket.AF_UNIX, "unix"), (socket.AF_NETLINK, "netlink"),
             (40, "vsock"), (socket.AF_PACKET, "packet"))
    tries([(name, lambda family=family: socket.socket(family, socket.SOCK_STREAM)) for family, name in kinds] +
          [("socketpair", socket.socketpair)])


def signals(machine):
    tries([("kill all", lambda: os.kill(-1, signal.SIGTERM) or False), ("setgid", lambda: os.setgid(0)),
           ("parent", lambda: os.getppid() > 1), ("end the parent", lambda: os.kill(1, signal.SIGKILL) or False)])


def unshares(machine):
    ctypes.CDLL(None).unshare(0x10000000)
    say("achieved: to live on")


def traces(machine):
    ctypes.CDLL(None).ptrace(16, 1, 0, 0)
    say("achieved: to live on")


def eats_memory(machine):
    def private():
        kept = []
        for _ in range(64):
            kept.append(b"x" * (64 << 20))

    def shared():
        import mmap
        area = mmap.mmap(-1, 64 << 20)
        area[0] = 1
    tries([("4 GiB", private), ("shared", shared)])


def fills_scratch(machine):
    def fill():
        with open("/scratch/fill", "wb") as handle:
            for _ in range(4096):
                handle.write(b"x" * (1 << 20))
    tries([("4 GiB of files", fill)])


def main(name):
    globals()[name](Machine(setup_of(sys.argv)))


ALL = [good, leaves, hangs, crashes, burns, silent, floods_qtest, floods_lines, floods_qmp, floods_stderr, fails, out_of_order,
       answers_twice, short_bytes, bad_base64, no_number, other_machine, dma_error, many_files, no_tables, huge_tables,
       other_kernel, huge_setup, no_version, ends_midway, forks, lives_on, peeks, writes, connects, signals, unshares, traces,
       eats_memory, fills_scratch]
NAMES = [each.__name__ for each in ALL]
