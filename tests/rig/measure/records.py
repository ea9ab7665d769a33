# SPDX-License-Identifier: Apache-2.0
"""What sealed machines measure is put on record, and `check` compares it with what lies on disk: a life of such a record."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import daemons

RECORDS, KEPT = pathlib.Path("/var/lib/dstack/kms/measured"), pathlib.Path("/run/dstack/measured")
PATIENCE = 8.0  # beyond --timeout, on a machine that does something else besides


class Host:
    """Of which `check` sees no more than it needs: a supervisor with one machine that runs, a VMM with one that does not."""

    def __init__(self, program, work, image, qemu):
        self.program, self.image, self.qemu = program, pathlib.Path(work) / "record-image", pathlib.Path(work) / "record-qemu"
        shutil.copytree(image, self.image)
        self.put(qemu.read_bytes())
        self.former = pathlib.Path(work) / "former-qemu"
        shutil.copy(self.qemu, self.former)
        self.listed = []
        self.process = None
        self.vmm = daemons.serve(daemons.VMM, {"/prpc/Status": {"vms": [daemons.stopped(9, str(self.image))], "total": 1}})
        self.supervisor = daemons.serve(daemons.SUPERVISOR, {"/list": {"data": self.listed}})
        self.start()

    def put(self, data):
        """Another file in its place, as dpkg does it."""
        new = self.qemu.with_suffix(".dpkg-new")
        new.write_bytes(data)
        new.chmod(0o755)
        new.rename(self.qemu)

    def start(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = subprocess.Popen(["sleep", "600"])
        machine = daemons.machine(1, self.image, qemu=str(self.qemu))
        machine["state"]["pid"] = self.process.pid
        self.listed[:] = [machine]
        self.id = machine["config"]["id"]
        self.directory = pathlib.Path("/var/lib/dstack/vm") / self.id
        self.directory.mkdir(parents=True, exist_ok=True)

    def end(self):
        self.process.kill()
        self.process.wait()
        for server, path in ((self.vmm, daemons.VMM), (self.supervisor, daemons.SUPERVISOR)):
            server.shutdown()
            os.unlink(path)

    def run(self, *words):
        return subprocess.run([self.program, *map(str, words)], capture_output=True, text=True, timeout=120, check=False)

    def record(self, *words, name="cvm1"):
        return self.run("measure", "--vm", name, "--record", *words)

    def check(self, timeout=30):
        started = time.monotonic()
        done = self.run("check", "measure.disks", "--json", "--timeout", timeout)
        row = json.loads(done.stdout)["checks"][0]
        row["seconds"], row["exit"] = time.monotonic() - started, done.returncode
        return row


def refuses(done, wanted):
    return [] if done.returncode == 1 and wanted in done.stderr and not done.stdout else [done.stdout, done.stderr]


def test_record(tell, host):
    row = host.check()
    tell(row["outcome"] == "none" and row["exit"] == 0, "nothing is sealed: skipped", [str(row)])
    done = host.record()
    path = RECORDS / f"{host.id}.json"
    tell(done.returncode == 0 and path.stat().st_mode & 0o777 == 0o600, "--record of a machine that runs", [done.stderr])
    before = path.read_bytes()
    done = host.record()
    tell(done.returncode == 0 and "is on record" in done.stdout and path.read_bytes() == before, "once more changes nothing",
         [done.stdout, done.stderr])
    row = host.check()
    tell(row["outcome"] == "same" and "cvm1" in row["found"], "it would open again", [str(row)])
    kept = KEPT / f"{host.id}.json"
    text = kept.read_text()
    kept.write_text(text.replace(json.loads(text)["registers"]["rtmr1"], "0" * 96))
    row = host.check()
    tell(row["outcome"] == "other-image", "what was read is kept, and not read again while no file changes", [str(row)])
    kept.unlink()
    tell(not (bad := refuses(host.record(name="cvm9"), "it does not run")), "--record of one that is stopped", bad)
    tell(not (bad := refuses(host.record(name="nobody"), "no machine")), "--record of one that is not there", bad)


def test_another_qemu(tell, host):
    good = host.former.read_bytes()
    host.put(good.replace(b'b"T" * 1000', b'b"U" * 1000').replace(b'"minor": 2', b'"minor": 3'))
    row = host.check()
    good_words = "would not open the disk of cvm1: the ACPI tables differ" in (row["cause"] or "")
    tell(row["outcome"] == "other-qemu" and row["exit"] == 1 and good_words and "9.3.1" in row["found"],
         "another QEMU in place: it would not open, and what differs is named", [str(row)])
    tell(not (bad := refuses(host.record(), "has changed since the machine was started")),
         "--record does not take what is on disk for what runs", bad)
    path = RECORDS / f"{host.id}.json"
    moved = path.rename(path.with_suffix(".moved"))
    done = host.record("--qemu", host.former)
    tell(done.returncode == 0 and json.loads(path.read_text())["registers"] == json.loads(moved.read_text())["registers"],
         "unless the operator names the QEMU that runs", [done.stderr])
    host.start()
    tell(not (bad := refuses(host.record(), "another is on record, which stays (the ACPI tables differ)")),
         "after a restart with another QEMU the record stays", bad)
    row = host.check()
    tell(row["outcome"] == "other-qemu", "and so does the verdict", [str(row)])
    host.put(good)
    row = host.check()
    tell(row["outcome"] == "same" and row["exit"] == 0, "the former one put back: it would open again", [str(row)])


def test_troubles(tell, host):
    initrd, kernel = host.image / "initramfs.cpio.gz", host.image / "bzImage"
    data = initrd.read_bytes()
    initrd.write_bytes(data + b"x")
    row = host.check()
    tell(row["outcome"] == "other-image" and "the initrd differs" in row["cause"], "another image in place", [str(row)])
    initrd.write_bytes(data)
    kernel.rename(kernel.with_suffix(".gone"))
    row = host.check()
    tell(row["outcome"] == "unknown" and "bzImage: No such file" in row["cause"], "a file of the image is gone", [str(row)])
    kernel.with_suffix(".gone").rename(kernel)
    good = host.qemu.read_bytes()
    host.put(b"#!/usr/bin/python3\nimport time\ntime.sleep(600)\n")
    row = host.check(timeout=1)
    tell(row["outcome"] == "late" and row["seconds"] < 1 + PATIENCE, "a QEMU that hangs: check ends in time, and says so", [str(row)])
    host.put(b"#!/bin/sh\necho no >&2\nexit 1\n")
    row = host.check()
    tell(row["outcome"] == "unknown" and "ended before it was read" in row["cause"], "one that leaves", [str(row)])
    host.put(good)
    path = RECORDS / f"{host.id}.json"
    text = path.read_text()
    for name, damaged in (("not JSON", "{"), ("cut", text[:400]), ("of no machine", text.replace('"machine"', '"x"'))):
        path.write_text(damaged)
        row = host.check()
        tell(row["outcome"] == "unknown" and str(path) in row["cause"], f"a record that is {name}", [str(row)])
    path.write_text(text)
    tell(host.check()["outcome"] == "same", "all put back")
    host.directory.rmdir()
    tell(host.check()["outcome"] == "none", "of a machine that was removed nothing is said")
    (host.directory / "shared").mkdir(parents=True)
    path.rename(path.with_suffix(".away"))
    (host.directory / "shared/app-compose.json").write_text('{"local_key_provider_enabled": true}')
    row = host.check()
    tell(row["outcome"] == "no-record" and host.id in row["cause"], "a sealed machine that is not on record is named", [str(row)])


def test_all(tell, program, work, image, qemu):
    host = Host(program, work, image, qemu)
    try:
        for test in (test_record, test_another_qemu, test_troubles):
            test(tell, host)
    finally:
        host.end()
