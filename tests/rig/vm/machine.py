# SPDX-License-Identifier: Apache-2.0
"""One QEMU: a serial console that is only listened to, a virtio port to the guest's agent, and the monitor.

    with Machine(directory, kernel, initrd, disk, repo) as vm:
        vm.boot()                    # from nothing; vm.resume(file) goes on from vm.save(file)
        vm.run(["uname"], timeout=9) # .stdout .stderr .code
        job = vm.begin(["sync"])     # it runs; vm.finish(job, 60) waits for its end
        vm.cut()                     # the power goes
        vm.boot()

A cut is SIGKILL for QEMU. What the guest's kernel had not handed to its disk is lost with its memory, and so is what
QEMU itself holds back: like a disk with a volatile cache it keeps the map of newly allocated clusters (qcow2) to
itself until the guest flushes. What QEMU has written is in this machine's page cache and stays. Writes that a disk
reorders are the business of tests/rig/powercut.
"""

import contextlib
import json
import os
import queue
import re
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections import namedtuple

Result = namedtuple("Result", "stdout stderr code")
# KVM is no choice: where CI offers it, guests may hang (nested), and a test must not depend on luck.
ACCEL = ["-accel", "tcg,thread=multi", "-smp", "2", "-m", "2048", "-machine", "q35,hpet=off", "-cpu", "qemu64,+rdrand"]
APPEND = "root=/dev/vda rw console=ttyS0,115200 systemd.show_status=yes mitigations=off panic=-1 net.ifnames=0"
BOOT_SECONDS = 600
CONSOLE_TAIL = 40
LIVING = []


class VmError(AssertionError):
    pass


class VmTimeout(VmError):
    pass


class Refused(VmError):
    """A command ended with an error."""


def end_all():
    """For a test that ends early: every machine loses its power, and the threads that use them see that."""
    for vm in list(LIVING):
        vm.refused = True
        qemu = vm.qemu
        if qemu:
            qemu.kill()


def missing():
    """Why there can be no machine here, or None."""
    for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils")):
        if not shutil.which(program):
            return f"no {program} (package {package})"
    return None


class Machine:
    def __init__(self, directory, kernel, initrd, disk, repo):
        self.directory, self.kernel, self.initrd, self.disk, self.repo = directory, kernel, initrd, disk, repo
        self.qemu = None
        self.console = ""
        self.changed = threading.Condition()
        self.sockets, self.boots, self.answers, self.numbers = {}, 0, {}, 0

        self.refused = None  # set by another thread: no further start

    def __enter__(self):
        LIVING.append(self)
        os.makedirs(self.directory, exist_ok=True)
        return self

    def __exit__(self, *_):
        LIVING.remove(self)
        self.cut()

    # -- QEMU -------------------------------------------------------------------------------------

    def boot(self, timeout=BOOT_SECONDS):
        """Starts; returns what systemd says when the boot has ended, how ever it went."""
        seen = self.boots
        self.launch()
        return self.booted(seen, timeout)

    def booted(self, seen, timeout=BOOT_SECONDS):
        self.wait(lambda: self.boots > seen, timeout, "the guest's agent")
        return self.run(["systemctl", "is-system-running", "--wait"], check=False, timeout=timeout).stdout.strip()

    def resume(self, path):
        """Goes on from a saved memory; the disk has to be as it was then."""
        self.launch("-incoming", "defer")
        self.migrate("migrate-incoming", f"exec:cat {shlex.quote(str(path))}")
        self.monitor("cont")

    def launch(self, *more):
        if self.refused:
            raise VmError("the test is ending")
        # The kernel ends it with the thread that started it, should nobody else.
        argv = ["setpriv", "--pdeathsig", "KILL",
                "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", *ACCEL,
                "-kernel", self.kernel, "-initrd", self.initrd, "-append", APPEND, "-rtc", "base=utc",
                "-drive", f"file={self.disk},if=virtio,format=qcow2,cache=writeback,discard=unmap",
                "-drive", f"file={self.repo},if=virtio,format=raw,readonly=on",
                "-device", "virtio-rng-pci", "-nic", "user,model=virtio-net-pci,restrict=on",
                "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=rig",
                "-serial", "chardev:console", "-mon", "chardev=monitor,mode=control"]
        ours, listeners = {}, []
        for name in ("console", "agent", "monitor"):
            # QEMU gets its end as an open file: no path, no race, and it sees our end close.
            ours[name], theirs = socket.socketpair()
            argv += ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]
            listeners.append(theirs)
        self.qemu = subprocess.Popen([str(word) for word in [*argv, *more]], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                     pass_fds=[end.fileno() for end in listeners])
        for end in listeners:
            end.close()
        self.sockets, self.answers, self.console = ours, {}, ""
        self.events, self.events_seen = queue.Queue(), []
        for name, take in (("console", self.take_console), ("agent", self.take_line), ("monitor", self.events.put)):
            threading.Thread(target=self.listen, args=(ours[name], take, name == "console"), daemon=True).start()
        self.monitor("qmp_capabilities")

    def listen(self, end, take, raw):
        pending = b""
        with contextlib.suppress(OSError):
            while data := end.recv(65536):
                if raw:
                    take(data.decode(errors="replace"))
                    continue
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    if line.strip():
                        take(json.loads(line))
        with self.changed:
            self.changed.notify_all()

    def take_console(self, text):
        with self.changed:
            self.console += text
            self.changed.notify_all()

    def take_line(self, message):
        with self.changed:
            if "hello" in message:
                self.boots += 1
            else:
                self.answers.setdefault(message["id"], {}).update(message)
            self.changed.notify_all()

    def cut(self):
        """The power goes. Without a machine that runs, nothing happens."""
        if self.qemu:
            self.qemu.kill()
            self.gone(20)

    def gone(self, timeout):
        """Waits for QEMU's end; returns what it said and its exit status."""
        try:
            said = self.qemu.communicate(timeout=timeout)[1]
        except subprocess.TimeoutExpired:
            raise VmTimeout(f"it is still on after {timeout} s\n{self.tail()}") from None
        code = self.qemu.returncode
        self.qemu = None
        for end in self.sockets.values():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        return said, code

    def monitor(self, command, **arguments):
        self.sockets["monitor"].sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            try:
                message = self.events.get(timeout=60)
            except queue.Empty:
                raise VmTimeout(f"QEMU's monitor does not answer {command}; {self.last_words()}") from None
            if "error" in message:
                raise VmError(f"QEMU: {command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]
            self.events_seen.append(message)

    def wait_monitor(self, event, timeout=120):
        limit = time.monotonic() + timeout
        while True:
            try:
                message = self.events_seen.pop(0) if self.events_seen else \
                    self.events.get(timeout=max(0.0, limit - time.monotonic()))
            except queue.Empty:
                raise VmTimeout(f"no event {event} from QEMU in {timeout} s; {self.last_words()}") from None
            if message.get("event") == event:
                return message

    def save(self, path):
        """Stops for good, memory in path: with the disk as it is now, resume() goes on from here, again and again."""
        self.monitor("stop")
        self.monitor("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.migrate("migrate", f"exec:cat > {shlex.quote(str(path))}")
        self.monitor("quit")
        self.gone(30)

    def migrate(self, command, uri):
        """Memory to or from a program; returns when QEMU says that all of it is there."""
        self.monitor("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self.monitor(command, uri=uri)
        while (state := self.wait_monitor("MIGRATION")["data"]["status"]) != "completed":
            if state in ("failed", "cancelled"):
                raise VmError(f"{command}: {state}; {self.last_words()}")

    # -- waiting ----------------------------------------------------------------------------------

    def tail(self):
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", self.console)
        return "console:\n" + "\n".join(text.splitlines()[-CONSOLE_TAIL:])

    def last_words(self):
        if self.qemu and self.qemu.poll() is not None:
            return f"QEMU ended with {self.qemu.returncode}: {self.gone(5)[0].strip()}"
        return self.tail()

    def wait(self, ready, timeout, what):
        """Until ready() is true, looked at whenever something arrived. QEMU's end ends it, too."""
        limit = time.monotonic() + timeout
        with self.changed:
            while not ready():
                left = limit - time.monotonic()
                if left <= 0:
                    raise VmTimeout(f"waited {timeout} s for {what}\n{self.tail()}")
                if self.qemu.poll() is not None:
                    raise VmError(f"QEMU ended while waiting for {what}: {self.last_words()}")
                self.changed.wait(left)

    def expect(self, pattern, timeout):
        """Until the console has shown pattern."""
        self.wait(lambda: re.search(pattern, self.console), timeout, f"{pattern!r} on the console")

    def lives(self, number, seconds):
        """Lets it run for so long or until a command has ended: the one wait for time, of a machine to be cut."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended(number) or self.qemu.poll() is not None, seconds)

    # -- commands ---------------------------------------------------------------------------------

    def begin(self, argv, input="", env=None, timeout=None):
        """Starts a command and returns when it runs. A string is run by a shell."""
        self.numbers += 1
        number = self.numbers
        argv = ["/bin/sh", "-c", argv] if isinstance(argv, str) else [str(word) for word in argv]
        order = {"id": number, "argv": argv, "input": input, "env": env or {}, "timeout": timeout}
        self.sockets["agent"].sendall(json.dumps(order).encode() + b"\n")
        self.wait(lambda: number in self.answers, 60, f"the start of {shlex.join(argv)}")
        return number

    def finish(self, number, timeout, what="a command"):
        self.wait(lambda: "code" in self.answers[number], timeout, what)
        answer = self.answers[number]
        return Result(answer["stdout"], answer["stderr"], answer["code"])

    def ended(self, number):
        return "code" in self.answers.get(number, {})

    def run(self, argv, check=True, timeout=120, input="", env=None):
        """As of tests/container's Box, so that what judges a container judges a machine, too."""
        what = argv if isinstance(argv, str) else shlex.join(map(str, argv))
        done = self.finish(self.begin(argv, input, env, timeout), timeout + 30, what)
        if done.code is None:
            raise VmTimeout(f"{what}: not done in {timeout} s\n{done.stdout[-2000:]}{done.stderr[-2000:]}{self.tail()}")
        if check and done.code:
            raise Refused(f"{what}: exit status {done.code}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done

    def write(self, path, text, mode=0o644):
        self.run(["/bin/sh", "-c", f"umask 077; cat > '{path}'; chmod {mode:o} '{path}'"], input=text)

    def read(self, path):
        return self.run(["cat", path]).stdout
