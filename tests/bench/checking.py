# SPDX-License-Identifier: Apache-2.0
"""`check` against its slowest single probe, against dead endpoints, and against the commands that it replaces.

As a program of its own: measures in namespaces of its own and prints the figures as JSON.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import asking
import race
import measuring

KMS_DELAY = asking.KMS_DELAY
LIMIT = 1         # --timeout of the rounds in which nobody answers
MOST_MS, MOST_DEAD_MS, MOST_MIB = 10, 100, 16
MOST_SHARE = 0.2  # own overhead, of V1-V7 one after the other
CHAIN, PCS = 8545, 8082
# What must be ok, or the answer of a daemon was not what it should be.
ROWS = ("docker", "pccs", "pccs.tls", "pccs.intel", "supervisor", "vmm", "vmm.images", "kms", "kms.speed",
        "kms.key-provider", "image.files", "chain.endpoint", "chain.contract")
# The seven of the reference document; in a network namespace of its own nobody serves a public name.
REGISTRY_URL = ("https://registry.hosted.example.org/", "https://127.0.0.1:5000/")
# There is no systemd and no Docker here: what is compared with is less than the whole.
LEFT_OUT = ("V2", "V3")


def run(card, program):
    if os.geteuid() != 0 or not shutil.which("curl"):
        card.skip("check", "needs root and curl")
        return
    done = subprocess.run(race.program(__file__, program), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise race.Wrong("the bench of check")
    figures = json.loads(done.stdout)
    card.section(
        f"Proving the host: every check, {figures['asked']} questions, of which the KMS takes {KMS_DELAY * 1000:.0f} ms "
        "to answer", "ours: dstack-host check --json. curl: that one question to the KMS alone. Daemons as for status, and",
        "an Ethereum endpoint, Intel's service and a name server.")
    for name in ("check", "curl", "commands"):
        card.figure(name if name != "commands" else "V1, V4 to V7 one after the other", figures[name])
    extra = [ours - theirs for ours, theirs in zip(figures["check"], figures["curl"])]
    card.bar("check beyond its slowest probe", [value * 1000 for value in extra], MOST_MS, " ms")
    card.bar("peak memory of check", figures["rss"], MOST_MIB, " MiB", 1 / 1024)
    card.bar("check's own overhead / V1, V4 to V7", [a / b for a, b in zip(extra, figures["commands"])], MOST_SHARE)
    for kind, values in figures["dead"].items():
        card.bar(f"check beyond --timeout {LIMIT}, all dead: {kind}", [(value - LIMIT) * 1000 for value in values],
                 MOST_DEAD_MS, " ms")
    in_demo(card)


def commands():
    """{id: command line} of the reference document's verification."""
    reference = json.loads((race.TOP / "tests/data/reference-host.json").read_text())
    return {row["id"]: row["command"].removeprefix("time ").replace(*REGISTRY_URL) for row in reference["verification"]}


# -- in the demo ----------------------------------------------------------------------------------

INSIDE = """
import json, subprocess, sys, time
commands, rounds = json.loads(sys.argv[1]), int(sys.argv[2])
def took(argv):
    began = time.monotonic()
    out = subprocess.run(argv, capture_output=True).stdout
    return time.monotonic() - began, out
def ask():
    seconds, out = took(["dstack-host", "check", "--json"])
    report = json.loads(out)
    return seconds, max(row["ms"] for row in report["checks"]) / 1000, report["summary"]["fail"]
def all_seven():
    return sum(took(["sh", "-c", command])[0] for command in commands)
figures = []
for number in range(rounds + 1):
    both = [ask, all_seven] if number % 2 else [all_seven, ask]
    done = {each: each() for each in both}
    if number:
        figures.append([*done[ask], done[all_seven]])
print(json.dumps(figures))
"""


def in_demo(card):
    """Against all seven commands, with systemd and Docker, where the demo runs."""
    from container import box as boxes, host
    demo = boxes.Box.attach("dstack-demo") if (host.RUNS / "dstack-demo").is_dir() else None
    if not demo or not demo.running:
        card.skip("check's own overhead / V1 to V7", "no demo runs (sudo make demo)")
        return
    done = demo.run(["python3", "-c", INSIDE, json.dumps(list(commands().values())), str(race.ROUNDS)], timeout=600)
    figures = json.loads(done.stdout)
    if any(fails for _, _, fails, _ in figures):
        card.skip("check's own overhead / V1 to V7", "not all is well in the demo: dstack-host check")
        return
    card.say("  in the demo (simulated), where nothing is slow on purpose:")
    card.figure("check there", [seconds for seconds, *_ in figures])
    card.figure("its slowest probe, as it says itself", [probe for _, probe, *_ in figures])
    card.figure("V1 to V7 one after the other", [seven for *_, seven in figures])
    card.bar("check beyond its slowest probe there", [(a - b) * 1000 for a, b, *_ in figures], MOST_MS, " ms")
    card.bar("check's own overhead / V1 to V7", [(a - b) / seven for a, b, _, seven in figures], MOST_SHARE)


# -- in namespaces of its own ---------------------------------------------------------------------

def measure_all(program):
    from common import corner
    from hostile import standin
    standin.enter()
    asking.slow("slow", KMS_DELAY)
    with corner.workspace("256m") as work:
        host = standin.Host(program, work)
        prepare(host)
        with host.daemons({"kms": "slow"}) as peers, others({}) as more, name_server():
            times = race.race(race.Contestant("check", lambda: checked(host)), race.Contestant("curl", asking.curl),
                              race.Contestant("commands", one_by_one))
            asked = sum(len(peer.seen) for peer in [*peers.values(), *more]) // (race.ROUNDS + 1)
        dead = {}
        for kind in ("silent", "backlog-full"):
            with host.daemons({role: kind for role in standin.ROWS if kind == "silent" or role not in standin.UNIX}), \
                    others({CHAIN: kind, PCS: kind}):
                dead[kind] = [host.run("check", "--json", "--timeout", str(LIMIT)).seconds
                              for _ in range(race.ROUNDS)]
    return {"check": [done.seconds for done in times["check"]], "rss": [done.rss_kib for done in times["check"]],
            "curl": [done.seconds for done in times["curl"]], "commands": times["commands"], "asked": asked, "dead": dead}


def prepare(host):
    """What a check looks at beyond what status does."""
    from hostile import standin, tls
    doc = standin.doc
    inspected = {"Image": "sha256:" + standin.HEX64, "Config": {"Image": "aesmd"},
                 "State": {"StartedAt": "2026-01-01T00:00:00Z", "Pid": 1}, "HostConfig": {"RestartPolicy": {"Name": "always"}}}
    containers = [{"Names": ["/" + name], "State": "running", "Status": "Up 3 minutes"}
                  for name in ("aesmd", "gramine-sealing-key-provider")]
    add(host, "docker", {"/_ping": (200, b"OK"), "/containers/json": (200, doc(containers)),
                         "/containers/aesmd/json": (200, doc(inspected)),
                         "/containers/gramine-sealing-key-provider/json": (200, doc(inspected))})
    add(host, "pccs", {"/sgx/certification/v4/rootcacrl": (200, ("3081c8" + "00" * 200).encode())})
    machine = {"id": standin.VM, "name": "kms", "status": "running", "configuration": {"compose_file": "{}"}}
    add(host, "vmm", {"/prpc/Status": (200, doc({"vms": [machine], "total": 1})),
                      "/prpc/Version": (200, doc({"version": "0.5.5", "rev": "0"})),
                      "/prpc/ListImages": (200, doc({"images": [{"name": "dstack-0.5.5"}]}))})
    image = f"{host.root}/var/lib/dstack/images/dstack-0.5.5/metadata.json"
    told = json.loads(pathlib.Path(image).read_text(encoding="utf-8"))
    host.put(image.removeprefix(host.root), json.dumps({**told, "shared_ro": True}))
    for path in ("var/lib/dstack/ca", "var/lib/dpkg", "etc/systemd/system"):
        os.makedirs(f"{host.root}/{path}", exist_ok=True)
    host.put("/var/lib/dstack/ca/ca.crt", tls.ca())
    host.put("/var/lib/dstack/kms/app-compose.json", json.dumps({
        "local_key_provider_enabled": True, "secure_time": False, "key_provider": "local"}))
    shutil.copy("/var/lib/dpkg/status", f"{host.root}/var/lib/dpkg/status")
    for name in ("vmm-token", "pccs-api-key", "pccs-user-token", "pccs-admin-token"):
        host.put(f"/etc/dstack/secrets/{name}", "5" * 32)
    host.put("/etc/group", "root:x:0:\nsgx:x:995:\nsgx_prv:x:994:\ndocker:x:993:\ndstack-front:x:992:\n", 0o644)
    host.put("/etc/resolv.conf", "nameserver 127.0.0.1\n", 0o644)
    conf = pathlib.Path(f"{host.root}/etc/dstack/host.conf").read_text(encoding="utf-8")
    host.put("/etc/dstack/host.conf", conf.replace("ETH_RPC_URLS=https://rpc.example/", f"ETH_RPC_URLS=http://127.0.0.1:{CHAIN}")
             + f"PCS_URL=https://127.0.0.1:{PCS}/sgx/certification/v4/\n")


def add(host, role, table):
    import hostile
    host.answers[role] = hostile.answers(table)


@contextlib.contextmanager
def others(faults):
    """The Ethereum endpoint, and Intel's own service."""
    import hostile
    from hostile import standin
    results = {1: "0xaa36a7", 2: {"timestamp": hex(int(time.time()))}, 3: "0x6001", 4: "0x6001"}
    chain = [{"jsonrpc": "2.0", "id": number, "result": result} for number, result in results.items()]
    answers = {CHAIN: (hostile.answers({"/": (200, standin.doc(chain))}), False), PCS: (hostile.answers({}), True)}
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(hostile.Peer(faults.get(port, "good"), answer, ("127.0.0.1", port), tls))
               for port, (answer, tls) in answers.items()]


@contextlib.contextmanager
def name_server():
    """Knows no name, and says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 53))

        def serve():
            while True:
                question, whose = own.recvfrom(4096)
                if len(question) < 12:  # the end
                    return
                own.sendto(question[:2] + b"\x81\x83" + question[4:], whose)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", 53))
            thread.join()


def checked(host):
    done = host.run("check", "--json")
    rows = {row["id"]: row for row in json.loads(done.stdout)["checks"]}
    wrong = [(name, rows[name]["status"], rows[name]["cause"]) for name in ROWS if rows[name]["status"] != "ok"]
    if wrong:
        raise race.Wrong(f"check: {wrong}")
    # It exits with 1: this machine is none of those that offer TDX.
    return SimpleNamespace(seconds=done.seconds, rss_kib=done.rss_kib, code=0)


def one_by_one():
    return sum(measuring.measure(["sh", "-c", command]).seconds
               for name, command in commands().items() if name not in LEFT_OUT)


if __name__ == "__main__":
    print(json.dumps(measure_all(str(pathlib.Path(sys.argv[1]).resolve()))))
