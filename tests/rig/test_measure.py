#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`measure` among QEMUs (simulated) and packages that misbehave, and with the real QEMU of this machine."""

import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent / "measure"))

import daemons
import hostile_qemu
import packages_of
import records
import vector_cases
from common import build, corner, tap

TOP = build.TOP
QEMU = "/usr/bin/qemu-system-x86_64"
SECONDS = 2       # that a QEMU gets
BEYOND = 8.0      # more than that, on a machine that does something else besides
UIDS = range(61184, 65520)
# What the one message has to say; those that are not here are ended by the clock.
SAYS = {
    "leaves": "this machine type is not supported", "crashes": "ended before it was read", "burns": "in time",
    "hangs": "in time", "silent": "in time", "floods_qtest": "more than it was asked for",
    "floods_lines": "asked for|no number|instead of OK", "floods_qmp": "more than it was asked for", "floods_stderr": "in time",
    "fails": "instead of OK", "out_of_order": "no number|not asked for", "answers_twice": "no number|not asked for|other bytes",
    "short_bytes": "other bytes", "bad_base64": "instead of OK", "no_number": "no number", "other_machine": "not a q35",
    "dma_error": "does not hand out", "many_files": "4294967295 files", "no_tables": "no etc/acpi/tables",
    "huge_tables": "bytes", "other_kernel": "not this kernel's", "huge_setup": "setup code has", "no_version": "its version",
    "ends_midway": "ended before", "lives_on": "in time", "unshares": "ended before it was read\n", "traces": "ended before it was read\n",
    **dict.fromkeys(("forks", "peeks", "writes", "connects", "signals", "eats_memory", "fills_scratch"), "achieved: nothing"),
}


class Rig:
    def __init__(self, program, work):
        self.program, self.work = program, pathlib.Path(work)
        self.image = self.work / "vectors/image"
        subprocess.run([str(TOP / "tests/tools/measure-vectors"), str(self.work / "vectors")], check=True)
        self.qemus = self.work / "qemus"
        self.qemus.mkdir()
        # Each whole: of what lies beside it a QEMU sees nothing.
        source = pathlib.Path(hostile_qemu.__file__).read_text()
        for name in hostile_qemu.NAMES:
            self.script(name, f"{source}\n\nmain({name!r})\n")
        for secret in (self.qemus / "secret", self.work / "secret"):
            secret.write_text("for all to read\n")
        for path in [self.qemus, *self.qemus.iterdir()]:
            path.chmod(0o755)

    def script(self, name, text):
        (self.qemus / name).write_text(f"#!/usr/bin/python3\n{text}")
        return self.qemus / name

    def run(self, *words, image=None, size=(2, 4096), timeout=120):
        argv = [self.program, "measure", "--image", str(image or self.image), "--vcpu", str(size[0]), "--memory", str(size[1]),
                "--timeout", str(SECONDS), *map(str, words)]
        started = time.monotonic()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        done.seconds = time.monotonic() - started
        return done


def tell(report, good, name, details=()):
    report.ok(good, name, () if good else details)


def strangers():
    """Processes of the users that jails have."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            # One that has ended and that nobody has asked for yet (this is the first process here) is no more.
            if path.stat().st_uid in UIDS and (path / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(path.name))
        except OSError:
            pass
    return found


def await_none(deadline=10.0):
    """Those that are being ended are still there for a moment."""
    until = time.monotonic() + deadline
    while strangers() and time.monotonic() < until:
        time.sleep(0.02)
    return strangers()


def places(rig):
    """What a reading could have left."""
    found = {}
    for top in (rig.image, rig.qemus, pathlib.Path("/dev/shm"), pathlib.Path("/var/tmp")):
        for path in sorted([top, *top.rglob("*")]):
            try:
                stat = path.lstat()
                found[str(path)] = (stat.st_mtime_ns if path.is_relative_to(rig.work) else 0, stat.st_size, stat.st_ino)
            except OSError:
                pass
    return found


def one_message(done, wanted):
    lines = done.stderr.splitlines()
    bad = []
    if len(lines) != 1 or not lines[0].startswith("dstack-host: error: "):
        bad.append(f"not one message: {done.stderr[:300]!r}")
    if not any(each in done.stderr for each in wanted.split("|")):
        bad.append(f"does not say {wanted!r}: {done.stderr[:300]!r}")
    if done.returncode != 1:
        bad.append(f"exit status {done.returncode}")
    if done.stdout:
        bad.append(f"a result: {done.stdout[:200]!r}")
    return bad


def test_hostile(report, rig):
    before = places(rig)
    done = rig.run("--qemu", rig.qemus / "good", "--json")
    good = done.returncode == 0 and json.loads(done.stdout)["registers"]["rtmr0"]
    tell(report, good, "the simulated QEMU, when it behaves, is read", [done.stderr])
    for name, wanted in SAYS.items():
        # These end by themselves, as soon as they have tried everything.
        seconds = 60 if wanted.startswith("achieved") else SECONDS
        done = rig.run("--qemu", rig.qemus / name, "--timeout", seconds)
        bad = one_message(done, wanted)
        if done.seconds > seconds + BEYOND:
            bad.append(f"took {done.seconds:.1f} s")
        if strangers():
            bad.append(f"left processes {strangers()}")
        report.counts["hostile QEMUs"] += 1
        tell(report, not bad, f"a QEMU that {name.replace('_', ' ')}: one message, nothing left", bad)
    after = places(rig)
    tell(report, before == after, "none of them left or changed a file",
              [f"{path}: {before.get(path)} {after.get(path)}" for path in {*before, *after}
               if before.get(path) != after.get(path)])


def test_others(report, rig):
    shell = rig.qemus / "shell"
    shell.write_text("#!/bin/sh\necho 'no such machine' >&2\nexit 1\n")
    shell.chmod(0o755)
    tell(report, not (bad := one_message(rig.run("--qemu", shell), "no such machine")), "a shell script", bad)
    (rig.qemus / "text").write_text("no program\n")
    tell(report, not (bad := one_message(rig.run("--qemu", rig.qemus / "text"), "cannot be run")), "a text file", bad)
    tell(report, not (bad := one_message(rig.run("--qemu", "/no/such"), "apt install qemu-system-x86")), "no QEMU at all", bad)
    tell(report, not (bad := one_message(rig.run("--qemu", "/dev/null"), "Invalid argument")), "a device", bad)
    test_places(report, rig)
    done = rig.run("--save", "/sys/x", "--qemu", rig.qemus / "good")
    tell(report, done.returncode == 1 and "cannot write /sys/x" in done.stderr, "a result that cannot be saved", [done.stderr])


def test_places(report, rig):
    """Where a QEMU may lie: in a home, of which nothing else is seen; not where the jail has something of its own."""
    (rig.work / "bin").mkdir()
    shutil.copy(rig.qemus / "peeks", rig.work / "bin/peeks")
    done = rig.run("--qemu", rig.work / "bin/peeks", "--timeout", 60)
    tell(report, not (bad := one_message(done, "achieved: nothing")), "a QEMU in ~/bin sees nothing of ~", bad)
    top = pathlib.Path("/tmp", f"dstack-rig-qemu-{os.getpid()}")
    shutil.copy(rig.qemus / "good", top)
    done = rig.run("--qemu", top, "--timeout", 60)
    top.unlink()
    tell(report, done.returncode == 0, "a QEMU directly in a directory of /", [done.stderr])
    root = rig.work / "other-root"
    shutil.copytree(rig.image, root / "image")
    shutil.copy(rig.qemus / "good", root / "libqemu")
    started = time.monotonic()
    done = subprocess.run([rig.program, "--root", str(root), "measure", "--image", "/image", "--vcpu", "2", "--memory", "4096",
                           "--qemu", "/libqemu", "--timeout", "30"], capture_output=True, text=True, check=False)
    bad = one_message(done, "cannot make a sandbox")
    if time.monotonic() - started > BEYOND:
        bad.append(f"waited {time.monotonic() - started:.1f} s for what was never started")
    tell(report, not bad, "a QEMU that cannot be placed in the jail is refused at once", bad)


def test_images(report, rig):
    def variant(name, file, data):
        directory = rig.work / name
        shutil.copytree(rig.image, directory)
        if data is None:
            (directory / file).unlink()
        elif isinstance(data, int):
            os.truncate(directory / file, data)
        else:
            (directory / file).write_bytes(data)
        return directory
    firmware = (rig.image / "ovmf.fd").read_bytes()
    for name, file, data, wanted in (
            ("no-firmware", "ovmf.fd", None, "firmware"), ("no-metadata-in-it", "ovmf.fd", bytes(65536), "not made for TDX"),
            ("cut", "ovmf.fd", firmware[:-4096], "not made for TDX"), ("kernel-100", "bzImage", 100, "only 100 bytes"),
            ("kernel-text", "bzImage", b"x" * 5000, "not a Linux kernel"), ("initrd-0", "initramfs.cpio.gz", 0, "initrd: empty"),
            ("initrd-3g", "initramfs.cpio.gz", 3 << 30, "initrd"), ("json", "metadata.json", b"[]", "metadata.json"),
            ("leads-out", "metadata.json", b'{"bios":"../x","kernel":"bzImage","initrd":"x","cmdline":""}', "names no bios")):
        done = rig.run("--qemu", rig.qemus / "good", image=variant(name, file, data))
        tell(report, not (bad := one_message(done, wanted)), f"an image: {name}", bad)


def test_packages(report, rig):
    for name, data, wanted in packages_of.hostile(rig.qemus / "good"):
        path = rig.work / f"{name}.deb"
        path.write_bytes(data())
        done = rig.run("--qemu", path, "--timeout", 60)
        bad = one_message(done, wanted)
        if strangers():
            bad.append(f"left processes {strangers()}")
        report.counts["packages"] += 1
        tell(report, not bad, f"a package: {name}", bad)
        path.unlink()


def await_stranger(process, deadline=20.0):
    until = time.monotonic() + deadline
    while time.monotonic() < until and process.poll() is None:
        if strangers():
            return True
        time.sleep(0.005)
    return False


def test_killed(report, rig):
    bad = []
    for turn in range(12 if tap.SOAK else 5):
        argv = [rig.program, "measure", "--image", str(rig.image), "--vcpu", "2", "--memory", "4096", "--qemu",
                str(rig.qemus / "hangs"), "--timeout", "60"]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            if turn and not await_stranger(process):
                bad.append(f"turn {turn}: no QEMU was started")
            process.send_signal(signal.SIGKILL if turn % 2 else signal.SIGINT)
            process.wait()
        if await_none():
            bad.append(f"turn {turn}: left {strangers()}")
    tell(report, not bad, "killed at any moment it leaves no process", bad)


def test_two(report, rig):
    argv = [rig.program, "measure", "--image", str(rig.image), "--vcpu", "2", "--memory", "4096", "--json", "--qemu"]
    both = [subprocess.Popen([*argv, str(rig.qemus / name)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for name in ("good", "good", "leaves")]
    results = [process.communicate(timeout=120) for process in both]
    good = [process.returncode for process in both] == [0, 0, 1] and results[0][0] == results[1][0]
    tell(report, good, "two candidates and one that leaves, at once", [str(results)[:500]])
    done = rig.run_compare(rig.qemus / "good", rig.qemus / "good")
    tell(report, done.returncode == 0 and "is the same" in done.stdout, "--compare of one with itself",
         [done.stdout, done.stderr])


def test_vectors(report, rig):
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False).stdout.split()[3:4]
    matching = [case for case in vector_cases.all_cases() if version and version[0].startswith(case["qemu"] + ".")]
    if not matching:
        report.skip("vectors of this machine's QEMU", f"there are none for {version or 'a QEMU that is not there'}")
    for case in matching:
        done = rig.run(*vector_cases.words_for(case), "--json", "--timeout", 60, size=(case["cpu_count"], case["memory_mb"]))
        bad = vector_cases.differences(case, json.loads(done.stdout)) if done.returncode == 0 else [done.stderr]
        tell(report, not bad, f"vector {case['name']} from the real QEMU, every event", bad)


def test_counts(report, rig):
    """What of a command line is measured, on the real QEMU."""
    if not os.path.exists(QEMU):
        report.skip("what counts", "no QEMU")
        return
    base = json.loads(rig.run("--json", "--timeout", 60).stdout)["registers"]
    for words, same in ((["-smbios", "type=1,manufacturer=dstack"], True), (["-name", "x"], True), (["-D", "/var/log/x"], True),
                        (["-netdev", "user,id=x"], True), (["-device", "virtio-net-pci,mac=52:54:00:11:22:33"], False),
                        (["-serial", "null"], False), (["-device", "pcie-root-port,id=r"], False)):
        done = rig.run("--json", "--timeout", 60, *[part for word in words for part in ("--arg", word)])
        good = done.returncode == 0 and (json.loads(done.stdout)["registers"] == base) == same
        tell(report, good, f"{' '.join(words)} {'never counts' if same else 'counts'}", [done.stderr])
    for size in ((3, 4096), (2, 4097)):
        done = rig.run("--json", "--timeout", 60, size=size)
        tell(report, json.loads(done.stdout)["registers"]["rtmr0"] != base["rtmr0"], f"{size[0]} vCPU and {size[1]} MiB count")
    for size, wanted in (((512, 4096), "512"), ((2, 4 << 20), "phys-bits|Address space|cannot|memory")):
        done = rig.run("--timeout", 60, size=size)
        good = done.returncode == 0 or not one_message(done, wanted)
        tell(report, good, f"{size[0]} vCPU and {size[1] >> 10} GiB: a result, or one message", [done.stderr])
    done = rig.run("--arg", "-device", "--arg", "vfio-pci,host=01:00.0")
    tell(report, not (bad := one_message(done, "vfio-pci")), "a device that has no substitute is named", bad)


def test_machines(report, rig):
    good = rig.qemus / "good"
    images = rig.work / "images"
    images.mkdir()
    shutil.copytree(rig.image, images / "dstack-0.5.5")
    image = images / "dstack-0.5.5"
    sleeper = subprocess.Popen(["sleep", "600"])
    listed = [daemons.machine(n, image, memory=4096 if n < 3 else 8192, qemu=str(good)) for n in range(1, 5)]
    listed.append(daemons.machine(5, image, qemu=str(good), more=["-device", "vfio-pci,host=01:00.0"]))
    lost = daemons.machine(6, image, qemu=str(good))
    lost["config"]["args"] = [word.replace("/bzImage", "/no-kernel") for word in lost["config"]["args"]]
    listed.insert(0, lost)
    listed[4]["state"]["pid"] = None  # cvm4
    supervisor = daemons.serve(daemons.SUPERVISOR, {"/list": {"data": listed}})
    vmm = daemons.serve(daemons.VMM, {"/prpc/Status": {"vms": [daemons.stopped(9, str(image))], "total": 1}})

    def ask(*words):
        return subprocess.run([rig.program, "measure", "--timeout", "30", *map(str, words)], capture_output=True, text=True,
                              timeout=120, check=False)
    done = ask("--all", "--json", "--qemu", good)
    found = {each["what"]: each["registers"] for each in json.loads(done.stdout)["machines"]} if done.stdout else {}
    tell(report, sorted(found) == ["cvm1", "cvm2", "cvm3", "cvm4", "cvm9"], "--all measures those that run and those that do not",
         [done.stdout[:300], done.stderr])
    tell(report, done.returncode == 1 and "cvm5: device vfio-pci" in done.stderr and "no-kernel: No such file" in done.stderr,
         "and names those that it cannot", [done.stderr])
    if found:
        tell(report, found["cvm1"] == found["cvm2"] != found["cvm3"] == found["cvm4"], "their sizes count")
        origins = {each["what"]: each["command_line"] for each in json.loads(done.stdout)["machines"]}
        wanted = {"cvm1": "running", "cvm2": "running", "cvm3": "running", "cvm4": "last", "cvm9": "assumed"}
        tell(report, origins == wanted, "of one that is stopped the command line is the last, or assumed, in JSON", [str(origins)])
        text = ask("--vm", "cvm9", "--qemu", good).stdout + ask("--vm", "cvm1").stdout
        tell(report, text.count("its command line is assumed") == 1, "and in words", [text])
    for name in ("cvm3", listed[3]["config"]["id"]):
        one = ask("--vm", name, "--json")
        tell(report, one.returncode == 0 and json.loads(one.stdout)["registers"] == found["cvm3"], f"--vm {name}", [one.stderr])
    done = ask("--vm", "nobody")
    tell(report, not (bad := one_message(done, 'no machine "nobody"')), "a machine that is not there", bad)
    done = ask("--vm", "cvm1", "--compare", "installed", good)
    tell(report, done.returncode == 0 and "this QEMU would open the disk of cvm1" in done.stdout, "--compare tells of its disk",
         [done.stdout, done.stderr])
    if os.path.exists(QEMU):
        done = ask("--vm", "cvm1", "--compare", "installed", QEMU)
        tell(report, done.returncode == 1 and "ACPI tables" in done.stdout and "this QEMU would not open the disk of cvm1" in done.stdout,
             "and when it would not open", [done.stdout, done.stderr])
    tell(report, sleeper.poll() is None, "what runs meanwhile runs on")
    sleeper.kill()
    sleeper.wait()
    supervisor.shutdown()
    os.unlink(daemons.SUPERVISOR)
    tell(report, not (bad := one_message(ask("--all"), "supervisor does not answer")), "no supervisor", bad)
    vmm.shutdown()
    os.unlink(daemons.VMM)


def test_records(report, rig):
    corner.mount("rig", "/var/lib", "tmpfs")
    records.test_all(lambda *words: tell(report, *words), rig.program, rig.work, rig.image, rig.qemus / "good")
    corner.unmount("/var/lib")


def quote_of(result):
    """Simulated: a quote of version 4 and an event log, of a TD that measured just that."""
    body = bytearray(48 + 584 + 64)
    struct.pack_into("<H", body, 0, 4)
    struct.pack_into("<I", body, 4, 0x81)
    body[48 + 136:48 + 184] = bytes.fromhex(result["registers"]["mrtd"])
    for i in range(3):
        body[48 + 328 + 48 * i:48 + 376 + 48 * i] = bytes.fromhex(result["registers"][f"rtmr{i}"])
    log = [{"imr": i, "event_type": 1, "digest": event["digest"], "event": event["name"], "event_payload": ""}
           for i in range(3) for event in result["events"][f"rtmr{i}"]]
    return json.dumps({"quote": body.hex(), "eventlog": json.dumps(log).encode().hex()})


def test_ways(report, rig):
    if not os.path.exists(QEMU):
        report.skip("other ways to measure", "no QEMU")
        return
    done = rig.run("--json", "--timeout", 60)
    result = json.loads(done.stdout)
    path = rig.work / "quote.json"
    path.write_text(quote_of(result))
    done = rig.run("--verify", path, "--timeout", 60)
    tell(report, done.returncode == 0 and done.stdout.count("equal") == 4, "--verify of a quote (simulated) that is equal",
         [done.stdout, done.stderr])
    done = rig.run("--verify", path, "--timeout", 60, size=(4, 4096))
    tell(report, done.returncode == 1 and "first difference: acpi-loader" in done.stdout,
         "--verify names the first event that differs", [done.stdout, done.stderr])
    path.write_text("{}")
    done = rig.run("--verify", path, "--timeout", 60)
    tell(report, not (bad := one_message(done, "no quote")), "--verify of something else", bad)
    test_nobody(report, rig, result)
    test_root(report, rig, result)


def test_td(report, rig):
    """A paused TD, on the stand-in that comes with dstack-host-sim: simulated tables, real formats."""
    place = pathlib.Path("/usr/local/games")  # below /usr, where such a program is seen with what it needs
    if not place.is_dir():
        report.skip("a paused TD", f"no {place} to put the stand-in at")
        return
    corner.mount(TOP / "src/sim", place, flags=corner.MS_BIND)
    standin = ["--qemu", place / "bin/qemu", "--timeout", 60]
    done = rig.run(*standin, "--td", "--json")
    plain = json.loads(rig.run(*standin, "--json").stdout)
    result = json.loads(done.stdout) if done.returncode == 0 else {}
    good = result.get("tdx") is True and result["simulated"] is True and plain["tdx"] is False and "simulated" not in plain
    tell(report, good, "a paused TD (simulated) is read, and both are said", [done.stdout[:300], done.stderr])
    registers = [name for name in result["registers"] if result["registers"][name] != plain["registers"][name]]
    tell(report, registers == ["rtmr0"], "its tables are not those of a machine without TDX", registers)
    path = rig.work / "td-quote.json"
    path.write_text(quote_of(result))
    done = rig.run(*standin, "--td", "--verify", path)
    good = done.returncode == 0 and done.stdout.count("equal") == 4 and "paused TD (simulated)" in done.stdout
    tell(report, good, "--verify of its quote (simulated): equal", [done.stdout, done.stderr])
    done = rig.run(*standin, "--verify", path)
    good = done.returncode == 1 and "acpi" in done.stdout and "read without TDX" in done.stdout and "equal\n" in done.stdout
    tell(report, good, "without --td it is told why RTMR0 cannot be", [done.stdout, done.stderr])
    saved = rig.work / "td-saved.json"
    done = rig.run(*standin, "--td", "--save", saved)
    for words, wanted in (((), 1), (("--td",), 0)):
        done = rig.run(*standin, *words, "--compare", saved, "installed")
        good = done.returncode == wanted and ("cannot be compared" in done.stderr) == bool(wanted)
        tell(report, good, f"--compare {' '.join(words)} with what was saved of a TD", [done.stdout, done.stderr])
    if os.path.exists(QEMU):
        done = rig.run("--td", "--timeout", 60)
        tell(report, not (bad := one_message(done, "QEMU")), "--td where there is no TDX: one message", bad)
    machine = daemons.machine(1, rig.image, qemu=str(place / "bin/qemu"))
    supervisor = daemons.serve(daemons.SUPERVISOR, {"/list": {"data": [machine]}})
    words = [rig.program, "measure", "--vm", "cvm1", "--td", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    good = done.returncode == 0 and json.loads(done.stdout)["tdx"] is True
    tell(report, good, "--td of a machine that runs, with its own arguments", [done.stderr])
    supervisor.shutdown()
    os.unlink(daemons.SUPERVISOR)
    corner.unmount(place)


# The real QEMU with --td's arguments but for those that need TDX.
WITHOUT_TDX = f"""#!/usr/bin/python3
import os, sys
words = [word.replace("confidential-guest-support=tdx,", "") for word in sys.argv]
words = ["rng-builtin,id=x" if word.startswith("tdx-guest,") else "qemu64,vendor=GenuineIntel" if word == "host" else word
         for word in words]
os.execv({QEMU!r}, words)
"""


def test_kvm(report, rig):
    """The jail that a TD gets: KVM, by the group of its node, and nothing else of /dev."""
    if not os.path.exists(QEMU) or not os.path.exists("/dev/kvm"):
        report.skip("KVM in the jail", "no QEMU or no /dev/kvm")
        return
    program, node = rig.qemus / "without-tdx", rig.work / "kvm"
    program.write_text(WITHOUT_TDX)
    program.chmod(0o755)
    os.mknod(node, 0o660 | 0o020000, os.stat("/dev/kvm").st_rdev)
    os.chown(node, 0, 61111)
    os.chmod(node, 0o660)
    corner.mount(node, "/dev/kvm", flags=corner.MS_BIND)
    done = rig.run("--qemu", program, "--td", "--json", "--timeout", 60)
    plain = json.loads(rig.run("--json", "--timeout", 60).stdout)
    if done.returncode and "KVM" in done.stderr:
        report.skip("KVM in the jail", done.stderr.strip())
    else:
        good = done.returncode == 0 and json.loads(done.stdout)["registers"] == plain["registers"]
        tell(report, good, "KVM in the jail, without TDX: what is read is the same", [done.stderr])
    done = rig.run("--qemu", rig.qemus / "writes", "--td", "--timeout", 60)
    tell(report, not (bad := one_message(done, "achieved: /dev\n")), "of /dev there is that node alone", bad)
    corner.unmount("/dev/kvm")
    node.unlink()


def test_nobody(report, rig, result):
    with tempfile.TemporaryDirectory(prefix="dstack-rig-") as directory:
        os.chmod(directory, 0o755)
        shutil.copytree(rig.image, f"{directory}/image")
        shutil.copy(rig.program, f"{directory}/program")
        for path in pathlib.Path(directory).rglob("*"):
            path.chmod(0o755)
        argv = [f"{directory}/program", "measure", "--image", f"{directory}/image", "--vcpu", "2", "--memory", "4096", "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, user=65534, group=65534,
                              extra_groups=[], cwd="/")
    if done.returncode and "user namespaces" in done.stderr:
        report.skip("nobody can measure, too", "no user namespaces here")
        return
    good = done.returncode == 0 and json.loads(done.stdout)["registers"] == result["registers"]
    tell(report, good, "nobody can measure, too", [done.stderr])
    if good:
        tell(report, json.loads(done.stdout)["sandbox"] == "caller" and result["sandbox"] == "own",
             "and it is told whose user QEMU had", [done.stdout])


def test_root(report, rig, result):
    root = rig.work / "root"
    (root / "usr").mkdir(parents=True)
    shutil.copytree(rig.image, root / "image")
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
    corner.mount("/usr", root / "usr", flags=corner.MS_BIND)
    done = subprocess.run([rig.program, "--root", str(root), "measure", "--image", "/image", "--vcpu", "2", "--memory", "4096",
                           "--json"], capture_output=True, text=True, check=False)
    corner.unmount(root / "usr")
    good = done.returncode == 0 and json.loads(done.stdout)["registers"] == result["registers"]
    tell(report, good, "--root DIR: its own QEMU and image", [done.stderr])


def test_sockets(report, rig):
    if not shutil.which("strace") or not os.path.exists(QEMU):
        report.skip("no socket is opened", "needs strace and QEMU")
        return
    out = rig.work / "trace"
    argv = ["strace", "-f", "-qq", "-o", str(out), "-e", "trace=socket,connect,bind,listen", rig.program, "measure", "--image",
            str(rig.image), "--vcpu", "2", "--memory", "4096", "--timeout", "60"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = [line.split(maxsplit=1) for line in out.read_text().splitlines()]
    # The program itself asks the kernel for its address, before there is a jail or a half.
    opened = [line for pid, line in lines if pid != lines[0][0] and "ENOSYS" not in line and line[:3] not in ("---", "+++")]
    tell(report, done.returncode == 0 and not opened, "no socket is opened during a reading", [done.stderr, *opened])


def compare(rig):
    def run(a, b):
        argv = [rig.program, "measure", "--image", str(rig.image), "--vcpu", "2", "--memory", "4096", "--compare", str(a), str(b)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    return run


def main():
    tap.need_root()
    # Users of this range are systemd's too: only what is started here may be seen.
    if os.getpid() != 1:
        os.execvp("unshare", ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child", sys.executable, *sys.argv])
    corner.enter()
    for path in ("/var/tmp", "/dev/shm", "/run"):
        corner.mount("rig", path, "tmpfs")
    report = tap.Report()
    with corner.workspace("2g") as work:
        rig = Rig(build.program(), work)
        rig.run_compare = compare(rig)
        for test in (test_hostile, test_others, test_images, test_packages, test_killed, test_two, test_vectors, test_counts,
                     test_machines, test_records, test_ways, test_td, test_kvm, test_sockets):
            test(report, rig)
    return report.finish(["hostile QEMUs", "packages"])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (build.BuildError, subprocess.SubprocessError, OSError) as problem:
        print(f"not ok - measure: {problem}")
        sys.exit(1)
