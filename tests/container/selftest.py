# SPDX-License-Identifier: Apache-2.0
"""Proof that the container library does what box.py promises.

    PYTHONPATH=tests python3 -m container.selftest [RELEASE]
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

from . import base, host, mirror
from .box import Box, collect_dead

SERVER = """
import functools, http.server, os, socket
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/srv/www")
server = http.server.HTTPServer(("", 3443), handler)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
server.serve_forever()
"""
SERVE = ["systemd-run", "--quiet", "--unit=port", "--service-type=notify", "python3", "-c", SERVER]
FETCH = "curl -sS http://127.0.0.1:3443/"
TESTS = []


class Failed(Exception):
    pass


def test(function):
    TESTS.append(function)
    return function


def expect(truth, message):
    if not truth:
        raise Failed(message)


def others():
    """Words that mark what belongs to boxes of other programs that run now."""
    words = set()
    for directory in host.RUNS.glob("*/"):
        box = Box.load(directory)
        owner = getattr(box, "owner", None)
        if box.keep or host.alive(owner) and owner[0] != os.getpid():
            words |= {box.name, box.name.replace("-", "_"), getattr(box.net, "interface", box.name)}
    return words


def traces():
    """Everything that this program's boxes can leave on the machine, as a set of lines."""
    ignored = others()
    found = {f"mount {line.split()[4]}" for line in open("/proc/self/mountinfo") if str(host.RUNS) in line}
    found |= {f"netns {line.split()[0]}" for line in host.sh("ip", "netns").stdout.splitlines()}
    found |= {f"link {name}" for name in os.listdir("/sys/class/net")}
    found |= {f"nft {line}" for line in host.sh("nft", "list", "ruleset").stdout.splitlines() if "dstack" in line}
    for hierarchy in {host.cgroup_root(), pathlib.Path("/sys/fs/cgroup/systemd")}:
        found |= {f"cgroup {path}" for path in hierarchy.glob("dstack-test-*")}
    for directory in (host.RUNS, *pathlib.Path("/run/systemd/nspawn").glob("*")):
        found |= {f"file {path}" for path in directory.glob("*")}
    ignored |= others()
    if not ignored:
        found.add("ip_forward " + pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text().strip())
    return {line for line in found if not any(re.search(rf"\b{word}\b", line) for word in ignored)}


@test
def runs_commands_exactly(release):
    with Box(release, "st-run") as box:
        expect(box.run("echo out; echo err >&2; exit 7", check=False) == ("out\n", "err\n", 7), "streams or exit code")
        expect(box.run(["cat"], input="a'b").stdout == "a'b", "standard input")
        expect("SELFTEST_LEAK" not in box.run("env").stdout, "the caller's environment leaked in")
        expect(box.run("echo $X", env={"X": "y"}).stdout == "y\n", "env=")
        box.write("/etc/deep/er/file", "text\n", mode=0o640)
        expect(box.read("/etc/deep/er/file") == "text\n", "read is not what was written")
        modes = box.run("stat -c %a%U /etc/deep/er/file /etc/deep").stdout
        expect(modes == "640root\n755root\n", f"modes or owners: {modes}")
        began = time.monotonic()
        try:
            box.run("setsid sleep 600 & sleep 601", timeout=0.5)
            raise Failed("no timeout")
        except subprocess.TimeoutExpired:
            pass
        expect(time.monotonic() - began < 10, "the timeout came late")
        expect(box.run("ps -eo args | grep -c '[s]leep 60'", check=False).stdout == "0\n", "it lives after timeout")
        expect(box.run("systemctl is-system-running").stdout == "running\n", "booted with failed units")
        box.run("mknod /root/null c 1 3 && echo x >/root/null")


@test
def boxes_do_not_see_each_other(release):
    with Box(release, "st-iso") as one, Box(release, "st-iso") as two:
        for box, text in ((one, "one"), (two, "two")):
            box.write("/srv/www/index.html", text)
            box.run(SERVE)
        for box, text in ((one, "one"), (two, "two")):
            expect(box.run(FETCH).stdout == text, f"the same port in two boxes: {box.name} got another's answer")
        other = f"curl -sS -m 3 http://{two.net.address}:3443/"
        expect(one.run(other, check=False).code == 7, "a box reached another box")
        host_side = subprocess.run(["curl", "-sS", "-m", "3", f"http://{two.net.address}:3443/"], capture_output=True)
        expect(host_side.stdout == b"two", f"the host cannot reach a box: {host_side.stderr.decode()}")
        expect(one.run("cat /proc/1/cgroup | grep ^0::").stdout == "0::/init.scope\n", "not its own cgroup root")
        groups = [box.run("find /sys/fs/cgroup -name port.service | wc -l").stdout for box in (one, two)]
        expect(groups == ["1\n", "1\n"], "a box sees another's cgroups")
        expect(one.run("pgrep -fc '[h]ttp.server.HTTPServer'").stdout == "1\n", "a box sees another's processes")
        ids = {box.run("cat /etc/machine-id").stdout for box in (one, two)}
        expect(len(ids) == 2, "both have one machine-id")


@contextlib.contextmanager
def outside():
    """A server beyond the host, on this machine all the same: yields its address; it answers with one byte."""
    name, link, near, far = "st-outside", "st-outside0", "198.51.100.97/30", "198.51.100.98/30"
    code = "import socket; s = socket.create_server(('', 9999)); print('up', flush=True)\n" \
           "while True: s.accept()[0].sendall(b'x')"
    batch = f"netns add {name}\nlink add {link} type veth peer name eth0 netns {name}\n" \
            f"addr add {near} dev {link}\nlink set {link} up\n"
    try:
        host.sh("ip", "-batch", "-", input=batch)
        host.sh("ip", "-n", name, "-batch", "-", input=f"addr add {far} dev eth0\nlink set eth0 up\n")
        with subprocess.Popen(["ip", "netns", "exec", name, sys.executable, "-c", code],
                              stdout=subprocess.PIPE) as server:
            try:
                server.stdout.readline()
                yield far.partition("/")[0]
            finally:
                server.kill()
    finally:
        host.sh("ip", "link", "delete", link, check=False)
        host.sh("ip", "netns", "delete", name, check=False)


@test
def network_policies(release):
    uri = mirror.mirrors()["main"] + f"/dists/{release}/InRelease"
    fetch = f"curl -sS -m 20 -o /dev/null -w '%{{http_code}}' {uri}"
    read = "import socket, sys; print(socket.create_connection((sys.argv[1], 9999), 5).recv(1))"
    with outside() as address:
        for policy, mirrored, reached in (("apt", True, False), ("open", True, True), ("none", False, False)):
            with Box(release, "st-net", network=policy) as box:
                if not any(key.lower().endswith("proxy") for key, _ in mirror.apt_settings()):
                    got = box.run(fetch, check=False).stdout == "200"
                    expect(got == mirrored, f"network={policy}: mirror {'not ' * (not got)}reached")
                began = time.monotonic()
                got = box.run(["python3", "-c", read, address], check=False).code == 0
                expect(got == reached, f"network={policy}: other port outside {'not ' * (not got)}reached")
                expect(time.monotonic() - began < 3, f"network={policy}: a hang instead of a refusal")


@test
def reboot_and_power_cut_keep_the_disk(release):
    with Box(release, "st-boot") as box:
        box.write("/etc/kept", "kept\n")
        machine_id = box.read("/etc/machine-id")
        for again in (box.reboot, lambda: (box.kill_power(), box.start()), lambda: (box.stop(), box.start())):
            box.run("touch /run/volatile; ip addr add 127.9.9.9/8 dev lo")
            again()
            expect(box.read("/etc/kept") == "kept\n", "a file was lost")
            expect(box.run("test -e /run/volatile", check=False).code == 1, "/run survived")
            expect("127.9.9.9" not in box.run("ip addr show lo").stdout, "the network survived")
            expect(box.read("/etc/machine-id") == machine_id, "the machine-id changed")


@test
def docker_engine_works(release):
    with Box(release, "st-docker") as box:
        box.apt_install("docker.io", "busybox-static", *(["docker-cli"] if release != "bookworm" else []))
        driver = box.run("docker info -f '{{.Driver}} {{.CgroupVersion}}'").stdout.strip()
        box.run("tar -C / -c bin/busybox | docker import - tiny:1")
        # SIGTERM is ignored by a PID 1 without a handler: --init would need docker-init, so stop by SIGKILL
        box.run("docker run -d --name web --restart always --stop-signal KILL -p 127.0.0.1:3443:80 tiny:1 "
                "/bin/busybox httpd -f -p 80 -h /bin")
        fetch = "curl -sS --retry 20 --retry-all-errors --retry-delay 1 -o /dev/null -w '%{http_code}' " \
                "http://127.0.0.1:3443/busybox"
        expect(box.run(fetch).stdout == "200", "the published port gave no file")
        box.reboot()
        expect(box.run(fetch).stdout == "200", "the container did not come back after a reboot")
        return f"storage driver and cgroup version: {driver}"


@test
def two_apts_share_downloads(release):
    store = host.CACHE / "debs" / release
    with Box(release, "st-apt") as one, Box(release, "st-apt") as two:
        failures = []

        def install(box):
            try:
                box.apt_install("hello", "sl")
            except Exception as error:  # noqa: BLE001 - handed to the main thread
                failures.append(error)
        threads = [threading.Thread(target=install, args=(box,)) for box in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(not failures, f"apt in two boxes at once: {failures}")
        expect(any(store.glob("hello_*.deb")), "the download was not kept for later boxes")
    with Box(release, "st-apt", network="none") as box:
        box.apt_install("hello")


@test
def exceptions_and_signals_clean_up(release):
    try:
        with Box(release, "st-fail"):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    expect(not list(host.RUNS.glob("st-fail*")), "a box survived an exception")
    script = f"from container.box import Box\nwith Box({release!r}, 'st-kill') as b:\n    print('up', flush=True)\n" \
             "    b.run('sleep 1000', timeout=1000)\n"
    env = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[1])}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        by_gc = number == signal.SIGKILL
        with subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as child:
            expect(child.stdout.readline() == b"up\n", "the child's box did not boot")
            child.send_signal(number)
            child.wait(30)
        left = [path.name for path in host.RUNS.glob("st-kill*")]
        expect(bool(left) == by_gc, f"after {number.name}: {left}")
        if by_gc:
            expect(set(left) <= set(collect_dead()), "gc missed a dead run's box")


def main():
    release = sys.argv[1] if len(sys.argv) > 1 else "bookworm"
    os.environ["SELFTEST_LEAK"] = "x"
    host.require_tools()
    collect_dead()
    base.base(release)
    failed = 0
    for function in TESTS:
        before, began, note = traces(), time.monotonic(), ""
        try:
            note = function(release) or ""
            left = traces() - before
            expect(not left, f"left behind: {sorted(left)}")
            verdict = "ok"
        except (Failed, host.ContainerError, subprocess.SubprocessError) as error:
            verdict, note, failed = "FAILED", str(error), failed + 1
        name = function.__name__.replace("_", " ")
        print(f"{verdict:6} {time.monotonic() - began:6.2f} s  {name}  {note}", flush=True)
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
