# SPDX-License-Identifier: Apache-2.0
"""What only a whole machine can show: real vsock, udev, limits, boot order, shutdown. Each returns what is wrong."""

import json
import sys

from common import build

from . import cuts

sys.path.insert(2, str(build.TOP / "tests/host"))
import reference  # noqa: E402 (path first)

# Intel's packages bring such a rule; ours has to have the last word.
INTEL_RULE = 'SUBSYSTEM=="misc", KERNEL=="sgx_enclave", MODE="0666", SYMLINK+="sgx/enclave"\n'
ANSWERS = ("dstack-host dstack-host/domain string demo.example.org\n"
           "dstack-host dstack-host/settings string VMM_HOST_API_ADDRESS=vsock:2 QGS_ADDRESS=vsock:2:4050\n")
# As the real QGS: it takes any CID, so it can be reached by the host's.
QGS_DROP_IN = '[Service]\nEnvironment="QGS_OPTIONS=--vsock 0xffffffff:4050"\n'
SUPERVISOR = "dstack-supervisor.service"
GROUP = f"/sys/fs/cgroup/dstackcvm.slice/{SUPERVISOR}"
HOST_API = """import socket
s = socket.socket(socket.AF_VSOCK)
s.settimeout(20)
s.connect((2, 10000))
s.sendall(b"GET /api/Info?json HTTP/1.0\\r\\n\\r\\n")
print(s.recv(4096).decode())
"""
# It moves into the supervisor's group, as a virtual machine's QEMU is there, and takes more than there is.
HOG = f"echo $$ > {GROUP}/cgroup.procs && exec python3 -c 'x = bytearray(512 << 20); print(len(x))'"


def prepare(vm):
    """Before anything of ours is there; the SGX names are the test's module's, without any function."""
    vm.run("systemctl disable --now apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer; apt-get -qq update")
    vm.write("/etc/modules-load.d/rigsgx.conf", "rigsgx\n")
    vm.write("/etc/udev/rules.d/91-sgx-enclave.rules", INTEL_RULE)
    vm.run(["mkdir", "-p", "/etc/systemd/system/dstack-sim-qgsd.service.d"])
    vm.write("/etc/systemd/system/dstack-sim-qgsd.service.d/rig.conf", QGS_DROP_IN)
    vm.write("/root/editor", cuts.EDITOR, mode=0o755)
    vm.run("udevadm control --reload && modprobe rigsgx && udevadm settle && sync")
    vm.run(["debconf-set-selections"], input=ANSWERS)


def vsock(vm):
    bad = []
    modules = vm.run(["lsmod"]).stdout
    bad += [f"module {name} is not loaded" for name in ("vhost_vsock", "vsock_loopback") if name not in modules]
    if vm.run(["test", "-c", "/dev/vhost-vsock"], check=False).code:
        bad.append("no /dev/vhost-vsock")
    listening = vm.run(["ss", "-H", "--vsock", "-l"]).stdout
    bad += [f"nobody listens on vsock {at}: {listening}" for at in ("2:10000", "*:4050") if at not in listening]
    shown = json.loads(vm.run(["dstack-host", "status", "--json"], check=False).stdout)["parts"]
    bad += [f"QGS: {part}" for part in shown if part["id"] == "qgsd" and
            (part["state"], part["address"]) != ("ok", "vsock:2:4050")]
    answer = vm.run(["python3", "-c", HOST_API], check=False)
    if not answer.stdout.startswith("HTTP/1."):
        bad.append(f"the VMM does not answer on vsock 2:10000: {answer.stdout} {answer.stderr}")
    return bad


def udev(vm):
    bad = []
    for name, group in (("enclave", "sgx"), ("provision", "sgx_prv"), ("vepc", "sgx")):
        path = f"/dev/sgx_{name}"
        shown = vm.run(["stat", "-c", "%a %U %G %t", path], check=False).stdout.split()
        # 10 is the major number of misc devices: the kernel's node, not the simulation's (1)
        if shown != ["660", "root", group, "a"]:
            bad.append(f"{path}: {shown}")
        link = vm.run(["readlink", "-f", f"/dev/sgx/{name}"], check=False).stdout.strip()
        if name != "vepc" and link != path:
            bad.append(f"/dev/sgx/{name} leads to {link}")
    return bad


def tables(vm):
    """The reference host's, as in the containers."""
    try:
        reference.check_tables(vm)
    except AssertionError as error:
        return [str(error)]
    return cuts.not_well(vm)


def boot_order(vm):
    """The login did not wait for the host's slow units, and no unit has failed."""
    failed = vm.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout.strip()
    bad = [f"failed: {failed}"] if failed else []
    multi, slow = (int(vm.run(["systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", unit]).stdout)
                   for unit in ("multi-user.target", "dstack-host.target"))
    if not 0 < multi < slow:
        bad.append(f"multi-user.target after {multi} us, dstack-host.target after {slow}")
    cycles = vm.run("journalctl -b --no-pager -q -g 'ordering cycle|Breaking' _PID=1", check=False).stdout.strip()
    return bad + ([cycles] if cycles else [])


def main_pid(vm, unit):
    return vm.run(["systemctl", "show", "-P", "MainPID", unit]).stdout.strip()


def limits(vm):
    """What the units ask for is what the kernel has."""
    bad = []
    for unit, files in ((SUPERVISOR, "1048576"), ("dstack-vmm.service", "65536")):
        row = vm.run(f"grep 'Max open files' /proc/{main_pid(vm, unit)}/limits").stdout.split()
        if row[3:5] != [files, files]:
            bad.append(f"{unit}: {row}")
    score = vm.run(["cat", f"/proc/{main_pid(vm, 'dstack-guard.service')}/oom_score_adj"]).stdout.strip()
    if score != "-900":
        bad.append(f"dstack-guard.service: oom_score_adj {score}")
    group = vm.run(["cat", f"/proc/{main_pid(vm, SUPERVISOR)}/cgroup"]).stdout.strip()
    if not group.endswith(f"/dstackcvm.slice/{SUPERVISOR}"):
        bad.append(f"{SUPERVISOR} is in {group}")
    members = vm.run(["cat", f"{GROUP}/cgroup.procs"]).stdout.split()
    if len(members) < 2:
        bad.append(f"the supervisor's group has {members}, and a virtual machine runs")
    return bad


def out_of_memory(vm):
    """The slice's limit holds, what grows beyond it ends, and nothing else does."""
    before = (main_pid(vm, SUPERVISOR), vm.run(["cat", f"{GROUP}/cgroup.procs"]).stdout.split())
    # of the slice, which counts what is below it, too, and is there whatever became of the unit
    events = "grep '^oom_kill ' /sys/fs/cgroup/dstackcvm.slice/memory.events"
    count = vm.run(events).stdout
    vm.run(["systemctl", "set-property", "--runtime", "dstackcvm.slice", "MemoryMax=300M", "MemorySwapMax=0"])
    bad = []
    limit = vm.run(["cat", "/sys/fs/cgroup/dstackcvm.slice/memory.max"]).stdout.strip()
    if limit != str(300 << 20):
        bad.append(f"memory.max of the slice is {limit}")
    hog = vm.run(HOG, check=False)
    if hog.code == 0 or vm.run(events, check=False).stdout == count:
        bad.append(f"512 MiB went into a slice of 300: exit status {hog.code}")
    # systemd has heard of it once the next job for the unit's own manager is through
    vm.run("systemctl daemon-reload; systemctl show -P Result " + SUPERVISOR)
    state = vm.run(["systemctl", "is-active", SUPERVISOR], check=False).stdout.strip()
    after = (main_pid(vm, SUPERVISOR), vm.run(f"cat {GROUP}/cgroup.procs", check=False).stdout.split())
    if state != "active" or after != before:
        bad.append(f"{SUPERVISOR} is {state}: processes {before} became {after}")
    vm.run(["systemctl", "set-property", "--runtime", "dstackcvm.slice", "MemoryMax=infinity"])
    return bad


def shut_down(vm):
    """Guests are asked before anything that they need stops: the order in the journal of that boot."""
    boot = vm.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip().replace("-", "")
    vm.begin(["systemctl", "poweroff"])
    vm.gone(180)
    vm.boot()
    rows = vm.run(["journalctl", "-q", "-o", "json", "--output-fields=MESSAGE", "_BOOT_ID=" + boot]).stdout
    messages = [str(json.loads(row).get("MESSAGE")) for row in rows.splitlines()]

    def last(text):
        found = [number for number, message in enumerate(messages) if text in message]
        return found[-1] if found else None

    asked = last("virtual machine to shut down")
    over = last("Stopped dstack-drain.service")
    if asked is None or over is None or not asked < over:
        return [f"no drain in that journal: asked {asked}, over {over}"] + messages[-30:]
    bad = []
    for unit in ("dstack-vmm.service", SUPERVISOR, "docker.service", "dstack-guard.service"):
        stopping = last(f"Stopping {unit}")
        if stopping is None or stopping < over:
            bad.append(f"{unit} was stopped at line {stopping}, the drain was over at {over}")
    return bad
