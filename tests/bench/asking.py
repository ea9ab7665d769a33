# SPDX-License-Identifier: Apache-2.0
"""`status` against its slowest single question, and the KMS of a demo that runs.

As a program of its own: measures in namespaces of its own and prints the figures as JSON.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from types import SimpleNamespace

import race
import measuring

KMS_DELAY = 0.25   # seconds that the KMS takes to ask its chain
MOST_MS = 10       # that status may take longer than the slowest question alone
DEADLINE = 3.0     # the longest that any daemon is asked
DEAD = ("vmm", "pccs", "registry", "key-provider", "kms")
DEAD_MS = 100      # beyond it, however many are dead
MOST_MIB = 16
MOST_KMS = 0.25
URL = "https://127.0.0.1:9103/prpc/KMS.GetMeta"


def run(card, program):
    if os.geteuid() != 0 or not shutil.which("curl"):
        card.skip("status", "needs root and curl")
        return
    done = subprocess.run(race.program(__file__, program), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise race.Wrong("the bench of status")
    figures = json.loads(done.stdout)
    card.section(
        f"Asking every part at once: 11 questions, of which the KMS takes {KMS_DELAY * 1000:.0f} ms to answer",
        "ours: dstack-host status --json, which also looks at files, devices and the units. curl: that one question",
        "to the KMS alone. Daemons: peers of tests/rig/hostile in Python, in one process. Each answer is checked.")
    for name in ("status", "curl"):
        card.figure(name, figures[name])
    extra = [(ours - theirs) * 1000 for ours, theirs in zip(figures["status"], figures["curl"])]
    card.bar("status beyond its slowest question", extra, MOST_MS, " ms")
    card.bar("peak memory of status", figures["rss"], MOST_MIB, " MiB", 1 / 1024)
    card.bar(f"status beyond its limit, {len(DEAD)} dead", [(value - DEADLINE) * 1000 for value in figures["dead"]],
             DEAD_MS, " ms")


def kms(card):
    """GetMeta of the demo's KMS, asked from inside its host."""
    from container import box as boxes, host
    card.section("The KMS of the demo (simulated), asked by curl in its own host: connection, TLS, GetMeta")
    demo = boxes.Box.attach("dstack-demo") if os.geteuid() == 0 and (host.RUNS / "dstack-demo").is_dir() else None
    if not demo or not demo.running:
        card.skip("KMS GetMeta", "no demo runs (sudo make demo)")
        return
    ask = ["curl", "-sk", "--max-time", "5", "-w", "\n%{http_code} %{time_total}", URL]
    values = []
    for _ in range(race.ROUNDS + 1):
        done = demo.run(ask, check=False)
        body, _, last = done.stdout.rpartition("\n")
        code, _, took = last.partition(" ")
        if code != "200" or "ca_cert" not in body:
            card.skip("KMS GetMeta", f"the demo's KMS is not ready (curl: {done.code}, HTTP {code}); sudo make demo-shell, "
                      "dstack-host kms status")
            return
        values.append(float(took))
    card.bar("KMS GetMeta", values[1:], MOST_KMS, " s")


# -- in namespaces of its own ---------------------------------------------------------------------

def slow(name, seconds):
    import hostile

    @hostile.behaviour("http", name)
    def answer(talk):
        """a good answer that takes a while"""
        while True:
            good = talk.good()
            talk.pause(seconds)
            talk.send(good)


def measure_all(program):
    from common import corner
    from hostile import standin
    standin.enter()
    slow("slow", KMS_DELAY)
    with corner.workspace("256m") as work:
        host = standin.Host(program, work)
        with host.daemons({"kms": "slow"}):
            times = race.race(race.Contestant("status", lambda: asked(host)), race.Contestant("curl", curl))
        with host.daemons({role: "silent" for role in DEAD}):
            dead = [host.run("status", "--json").seconds for _ in range(race.ROUNDS)]
    return {"status": [done.seconds for done in times["status"]], "curl": [done.seconds for done in times["curl"]],
            "rss": [done.rss_kib for done in times["status"]], "dead": dead}


def asked(host):
    done = host.run("status", "--json")
    rows = {part["id"]: part["state"] for part in json.loads(done.stdout)["parts"]}
    silent = [row for row in ("docker", "pccs", "qgsd", "vmm", "front", "registry", "kms") if rows[row] != "ok"]
    if silent:
        raise race.Wrong(f"status calls {silent} {[rows[row] for row in silent]}")
    # It exits with 1, because this host has no devices and no image.
    return SimpleNamespace(seconds=done.seconds, rss_kib=done.rss_kib, code=0)


def curl():
    done = measuring.measure(["curl", "-sk", "--max-time", "5", URL])
    if b"ca_cert" not in done.stdout:
        raise race.Wrong(f"curl: {done.code} {done.stdout[:100]}")
    return done


if __name__ == "__main__":
    print(json.dumps(measure_all(str(pathlib.Path(sys.argv[1]).resolve()))))
