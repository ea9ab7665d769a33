#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of virtual machines when an operator drains, stops the guard, removes the package or powers off."""

import json
import time

from life import Story, built, main, settled

PORT = 10051
VMM = ("curl -sf --unix-socket /run/dstack/vmm/vmm.sock -H \"Authorization: Bearer $(cat /etc/dstack/secrets/"
       "vmm-internal-token)\" 'http://x/prpc/{}?json' -d '{{\"id\":\"{}\"}}'")
# On a terminal, for each three words: waits for the first, runs the second ($DRAIN is the drain), types the third.
TYPIST = """
import os, pty, subprocess, sys
pid, fd = pty.fork()
if not pid:
    os.execvp("dstack-host", ["dstack-host", "drain"])
seen, at = b"", 0
for wanted, meanwhile, answer in zip(*[iter(sys.argv[1:])] * 3):
    while seen.find(wanted.encode(), at) < 0:
        seen += os.read(fd, 4096)
    at = seen.find(wanted.encode(), at) + len(wanted)
    subprocess.run(meanwhile, shell=True, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DRAIN": str(pid)})
    os.write(fd, answer.encode() + b"\\n" if answer else b"")
try:
    while True:
        seen += os.read(fd, 4096)
except OSError:
    pass
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
QUESTION, ASKING = "Type yes to go on: ", "asking 1 virtual machine to shut down"
APP = {"name": "app", "image": "dstack-0.5.5", "vcpu": 1, "memory": 1024, "disk_size": 1, "stopped": True,
       "compose_file": json.dumps({"manifest_version": 2, "name": "app", "runner": "docker-compose",
                                   "docker_compose_file": "services: {}\n", "allowed_envs": []})}
GATE = "/run/systemd/system/dstack-host-start.service.d/gate.conf"


def settle(box):
    box.run(settled(), timeout=180)


def running(box):
    """{name: pid} by the supervisor."""
    shown = box.run(["curl", "-s", "--unix-socket", "/run/dstack/supervisor.sock", "http://localhost/list"]).stdout
    return {row["config"]["name"]: row["state"]["pid"] for row in json.loads(shown)["data"]
            if row["state"]["status"] == "running"}


def until(wanted, seconds=20):
    """Asks again: the VMM answers when a signal was sent, nobody tells when it has worked."""
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, f"not after {seconds} s"


def typist(box, *words):
    return box.run(["python3", "-c", TYPIST, *words], check=False, timeout=90)


def ended(box, name, vm):
    """Commands: the VMM stops it, and it is gone."""
    return f"{VMM.format('StopVm', vm)}; tail --pid={running(box)[name]} -s 0.1 -f /dev/null"


def active(box, unit):
    return box.run(["systemctl", "is-active", unit], check=False).stdout.strip() == "active"


def table(box):
    return box.run("nft list table inet dstack_guard", check=False).stdout


def tell():
    story = Story("guests", "bookworm")
    seen = {}

    @story.step("a host with a KMS")
    def _(box):
        box.write("/etc/systemd/journald.conf.d/keep.conf", "[Journal]\nStorage=persistent\n")
        box.run("mkdir -p /var/log/journal; systemctl restart systemd-journald")
        box.add_repo(built("bookworm"))
        box.preseed({"dstack-host/domain": "demo.example.org", "dstack-host/settings": f"VMM_HOST_API_PORT={PORT}"})
        box.apt_install("dstack-host", "dstack-host-sim", "curl", timeout=600)
        settle(box)
        box.run(["dstack-host", "await", "kms"], timeout=120)
        seen["vm"] = box.run(["ls", "/var/lib/dstack/vm"]).stdout.strip()
        assert list(running(box)) == ["kms"]

    @story.step("who waits for the host to settle waits for apply itself", independent=True)
    def _(box):
        box.write(GATE, "[Service]\nExecStart=\nExecStart=/bin/sh -c 'read x </run/gate; exec /usr/sbin/dstack-host "
                  "apply'\n")
        box.run("mkfifo /run/gate; systemctl daemon-reload; systemctl stop dstack-registry; "
                "systemctl start dstack-host-start")
        early = box.run(["timeout", "3", *settled()], check=False)
        assert early.code == 124, f"it did not wait: {early}"
        box.run("echo go >/run/gate")
        settle(box)
        assert active(box, "dstack-registry.service")
        box.run(f"rm {GATE} /run/gate; systemctl daemon-reload")

    @story.step("a guard that is stopped leaves its table while a guest runs; it is taken over by the next")
    def _(box):
        assert "flags owner" in table(box)
        box.run(["systemctl", "stop", "dstack-guard.service"])
        left = table(box)
        assert "goto guests" in left and "flags owner" not in left, left
        shown = box.run(["dstack-host", "status"], check=False)
        assert shown.code and "fences virtual machines" in " ".join(shown.stdout.split()), shown.stdout
        checked = json.loads(box.run(["dstack-host", "check", "guard", "--json"], check=False).stdout)
        row = next(row for row in checked["checks"] if row["id"] == "guard")
        assert row["status"] == "fail" and row["fix"] == "sudo systemctl start dstack-guard.service", row
        box.run(["systemctl", "start", "dstack-guard.service"])
        assert "flags owner" in table(box)
        box.run(["systemctl", "restart", "dstack-guard.service"])
        assert "flags owner" in table(box)

    @story.step("a guest that is started while drain asks is not ended without a second yes")
    def _(box):
        box.run(VMM.format("StopVm", seen["vm"]))
        until(lambda: not running(box))
        typed = typist(box, QUESTION, VMM.format("StartVm", seen["vm"]), "yes", QUESTION, "true", "no")
        assert typed.code == 1 and "every virtual machine: none runs." in typed.stdout, typed
        assert "Started meanwhile: kms." in typed.stdout and "nothing was done" in typed.stdout, typed
        assert list(running(box)) == ["kms"] and active(box, "dstack-supervisor.service")

    @story.step("a no after guests were shut down names them, and what it says starts them again")
    def _(box):
        made = box.run(VMM.replace('{{"id":"{}"}}', "{}").format("CreateVm", json.dumps(APP))).stdout
        seen["app"] = json.loads(made)["id"]
        typed = typist(box, QUESTION, "true", "yes", ASKING, f"kill -STOP $DRAIN; {ended(box, 'kms', seen['vm'])}; "
                       f"{VMM.format('StartVm', seen['app'])}; kill -CONT $DRAIN", "", QUESTION, "true", "no")
        assert typed.code == 1 and "Started meanwhile: app." in typed.stdout, typed
        assert "marked to start again: kms; to start it now: sudo systemctl restart dstack-vmm" in typed.stdout, typed
        assert json.loads(box.read(f"/var/lib/dstack/vm/{seen['vm']}/vm-state.json"))["started"]
        box.run(["systemctl", "restart", "dstack-vmm.service"])
        until(lambda: set(running(box)) == {"kms", "app"})

    @story.step("a guest that comes back while drain asks is asked again")
    def _(box):
        box.run(ended(box, "app", seen["app"]))
        typed = typist(box, QUESTION, f"{ended(box, 'kms', seen['vm'])}; {VMM.format('StartVm', seen['app'])}", "yes",
                       QUESTION, VMM.format("StartVm", seen["vm"]), "yes")
        assert not typed.code and "Started meanwhile: app." in typed.stdout, typed
        assert typed.stdout.count(ASKING) == 2, typed
        box.run(["dstack-host", "drain", "--end"])
        settle(box)
        until(lambda: set(running(box)) == {"kms", "app"})
        box.run(f"{ended(box, 'app', seen['app'])}; {VMM.format('RemoveVm', seen['app'])}")

    @story.step("drain --yes names whom it ends")
    def _(box):
        said = box.run(["dstack-host", "drain", "--yes"], timeout=120)
        assert "ending kms" in said.stdout + said.stderr, said
        assert active(box, "dstack-drained.target")

    @story.step("a drained host stays so, whatever applies, and says how that ends")
    def _(box):
        box.run(["systemctl", "start", "dstack-host-start.service"])
        settle(box)
        box.apt("install", "--reinstall", "dstack-host-services")
        settle(box)
        up = box.run(["dstack-host", "up", "--yes"], check=False, timeout=60)
        assert "stays drained" in up.stderr and "this host" in up.stdout and "drained since" in up.stdout, up
        settle(box)
        assert active(box, "dstack-drained.target") and not active(box, "dstack-supervisor.service")
        shown = box.run(["dstack-host", "status"], check=False)
        assert "drained since" in shown.stdout, shown.stdout
        assert shown.stdout.rstrip().endswith("Next: sudo dstack-host drain --end"), shown.stdout
        assert json.loads(box.run(["dstack-host", "status", "--json"], check=False).stdout)["drained"]

    @story.step("await names what has failed first, not the port of what waits for it", independent=True)
    def _(box):
        box.run(["docker", "stop", "gramine-sealing-key-provider"])
        said = box.run(["dstack-host", "await", "kms", "--timeout", "0"], check=False, timeout=60)
        assert said.code == 1 and "for gramine-sealing-key-provider: " in said.stderr, said
        assert "container is exited" in said.stderr and "443" not in said.stderr, said
        box.run(["docker", "start", "gramine-sealing-key-provider"])

    @story.step("drain --end starts it, guests and all, beside an apply that still found it drained")
    def _(box):
        box.write(GATE, "[Service]\nExecStart=\nExecStart=/bin/sh -c '/usr/sbin/dstack-host apply; echo >/run/seen; "
                  "read x </run/gate'\n")
        box.run("mkfifo /run/seen /run/gate; systemctl daemon-reload; systemctl start dstack-host-start; cat /run/seen; "
                f"rm {GATE} /run/seen /run/gate; systemctl daemon-reload")
        box.run(["dstack-host", "drain", "--end"])
        settle(box)
        box.run(["dstack-host", "await", "kms"], timeout=120)
        assert list(running(box)) == ["kms"] and not active(box, "dstack-drained.target")
        assert "not drained" in box.run(["dstack-host", "drain", "--end"]).stderr

    @story.step("after removal the VMM is still there to ask guests, and does so at the next poweroff")
    def _(box):
        pids = running(box)
        removed = box.apt("remove", "dstack-host", "dstack-host-services")
        assert "asked to shut down" in " ".join((removed.stdout + removed.stderr).split()), removed
        assert running(box) == pids and "goto guests" in table(box)
        assert active(box, "dstack-vmm.service") and not active(box, "dstack-front.service")
        shown = box.run(["systemctl", "show", "-P", "FragmentPath", "dstack-vmm.service"]).stdout.strip()
        assert shown == "/run/systemd/system/dstack-vmm.service", shown
        box.reboot()
        said = box.run("journalctl -q --no-pager -b -1 -u dstack-drain.service").stdout
        assert "asking 1 virtual machine to shut down" in said and "without being asked" not in said, said

    story.run("guests-bookworm")


if __name__ == "__main__":
    main(tell)
