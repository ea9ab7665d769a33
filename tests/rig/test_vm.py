#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A whole machine in QEMU: install, real vsock, udev, limits, reboot, shutdown, and power cuts at random moments."""

import concurrent.futures
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

from common import build, corner, tap
from vm import cuts, image, machine, steps

sys.path.insert(1, str(build.TOP / "tests"))
from container import debs, host as containers  # noqa: E402 (path first)
import packages  # noqa: E402

CUTS = 6 * tap.SOAK or 3
# As many machines at once as the smallest CI machine has processors.
LANES = 2
NEXT_VERSION = "+rig1"
COUNTS = ("power cuts", "violations", "broken variants caught", "damaged by dpkg itself")


class Report(tap.Report):
    """The lanes tell at once, and a step that fails is a line, not an end."""

    lock = threading.Lock()

    def ok(self, good, name, details=()):
        with self.lock:
            return super().ok(good, f"vm: {name}", details)

    def step(self, name, step, *words):
        started = time.monotonic()
        try:
            bad = step(*words) or []
        except (machine.VmError, *cuts.NO_ANSWER) as error:
            bad = [str(error) or repr(error)]
        return self.ok(not bad, f"{name} ({time.monotonic() - started:.0f} s)", bad)


def built(place):
    """Directories of this tree's packages and of the same with a higher version."""
    this, following = place / "this", place / "next"
    named = os.environ.get("DSTACK_DEBS")
    if named:
        this = pathlib.Path(named)
    else:
        debs.build_debs(image.RELEASE, build.TOP, this)
    following.mkdir()
    version = build.sh("dpkg-deb", "-f", next(this.glob("dstack-host_*.deb")), "Version").strip()

    def raise_version(directory):
        control = pathlib.Path(directory, "DEBIAN/control")
        control.write_text(control.read_text().replace(version, version + NEXT_VERSION))

    for path in this.glob("*.deb"):
        if "-dbgsym_" not in path.name:
            packages.repacked(place, path, following / path.name, raise_version)
    debs.index(following)
    return this, following


class Test:
    def __init__(self, place, report):
        self.place, self.report = place, report
        self.pool = concurrent.futures.ThreadPoolExecutor(LANES)
        self.work, self.seconds, self.known = [], {}, None
        self.random = random.Random(tap.SEED)
        self.numbers = iter(range(1 << 30))

    def plan(self):
        """The cases of this run's power cuts."""
        if tap.SOAK:
            every = [cuts.INSTALL, *cuts.RUNNING]
            return [every[number % len(every)] for number in range(CUTS)]
        named = {case.name: case for case in cuts.RUNNING}
        always = [cuts.INSTALL, named.pop("config set"), named.pop("first start, images just loaded")]
        return always + self.random.sample(sorted(named.values(), key=lambda case: case.name), CUTS - len(always))

    def later(self, function, *words):
        self.work.append(self.pool.submit(self.guarded, function, *words))

    def guarded(self, function, *words):
        try:
            function(*words)
        except (machine.VmError, *cuts.NO_ANSWER) as error:
            self.report.ok(False, f"{function.__name__} {' '.join(getattr(word, 'name', '') for word in words)}",
                           [str(error) or repr(error)])

    def run(self):
        this, following = built(self.place)
        disk, kernel, initrd = image.image(this)
        repo = image.repository(self.place, ("this", this), ("next", following))
        first = image.overlay(self.place / "first.qcow2", disk, "raw")
        self.saved = {"new": cuts.Saved(self.place, kernel, initrd, repo, first)}
        self.chosen = self.plan()
        self.later(self.life)
        try:
            while self.work:
                self.work.pop(0).result()
        finally:
            self.pool.shutdown(wait=False, cancel_futures=True)
            machine.end_all()
            self.pool.shutdown()

    # -- the story of one machine -----------------------------------------------------------------

    def life(self):
        step = self.report.step
        with self.saved["new"].machine(self.place / "life", self.saved["new"].disk) as vm:
            if not step("Debian 12 boots, a root of its own udev and systemd", self.first_boot, vm):
                return
            self.saved["prepared"] = self.saved["new"].next(vm, "prepared")
            if not step("apt installs dstack-host and dstack-host-sim, one answer preseeded", self.install, vm):
                return
            self.saved["installed"] = self.saved["new"].next(vm, "installed")
            self.cut_all(cuts.INSTALL)
            if not step("dstack-host.target is reached, status is all well", self.first_start, vm):
                return
            step("real vsock: modules, VMM on vsock:2, QGS answers on vsock:2:4050", steps.vsock, vm)
            step("udev applied our SGX rules at install, after Intel's", steps.udev, vm)
            if not step("reboot: the target is reached by itself, the KMS is the same", self.reboot, vm):
                return
            step("udev applied our SGX rules at boot", steps.udev, vm)
            step("real vsock after the reboot", steps.vsock, vm)
            step("boot order: nothing failed, no cycle, the login waits for nothing of ours", steps.boot_order, vm)
            step("the reference host's tables hold", steps.tables, vm)
            step("limits of the units are the kernel's", steps.limits, vm)
            step("out of memory in the slice: the supervisor and its machines live", steps.out_of_memory, vm)
            self.saved["running"] = self.saved["new"].next(vm, "running")
        self.later(self.shut_down)
        self.later(self.broken_writer)
        self.later(self.broken_unit)
        for case in cuts.RUNNING:
            self.cut_all(case)

    def first_boot(self, vm):
        state = vm.boot()
        steps.prepare(vm)
        return [] if state == "running" else [f"systemd says {state}"]

    def install(self, vm):
        started = time.monotonic()
        vm.run(cuts.APT, env=cuts.ENV, timeout=cuts.READY_SECONDS)
        self.seconds[cuts.INSTALL.name] = time.monotonic() - started

    def first_start(self, vm):
        started = time.monotonic()
        cuts.ready(vm)
        self.seconds["first start"] = time.monotonic() - started
        self.known = cuts.identity(vm)
        return cuts.not_well(vm)

    def reboot(self, vm):
        seen = vm.boots
        vm.begin(["systemctl", "reboot"])
        vm.booted(seen)
        cuts.ready(vm)
        return [] if cuts.identity(vm) == self.known else ["the KMS is another one"]

    # -- from a saved state -----------------------------------------------------------------------

    def aside(self, state):
        """A machine that goes on from a saved state on a disk of its own."""
        name = f"aside-{next(self.numbers)}"
        disk = image.overlay(self.place / f"{name}.qcow2", self.saved[state].disk, "qcow2")
        vm = self.saved[state].machine(self.place / name, disk)
        vm.resume(self.saved[state].memory)
        return vm

    def shut_down(self):
        with self.aside("running") as vm:
            self.report.step("poweroff: guests are asked before anything they need stops", steps.shut_down, vm)

    def broken_unit(self):
        """A supervisor without OOMPolicy=continue has to be noticed."""
        with self.aside("running") as vm:
            vm.run(["mkdir", "-p", "/run/systemd/system/dstack-supervisor.service.d"])
            vm.write("/run/systemd/system/dstack-supervisor.service.d/rig.conf", "[Service]\nOOMPolicy=stop\n")
            vm.run(["systemctl", "daemon-reload"])
            self.caught("a supervisor with OOMPolicy=stop", steps.out_of_memory(vm), f"{steps.SUPERVISOR} is ")

    def broken_writer(self):
        """One that does not wait for the disk. Now and then the kernel writes by itself just then: it has three tries."""
        for _ in range(3):
            cut = cuts.Cut(cuts.BROKEN, self.place, self.saved["running"], next(self.numbers))
            bad = cut.run(cuts.READY_SECONDS)
            if bad:
                break
        self.caught(cuts.BROKEN.name, bad, "it had ended, host.conf is ")

    def caught(self, name, bad, text):
        """By the complaint that is meant, not by any."""
        seen = [complaint for complaint in bad if complaint.startswith(text)]
        self.report.counts["broken variants caught"] += bool(seen)
        self.report.ok(seen, f"the rig catches {name}", seen[:1] or bad)

    def cut_all(self, case):
        """Queues this run's cuts of a case."""
        for _ in range(self.chosen.count(case)):
            # drawn here, in the order of the story: the same seed gives the same shares whatever the lanes do
            self.later(self.cut, case, self.random.random())

    def duration(self, case):
        """Of the undisturbed command, in seconds."""
        if case.seconds:
            return case.seconds
        if case.name not in self.seconds:
            with self.aside(case.start) as vm:
                started = time.monotonic()
                vm.run(case.command, env=cuts.ENV, timeout=cuts.READY_SECONDS)
                self.seconds[case.name] = time.monotonic() - started
        return self.seconds[case.name]

    def cut(self, case, share):
        started = time.monotonic()
        known = self.known if case.start == "running" else None
        moment = case.seconds if case.when else share * cuts.BEYOND * self.duration(case)
        cut = cuts.Cut(case, self.place, self.saved[case.start], next(self.numbers), known)
        bad = cut.run(moment)
        self.report.counts["power cuts"] += 1
        self.report.counts["violations"] += len(bad)
        self.report.counts["damaged by dpkg itself"] += cut.dpkg_faults
        self.report.ok(not bad, f"power cut: {case.name}, {cut.text or f'at {moment:.2f} s'} "
                       f"({time.monotonic() - started:.0f} s)", bad)


def main():
    tap.need_root()
    report = Report()
    why = machine.missing()
    if why:
        report.skip("virtual machines", why)
        return report.finish(COUNTS)
    corner.enter()
    with tempfile.TemporaryDirectory(prefix="dstack-vm-", dir="/var/tmp") as place:
        test = Test(pathlib.Path(place), report)
        try:
            test.run()
        except containers.ContainerError as error:
            report.skip("virtual machines", f"the image or the packages cannot be built here: {error}")
    code = report.finish(COUNTS)
    print(f"# vm: {report.counts['power cuts']} power cuts, {report.counts['violations']} violations", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
