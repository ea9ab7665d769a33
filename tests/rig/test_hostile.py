#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`status`, `await` and `kms status` among daemons that misbehave; DSTACK_SOAK=1 tries every pair, else a sample."""

import json
import os
import pathlib
import random
import subprocess
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))

import hostile
from common import build, corner, tap
from hostile import standin

GOOD = {"good", "frame-good"}
SAMPLE = 4            # behaviours of each daemon alone, when not all are tried
BEYOND = 1.0          # seconds that a command may take longer than the slowest question may
RSS_MIB = 32
DETAIL = 300
TOGETHER = 24         # behaviours of all daemons at once, the same
KMS_SECONDS = 5       # of `kms status`, which asks the VMM first
LIST_RSS_MIB = 96     # of the same: the VMM's whole list has every compose file in it, and may have 64 MiB

# What is right for a daemon of which no more is asked than what it does then.
ANY_STATUS = {name for name in hostile.names("http", "json") if name.startswith(("status-", "redirect-", "json-"))}
ANY_BODY = {name for name in hostile.names("json") if name not in ("json-megabytes", "json-long-string")}
TOLERATED = {
    # Any answer over TLS shows that a PCCS is there; whose certificate it is does not matter to the host.
    "pccs": ANY_STATUS - {"json-megabytes", "json-long-string"} | {"second-answer", "tls-truncated"},
    # That it asks for a token is all; 401 is its good answer.
    "front": {"status-401", "second-answer"},
    # 200 is all; its body is for the container engine.
    "registry": ANY_BODY | {"second-answer", "tls-truncated"},
    "docker": {"second-answer"}, "supervisor": {"second-answer"}, "vmm": {"second-answer"}, "kms": {"second-answer"},
    # It may refuse what it was asked as it likes, in a frame or by closing.
    "key-provider": {"frame-zeros", "frame-empty"},
}
NO_VERIFICATION = {"weak-key", "other-ca", "expired", "not-yet-valid", "wrong-host", "no-san", "client-use", "self-signed"}
for each in standin.TLS:
    TOLERATED[each] = TOLERATED[each] | NO_VERIFICATION


def printable(text):
    return all(char.isprintable() for char in text)


def rows_of(done):
    """{id: (state, detail)} of `status --json`."""
    return {part["id"]: (part["state"], part["detail"]) for part in json.loads(done.stdout)["parts"]}


def bounds(done, seconds, rss_mib=RSS_MIB):
    """What any run has to keep to."""
    bad = []
    if done.seconds > seconds + BEYOND:
        bad.append(f"took {done.seconds:.2f} s, may take {seconds} and {BEYOND} more")
    if done.rss_kib > rss_mib << 10:
        bad.append(f"used {done.rss_kib >> 10} MiB, may use {rss_mib}")
    if done.code not in (0, 1):
        bad.append(f"exit status {done.code}: {done.stderr.decode(errors='replace')[-300:]}")
    return bad


def judge_status(done, faults, seconds):
    """faults: {role: behaviour}."""
    bad = bounds(done, seconds)
    try:
        rows = rows_of(done)
    except (ValueError, KeyError) as error:
        return bad + [f"no JSON of its own: {error}; {done.stderr.decode(errors='replace')[-300:]}"]
    touched = {row for role in faults for row in standin.ROWS[role]}
    for row in standin.ASKED:
        state, detail = rows[row]
        if row not in touched and state != "ok":
            bad.append(f"{row} is {state} ({detail}), and its daemon is good")
        if not detail or not printable(detail) or len(detail) > DETAIL:
            bad.append(f"{row}: its detail is {detail!r}"[:400])
    for role, name in faults.items():
        if all(rows[row][0] == "ok" for row in standin.ROWS[role]) and name not in TOLERATED.get(role, ()):
            bad.append(f"{role} is ok ({rows[standin.ROWS[role][0]][1]}) with {name}: {hostile.describe(name)}")
    return bad


def ask_status(host, faults):
    seconds = max(standin.SECONDS.get(role, 2) for role in (faults or {"": ""}))
    with host.daemons(faults) as peers:
        done = host.run("status", "--json")
    bad = judge_status(done, faults, seconds)
    # Nothing follows a redirect, and nobody but the VMM sees its token.
    for role, peer in peers.items():
        for request in peer.seen:
            if not isinstance(request, bytes) and role != "vmm" and "authorization" in request.headers:
                bad.append(f"{role} was sent a token")
    return done, [f"{' '.join(faults.values()) or 'all good'}: {line}" for line in bad]


def test_good(report, host):
    done, bad = ask_status(host, {})
    return report.ok(not bad, f"status among good daemons: {done.seconds * 1000:.0f} ms, {done.rss_kib / 1024:.1f} MiB", bad)


def test_alone(report, host, role):
    """One daemon misbehaves: its row says so, no other does."""
    behaviours = [name for name in standin.fitting(role) if name not in GOOD]
    if not tap.SOAK:
        behaviours = random.Random(f"{tap.SEED} {role}").sample(behaviours, SAMPLE)
    bad, slowest, largest = [], 0, 0
    for name in behaviours:
        done, wrong = ask_status(host, {role: name})
        bad += wrong
        slowest, largest = max(slowest, done.seconds), max(largest, done.rss_kib)
    report.counts["behaviours, one daemon"] += len(behaviours)
    report.ok(not bad, f"hostile {role}, {len(behaviours)} ways: {slowest:.2f} s, {largest / 1024:.1f} MiB at most", bad)


def test_together(report, host):
    """Every daemon misbehaves, all that can in the same way: still one answer in time."""
    bad, slowest, largest = [], 0, 0
    tried = sorted({name for role in standin.ROWS for name in standin.fitting(role)} - GOOD)
    if not tap.SOAK:
        tried = random.Random(f"{tap.SEED} together").sample(tried, TOGETHER)
    for name in tried:
        faults = {role: name for role in standin.ROWS if name in standin.fitting(role)}
        done, wrong = ask_status(host, faults)
        bad += wrong
        slowest, largest = max(slowest, done.seconds), max(largest, done.rss_kib)
    report.counts["behaviours, all daemons"] += len(tried)
    report.ok(not bad, f"all daemons hostile, {len(tried)} ways: {slowest:.2f} s, {largest / 1024:.1f} MiB at most", bad)


def test_await(report, host):
    """Waits no longer than it was told, and says for what."""
    bad = []
    for name in ("silent", "drip-headers", "json-error", "refused"):
        with host.daemons({"vmm": name}):
            done = host.run("await", "vmm", "--timeout", "1")
        text = done.stderr.decode(errors="replace").strip()
        wrong = bounds(done, 1 + 2)
        if done.code != 1 or not printable(text.replace("\n", "")) or "dstack-vmm" not in text:
            wrong.append(f"exit status {done.code}, {text!r}")
        bad += [f"{name}: {line}" for line in wrong]
    with host.daemons({}):
        done = host.run("await", "vmm", "--timeout", "1")
    bad += [] if done.code == 0 else [f"a good one: exit status {done.code}"]
    report.ok(not bad, "await ends in time and says what it waits for", bad)


def test_kms(report, host):
    """The KMS is never called ready when it is not, whatever it or the VMM says."""
    behaviours = [name for name in standin.fitting("kms") if name not in ("good", "second-answer")]
    if not tap.SOAK:
        behaviours = random.Random(f"{tap.SEED} kms status").sample(behaviours, 2 * SAMPLE)
    bad = []
    for name in behaviours:
        for role in ("kms", "vmm"):
            if name not in standin.fitting(role):
                continue
            with host.daemons({role: name}):
                done = host.run("kms", "status", "--json")
            wrong = bounds(done, KMS_SECONDS, LIST_RSS_MIB if role == "vmm" else RSS_MIB)
            wrong += judge_kms(done, role, name)
            bad += [f"{role} {name}: {line}" for line in wrong]
    report.counts["behaviours, kms status"] += len(behaviours)
    report.ok(not bad, f"kms status, {len(behaviours)} ways", bad)


def judge_kms(done, role, name):
    try:
        state = json.loads(done.stdout)
    except ValueError:
        return [f"no JSON: {done.stdout[:100]} {done.stderr.decode(errors='replace')[-300:]}"]
    bad = [f"{key}: {value!r}" for key, value in state.items() if isinstance(value, str) and not printable(value)]
    # Whom it is, its CA in GetMeta says, not the certificate of the connection.
    if role == "kms" and (state["ready"] or state["state"] == "ready") and name not in NO_VERIFICATION:
        bad.append(f"it is called ready: {state.get('detail')}")
    return bad


# What is wrong with the client, its file, the patch, the daemons that show it.
BROKEN = [
    ("a client without a size cap", "src/host/peer/peer-http.c",
     [("if (size * n > job->request.max_body - job->body_bytes) {", "if (0) {"),
      ("CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)q->max_body", "CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)0")],
     {"vmm": "chunks-endless"}),
    ("a client without a time limit", "src/host/peer/peer-http.c",
     [("CURLOPT_TIMEOUT_MS, (long)q->timeout_ms", "CURLOPT_TIMEOUT_MS, 0L")], {"vmm": "stall-at-99"}),
    ("a reader that counts no values", "src/host/json.c", [("count_values(data, len) > VALUES_MAX", "0")],
     {"vmm": "json-values"}),
    ("a digest that skips what it does not understand", "src/host/probe/probes-digest.c",
     [("return json_is_string(json_object_get(config, \"id\")) && json_object_get(state, \"status\");", "return 1;")],
     {"supervisor": "json-types"}),
    ("a connection that is waited for before anybody is asked", "src/host/probe/probes-daemon.c",
     [("sock_tcp_start(&at);", "sock_tcp(&at, PROBE_TIMEOUT_MS);")], {"registry": "backlog-full", "vmm": "silent"}),
    ("a PCCS that need not speak TLS", "src/host/probe/probes-daemon.c",
     [("p->url = xstrdup(setting(c->s, KEY_PCCS_URL));", "p->url = xstrdup(\"http://127.0.0.1:8081/\");")],
     {"pccs": "plain-http"}),
]


def test_broken(report, host, work):
    """The rig sees what it is there to see."""
    for number, (what, source, replacements, faults) in enumerate(BROKEN):
        host.install(build.variant(work, f"hostile-{number}", source, replacements))
        _, bad = ask_status(host, faults)
        report.ok(bad, f"hostile rig catches {what}", bad[:1])


def main():
    tap.need_root()
    standin.enter()
    report = tap.Report()
    missing = standin.need_openssl()
    if missing:
        report.skip("hostile peers", missing)
        return report.finish(())
    program = build.program()
    with corner.workspace("256m") as work:
        os.mkdir(f"{work}/host")
        host = standin.Host(program, f"{work}/host")
        if not test_good(report, host):
            return report.finish(())  # of nothing else could be said what caused it
        for role in standin.ROWS:
            test_alone(report, host, role)
        test_together(report, host)
        test_await(report, host)
        test_kms(report, host)
        test_broken(report, host, work)
    report.counts["behaviours"] = len(hostile.BEHAVIOURS)
    return report.finish(("behaviours", "behaviours, one daemon", "behaviours, all daemons", "behaviours, kms status"))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (build.BuildError, subprocess.SubprocessError, OSError, AssertionError) as problem:
        print(f"not ok - the hostile rig: {problem}")
        sys.exit(1)
