# SPDX-License-Identifier: Apache-2.0
"""The power goes during a command, at a moment drawn over the time that it takes; then what an administrator does."""

import json
import os
import time

from . import image, machine
from container.settled import settled  # noqa: E402 (image.py sets its path)

NEXT = "sed -i s,/srv/repo/this,/srv/repo/next, /etc/apt/sources.list && apt-get -qq update && "
APT = ("apt-get -y -q -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=60 "
       "install dstack-host dstack-host-sim")
EDITOR = "#!/bin/sh\nsed -i s/demo.example.org/cut.example.org/ \"$1\"\n"
RECONFIGURE = "EDITOR=/root/editor VISUAL=/root/editor dpkg-reconfigure -feditor dstack-host"
CONFIG = "dstack-host config set DOMAIN=cut.example.org VMM_CID_START=3000"
# What writes like many a script does: over the file, and nothing waits for the disk.
CARELESS = ("python3 -c 'import pathlib; f = pathlib.Path(\"/etc/dstack/host.conf\"); "
            "f.write_text(f.read_text().replace(\"demo.\", \"cut.\"))'")
ENV = {"DEBIAN_FRONTEND": "noninteractive"}
AWAIT = "dstack-host await kms --timeout 600"
# The moment is drawn from a little more than the command takes, so that some cuts come right after its end: then
# what it has promised has to be there.
BEYOND = 1.15
READY_SECONDS = 600
# What reading an answer that makes no sense raises.
NO_ANSWER = (ValueError, LookupError)


class Case:
    """start: name of the saved state; done(look): what is wrong although the command had ended; when: a condition in
    the guest's shell that tells the moment, which is drawn otherwise."""

    def __init__(self, name, start, command, done=None, seconds=None, again=True, when=None):
        self.name, self.start, self.command, self.done, self.seconds = name, start, command, done, seconds
        self.again, self.when = again, when


def has_domain(look):
    return [] if "DOMAIN=cut.example.org" in (look["conf"] or "") else [f"it had ended, host.conf is {look['conf']!r}"]


def is_installed(look):
    return [f"apt had ended, {name} is {words}" for name, words in look["packages"].items()
            if words != "install ok installed"]


INSTALL = Case("apt install", "prepared", APT, is_installed)
RUNNING = [
    Case("first start", "installed", AWAIT),
    # Docker flushes nothing: what it has just loaded may be damaged, and it would never know.
    Case("first start, images just loaded", "installed", AWAIT, seconds=READY_SECONDS,
         when="docker images -q | grep -q ."),
    # The VMM does not wait for the disk either: what we have on record has to be there.
    Case("first start, KMS just recorded", "installed", AWAIT, seconds=READY_SECONDS,
         when="grep -Eqs '\"vm_id\": \"[0-9a-f]{8}-' /var/lib/dstack/kms/deploy.json"),
    Case("dpkg-reconfigure", "running", RECONFIGURE, has_domain),
    Case("upgrade", "running", NEXT + APT, is_installed),
    Case("config set", "running", CONFIG, has_domain),
    Case("render", "running", f"{CONFIG} && rm -rf /run/dstack/vmm/vmm.toml && dstack-host render", has_domain),
    Case("at work", "running", "sleep infinity", seconds=6, again=False),
]
BROKEN = Case("a writer that does not wait for the disk", "running", CARELESS, has_domain, again=False)


def look(vm):
    return json.loads(vm.run(["python3", "-B", "/opt/rig/look.py"]).stdout)


def identity(vm):
    """What the KMS is known by; it must never be another one."""
    answer = json.loads(vm.run("curl -sk --max-time 20 https://127.0.0.1:9103/prpc/KMS.GetMeta").stdout)
    return {key: answer[key] for key in ("ca_cert", "k256_pubkey")}


def goes_on(vm):
    """What to read when something is not done in time."""
    try:
        return vm.run("dstack-host status; systemctl --no-pager --failed; systemctl list-jobs; docker ps -a; "
                      "journalctl -b --no-pager -o cat -u dstack-key-provider -u dstack-sim-images -u dstack-kms "
                      "-n 60; "
                      "journalctl -b --no-pager -p 4 -n 30", check=False, timeout=120).stdout[-6000:]
    except machine.VmError as error:
        return str(error)


def ready(vm):
    """Returns once the target is reached; fails with what status says."""
    waited = vm.run(["dstack-host", "await", "kms", "--timeout", READY_SECONDS], check=False,
                    timeout=READY_SECONDS + 30)
    if waited.code == 0:
        vm.run(settled(), timeout=READY_SECONDS)
    state = vm.run(["systemctl", "is-active", "dstack-host.target"], check=False).stdout.strip()
    if waited.code or state != "active":
        raise machine.VmError(f"dstack-host.target is {state}: {waited.stderr}{goes_on(vm)}")


def states(vm):
    """{part: state} of status."""
    return {part["id"]: part["state"] for part in json.loads(vm.run(["dstack-host", "status", "--json"],
                                                                    check=False).stdout)["parts"]}


def not_well(vm):
    return [f"{part} is {state}" for part, state in states(vm).items() if state not in ("ok", "off")]


class Cut:
    """One power cut of one case, on a disk of its own."""

    def __init__(self, case, place, saved, number, known=None):
        self.case, self.place, self.saved, self.known = case, place, saved, known
        self.directory = place / f"cut-{number}"
        self.bad, self.dpkg_faults, self.text = [], 0, ""

    def run(self, moment):
        """moment is in seconds from the start of the command; returns what is wrong."""
        self.directory.mkdir()
        disk = image.overlay(self.directory / "disk.qcow2", self.saved.disk, "qcow2")
        try:
            with self.saved.machine(self.directory, disk) as vm:
                vm.resume(self.saved.memory)
                self.before = look(vm)
                ended = self.cut(vm, moment)
                self.come_back(vm, ended)
        except (machine.VmError, *NO_ANSWER) as error:
            self.bad.append(str(error) or repr(error))
        finally:
            for path in self.directory.iterdir():
                path.unlink()
            self.directory.rmdir()
        return self.bad

    def cut(self, vm, moment):
        started = time.monotonic()
        job = vm.begin(self.case.command, env=ENV)
        if self.case.when:
            vm.run(f"until {{ {self.case.when}; }} 2>/dev/null; do sleep 0.2; done", timeout=moment)
        else:
            vm.lives(job, max(0.0, moment - (time.monotonic() - started)))
        ended = vm.ended(job)
        vm.cut()
        self.text = f"cut {time.monotonic() - started:.2f} s after its start{', it had ended' if ended else ''}"
        return ended and vm.answers[job]["code"] == 0

    def come_back(self, vm, ended):
        try:
            vm.boot()
            self.judge(vm, ended)
        except machine.VmError as error:
            raise machine.VmError(f"{error}\n{goes_on(vm)}") from None

    def judge(self, vm, ended):
        self.configure(vm)
        now = look(vm)
        self.bad += now["bad"]
        if ended and self.case.done:
            self.bad += self.case.done(now)
        for path, digest in self.before["secrets"].items():
            if now["secrets"].get(path) != digest:
                self.bad.append(f"{path} is not what it was")
        for path in self.before["kms"]:
            if path not in now["kms"]:
                self.bad.append(f"{path} is gone")
        self.judge_conf(now)
        if self.bad:
            return
        if self.case.again:
            vm.run(self.case.command, env=ENV, timeout=READY_SECONDS)
        ready(vm)
        self.bad += not_well(vm) + [f"{path} is left behind" for path in look(vm)["left"]]
        if self.known and identity(vm) != self.known:
            self.bad.append("the KMS is another one")

    def judge_conf(self, now):
        """Old or new, nothing between."""
        old, conf = self.before["conf"], now["conf"]
        if conf == old or not conf:
            if conf == "" or (old and not conf):
                self.bad.append(f"host.conf is {conf!r}")
            return
        expected = set((old or "").splitlines()) | {"DOMAIN=cut.example.org", "VMM_CID_START=3000"}
        if old and (set(conf.splitlines()) - expected or not conf.endswith("\n")
                    or len(conf.splitlines()) < len(old.splitlines())):
            self.bad.append(f"host.conf is neither old nor new: {conf!r}")

    def configure(self, vm):
        done = vm.run(["dpkg", "--configure", "-a"], check=False, env=ENV, timeout=300)
        # dpkg (1.21.22) does not flush its list of triggers; see tests/rig/packages.py
        if done.code and "triggers/Unincorp" in done.stdout + done.stderr:
            self.dpkg_faults += 1
            vm.run(["truncate", "-s", "0", "/var/lib/dpkg/triggers/Unincorp"])
            done = vm.run(["dpkg", "--configure", "-a"], check=False, env=ENV, timeout=300)
        # A package that was cut while it was unpacked waits to be given again: the same command does it.
        if done.code and "reinstreq" not in vm.run(["dpkg-query", "-W", "-f", "${Status}\\n"]).stdout:
            self.bad.append(f"dpkg --configure -a: exit status {done.code}: {(done.stdout + done.stderr)[-1500:]}")


class Saved:
    """A machine that was saved while it ran: its memory and the disk below, which takes no more writes."""

    def __init__(self, place, kernel, initrd, repo, disk, memory=None):
        self.place, self.kernel, self.initrd, self.repo = place, kernel, initrd, repo
        self.disk, self.memory = disk, memory

    def machine(self, directory, disk):
        return machine.Machine(directory, self.kernel, self.initrd, disk, self.repo)

    def next(self, vm, name):
        """Saves vm under a name and lets it go on, on a new disk above."""
        memory = self.place / f"{name}.memory"
        vm.save(memory)
        saved = Saved(self.place, self.kernel, self.initrd, self.repo, vm.disk, memory)
        vm.disk = image.overlay(self.place / f"after-{name}.qcow2", os.fspath(saved.disk), "qcow2")
        vm.resume(memory)
        return saved
