#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A host's life in a booted Debian 12 and 13: install, reboot, reconfigure, crash, upgrade, remove, purge."""

import json
import os
import subprocess
import sys

import faults
import reference
from life import Story, built, main, settled

DOMAIN = "demo.example.org"
# One run at a time per release; vsock is shared by all containers of a machine, so each takes its port.
HOST_API_PORT = {"bookworm": 10012, "trixie": 10013}
# What purge may leave: accounts and what other packages own or log.
STATED = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid",
          "/var/lib/systemd/", "/var/cache/", "/var/log/", "/var/lib/dpkg/", "/var/lib/apt/", "/run/", "/tmp/",
          "/etc/apt/", "/var/lib/docker/", "/etc/systemd/system/", "/srv/", "/var/tmp/", "/root/", "/proc/", "/sys/",
          "/dev/", "/usr/share/mime/", "/var/lib/containerd", "/etc/ld.so.cache", "/etc/docker", "/etc/.pwd.lock",
          "/usr/lib/python3", "/usr/share/python3", "/opt/containerd", "/etc/alternatives/", "/etc/cni", "/etc/networks",
          "/var/lib/haproxy", "/usr/share/locale/", "/usr/share/man/")


def settle(box, timeout=180):
    box.run(settled(), timeout=timeout)


def start_times(box):
    units = "dstack-supervisor dstack-vmm pccs qgsd dstack-front dstack-registry dstack-guard dstack-key-provider docker"
    out = {}
    for unit in units.split():
        shown = box.run(["systemctl", "show", "-P", "ExecMainStartTimestampMonotonic", "-P", "MainPID",
                         f"{unit}.service"]).stdout.split()
        out[unit] = shown
    return out


def rendered(box):
    shown = box.run("find /run/dstack /etc/dstack -type f ! -name .lock -printf '%p %i %T@ %m %u:%g\n' | sort").stdout
    assert "/run/dstack/vmm/vmm.toml" in shown, shown
    return shown


def cvm_pids(box):
    shown = box.run(["curl", "-s", "--unix-socket", "/run/dstack/supervisor.sock", "http://localhost/list"]).stdout
    pids = {row["config"]["name"]: row["state"]["pid"] for row in json.loads(shown)["data"]
            if row["state"]["status"] == "running"}
    assert pids, shown
    return pids


def kill_supervisor(box):
    """Returns when it is dead: what is told to start until then would find it still running."""
    pid = box.run(["systemctl", "show", "-P", "MainPID", "dstack-supervisor.service"]).stdout.strip()
    box.run(["systemctl", "kill", "--kill-whom=main", "-s", "KILL", "dstack-supervisor.service"])
    box.run(["tail", "--pid", pid, "-s", "0.1", "-f", "/dev/null"], timeout=60)


def alive(box, pids):
    for name, pid in pids.items():
        box.run(["kill", "-0", str(pid)])


def tell(release):
    story = Story("life", release)
    port = HOST_API_PORT[release]
    seen = {}

    @story.step("a file list before anything is installed")
    def _(box):
        seen["before"] = file_list(box)

    @story.step("apt installs it without a question and returns while slow units still work")
    def _(box):
        box.add_repo(built(release))
        plan = box.run("apt-get -s --no-install-recommends install dstack-host").stdout
        for needed in ("apparmor", "docker.io", *(["docker-cli"] if release != "bookworm" else [])):
            assert f"Inst {needed} " in plan, f"without recommendations {needed} is not there: {plan}"
        box.preseed({"dstack-host/domain": DOMAIN, "dstack-host/settings": f"VMM_HOST_API_PORT={port}"})
        result = box.apt_install("dstack-host", "dstack-host-sim")
        seen["apt"] = result.stdout + result.stderr
        state = box.run(["systemctl", "is-active", "dstack-host.target"], check=False).stdout.strip()
        assert state in ("inactive", "activating"), f"apt waited for the target: {state}"

    @story.step("the target is reached and the KMS answers")
    def _(box):
        settle(box)
        box.run(["systemctl", "is-active", "dstack-host.target"])
        answer = box.run("curl -sk --max-time 5 https://127.0.0.1:9103/prpc/KMS.GetMeta").stdout
        assert json.loads(answer)["chain_id"] == 11155111, answer

    @story.step("status says all is well, exit 0, and ends with Next:", independent=True)
    def _(box):
        shown = box.run(["dstack-host", "status"], check=False)
        assert shown.code == 0, shown.stdout
        assert shown.stdout.strip().splitlines()[-1].startswith("Next: "), shown.stdout
        assert all(len(line) <= 80 for line in shown.stdout.splitlines()), shown.stdout
        assert "simulated" in shown.stdout

    @story.step("service, container, port, device and group tables of the reference host hold")
    def _(box):
        reference.check_tables(box)

    @story.step("none of the reference host's faults that can be seen holds", independent=True)
    def _(box):
        faults.check_all(box)

    @story.step("no secret is in argv, the journal, debconf or a readable file", independent=True)
    def _(box):
        secrets = box.run("cat /etc/dstack/secrets/*").stdout
        token = box.run(["cat", "/etc/dstack/secrets/vmm-token"]).stdout.strip()
        assert len(token) == 64
        for value in {token} | {line for line in secrets.split() if len(line) >= 12}:
            box.write("/root/canary", value + "\n", mode=0o600)
            argv = box.run("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | "
                           "grep -Ff /root/canary", check=False).stdout
            assert not argv, "in a command line or environment"
            box.run("! journalctl --no-pager | grep -Ff /root/canary >/dev/null")
            readable = box.run("find /etc /run /var /tmp /usr/share -xdev -type f -size -4M -perm /004 -exec grep -lFf "
                               "/root/canary {} +", check=False).stdout
            assert not readable, readable
        box.run("! grep -rlFf /root/canary /var/cache/debconf /var/log")

    @story.step("the front refuses strangers and lets the token in")
    def _(box):
        token = box.run(["cat", "/etc/dstack/secrets/vmm-token"]).stdout.strip()
        url = "http://127.0.0.1:9080/prpc/Version?json"
        code = "curl -s -o /dev/null -w '%{http_code}' --max-time 5 "
        assert box.run(code + f"'{url}'").stdout == "401"
        box.write("/root/header", f"Authorization: Bearer {token}\n", mode=0o600)
        assert box.run(code + f"-H @/root/header '{url}'").stdout == "200"

    @story.step("it is back after a reboot, every table holds again")
    def _(box):
        box.reboot()
        settle(box)
        reference.check_tables(box)
        multi, slow = (int(box.run(["systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", unit]).stdout)
                       for unit in ("multi-user.target", "dstack-host.target"))
        assert 0 < multi < slow, "multi-user.target waited for the host's slow units"

    @story.step("a second render and a second configure change no file and restart nothing")
    def _(box):
        files, times = rendered(box), start_times(box)
        box.run(["dstack-host", "render"])
        assert rendered(box) == files
        box.run(["dpkg-reconfigure", "-fnoninteractive", "dstack-host"])
        settle(box)
        assert rendered(box) == files
        assert start_times(box) == times

    @story.step("dpkg-reconfigure changes the domain; virtual machines keep their PIDs")
    def _(box):
        pids = cvm_pids(box)
        box.run("printf '#!/bin/sh\\nsed -i s/demo.example.org/other.example.org/ \"$1\"\\n' > /root/ed; chmod +x /root/ed")
        box.run(["dpkg-reconfigure", "-feditor", "dstack-host"], env={"EDITOR": "/root/ed", "VISUAL": "/root/ed"})
        settle(box)
        assert "DOMAIN=other.example.org" in box.read("/etc/dstack/host.conf")
        assert "kms.other.example.org" in box.read("/run/dstack/vmm/vmm.toml")
        assert cvm_pids(box) == pids

    @story.step("VMM killed and restarted: every virtual machine keeps its PID")
    def _(box):
        pids = cvm_pids(box)
        box.run(["systemctl", "kill", "-s", "KILL", "dstack-vmm.service"])
        box.run(["systemctl", "restart", "dstack-vmm.service"])
        box.run(["systemctl", "restart", "dstack-vmm.service"])
        assert cvm_pids(box) == pids
        alive(box, pids)

    @story.step("supervisor and its slice refuse stop, restart and isolate")
    def _(box):
        pids = cvm_pids(box)
        for words in (["stop", "dstack-supervisor.service"], ["restart", "dstack-supervisor.service"],
                      ["stop", "dstackcvm.slice"], ["try-restart", "dstack-supervisor.service"]):
            assert box.run(["systemctl", *words], check=False).code != 0, words
        assert cvm_pids(box) == pids

    @story.step("no unit of ours that is started by hand ends a virtual machine", independent=True)
    def _(box):
        pids = cvm_pids(box)
        refused = (["start", "dstack-drained.target"], ["isolate", "dstack-drained.target"],
                   ["start", "dstack-drained.service"])
        for words in refused:
            assert box.run(["systemctl", *words], check=False).code != 0, words
        box.run(["systemctl", "reset-failed", "dstack-drained.service"])
        names = box.run("cd /usr/lib/systemd/system; [ -e dstack-host.target ] || cd /lib/systemd/system;"
                        " ls -d dstack*.service dstack*.target dstack*.slice").stdout.split()
        for name in set(names) - {"dstack-drained.service", "dstack-drained.target"}:
            box.run(["systemctl", "start", "--no-block", name], check=False)
        settle(box)
        assert box.run(["systemctl", "is-active", "dstack-drained.target"], check=False).code != 0
        assert cvm_pids(box) == pids
        alive(box, pids)

    @story.step("an upgrade to the next version keeps every PID and restarts no supervisor")
    def _(box):
        pids, times = cvm_pids(box), start_times(box)
        box.add_repo(built(release, suffix="+next1"))
        box.apt_install("dstack-host", "dstack-host-sim")
        settle(box)
        assert box.installed("dstack-host").endswith("+next1")
        assert cvm_pids(box) == pids
        now = start_times(box)
        assert now["dstack-supervisor"] == times["dstack-supervisor"]
        # stand-ins that no virtual machine needs run the new code
        assert now["pccs"] != times["pccs"] and now["qgsd"] != times["qgsd"], (times, now)
        box.run(["dstack-host", "await", "kms"], timeout=60)

    @story.step("supervisor killed: no virtual machine runs twice, status names the orphans")
    def _(box):
        pids = cvm_pids(box)
        kill_supervisor(box)
        box.run(["systemctl", "start", "dstack-supervisor.service"], check=False, timeout=30)
        box.run(["systemctl", "restart", "--no-block", "dstack-vmm.service"])
        box.run(["systemctl", "start", "dstack-host-start.service"])
        assert box.run(["systemctl", "is-active", "dstack-supervisor.service"], check=False).code != 0
        alive(box, pids)
        qemu = box.run(["pgrep", "-cf", "guest-cid"], check=False).stdout.strip()
        assert int(qemu) == len(pids), f"{qemu} virtual machines run, {len(pids)} were started"
        text = box.run(["dstack-host", "status"], check=False).stdout
        assert "without their supervisor" in " ".join(text.split()), text
        for pid in pids.values():
            assert str(pid) in text, text

    @story.step("drain ends the orphans; the host comes back")
    def _(box):
        box.run(["dstack-host", "drain", "--yes"], timeout=120)
        box.run(["systemctl", "is-active", "dstack-drained.target"])
        box.apt("install", "--reinstall", "dstack-host-services")
        box.run(settled("dstack-host-start.service"))  # the VMM waits for its supervisor, and the target for both
        assert box.run(["systemctl", "is-active", "dstack-supervisor.service"], check=False).code, "apt undid a drain"
        box.run(["dstack-host", "drain", "--end"])
        settle(box)
        box.run(["dstack-host", "await", "kms"], timeout=60)
        assert len(cvm_pids(box)) == 1

    @story.step("removal leaves virtual machines and the key provider running, and says so")
    def _(box):
        pids = cvm_pids(box)
        removed = box.apt("remove", "dstack-host", "dstack-host-services", "dstack-host-sim")
        assert "keep running" in removed.stdout + removed.stderr
        alive(box, pids)
        names = box.run(["docker", "ps", "--format", "{{.Names}}"]).stdout.split()
        assert {"aesmd", "gramine-sealing-key-provider"} <= set(names), names
        kill_supervisor(box)
        box.run(["systemctl", "stop", "dstackcvm.slice"], check=False)
        alive(box, pids)
        assert box.run(["systemctl", "is-enabled", "docker-registry.service"], check=False).stdout.strip() == "disabled"
        box.reboot()  # what still ran from the removed packages ends here
        box.run(["systemctl", "start", "docker.service"])
        box.run(["test", "!", "-e", "/run/dstack/qcnl"])  # a directory that Docker makes would be in the way of a file

    @story.step("purge leaves what may hold keys, names it, and nothing else")
    def _(box):
        purged = box.apt("purge", "dstack-host", "dstack-host-services", "dstack-host-sim", "dstack-host-tools")
        text = purged.stdout + purged.stderr
        for said in ("kept /var/lib/dstack/vm", "kept /var/lib/dstack/kms"):
            assert said in text, text
        assert "removed the container" in text or "removed the key provider's containers" in text, text
        # Docker itself is still there: containers, volumes and images are not
        left = box.run("docker ps -aq; docker volume ls -q; docker images -q").stdout.split()
        assert not left, left
        box.apt("autoremove", "--purge")
        # packages that stay because somebody recommends them own what they brought
        owned = set(box.run("cat /var/lib/dpkg/info/*.list").stdout.splitlines())
        owned |= {"/usr" + path for path in owned}  # /bin and /lib are links to /usr
        left = {path for path in file_list(box) - seen["before"] - owned
                if not path.startswith(STATED) and not path.startswith(("/var/lib/dstack/vm", "/var/lib/dstack/kms"))}
        left -= {"/var/lib/dstack"}
        left -= set(box.run("find /usr/bin /usr/sbin -lname '/etc/alternatives/*'").stdout.splitlines())
        assert not left, sorted(left)[:40]

    story.run(f"life-{release}")


def file_list(box):
    return set(box.run("find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run \\) -prune -o "
                       "-print", timeout=120).stdout.splitlines())


def everything():
    releases = sys.argv[1:] or ["bookworm", "trixie"]
    if len(releases) == 1:
        tell(releases[0])
        return
    # one process a release, side by side; their lines are TAP and may interleave
    children = [subprocess.Popen([sys.executable, __file__, release]) for release in releases]
    failed = [child.wait() for child in children]
    sys.exit(1 if any(failed) else 0)


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main(everything)
