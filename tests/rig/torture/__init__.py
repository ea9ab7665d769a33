# SPDX-License-Identifier: Apache-2.0
"""Torture: a command again and again, each time with one system call or allocation going wrong.

    bench = torture.Bench(host, case, work)     case: see cases.py
    result = bench.run(bench.faults())

After each run the exit code must tell the truth, a line on stderr must name the cause, every file must be as it was
or as it should be, and the next plain run must finish the work and leave nothing else behind.
"""

import collections
import os
import subprocess

import cases
from common import build, tree
from . import judge, trace

LIMIT = 10  # seconds: longer is a hang
SYNCS = ("fsync", "fdatasync")
# A leak detector cannot work below strace; the plain runs have it.
TRACED = {"ASAN_OPTIONS": "detect_leaks=0"}


class Run:
    """One run of the command: what came out, and what is there afterwards."""

    def __init__(self, done, found, struck=True, syncs=0):
        self.code = done.returncode if done else None
        self.out = done.stdout if done else b""
        self.err = done.stderr.decode(errors="replace") if done else ""
        self.found, self.struck, self.syncs = found, struck, syncs


class Result:
    def __init__(self):
        self.counts = collections.Counter()
        self.bad = []


class Bench:
    def __init__(self, host, case, work):
        self.host, self.case = host, case
        self.root, self.log = f"{work}/root", f"{work}/strace"
        self.report, self.shim = f"{work}/report", build.tool("faults.so")
        os.mkdir(self.root)
        self.old, self.new, done, self.free = cases.observe(host, case, self.root)
        assert case.writes or self.new == self.old, f"{case.name}: it writes"
        self.plain = Run(done, self.new)
        self.found = self.old
        self.known = set()

    def reset(self):
        tree.restore(self.root, self.found, self.old)
        self.found = self.old

    def attempt(self, wrapper=(), env=None):
        try:
            done = self.case.run(self.host, self.root, wrapper, env, LIMIT)
        except subprocess.TimeoutExpired:
            done = None
        self.found = tree.snapshot(self.root)
        return Run(done, self.found)

    def faults(self, preload=True):
        """All of them. Without preload, for a program with sanitizers: their library has to be the first, and takes
        a lack of memory as its own end."""
        done = self.attempt(["strace", "-qq", "-o", self.log, "-s", "40"], TRACED)
        assert done.code == self.plain.code, f"{self.case.name} under strace: {done.err}"
        with open(self.log, encoding="utf-8", errors="replace") as handle:
            calls = trace.parse(handle.read())
        assert calls, f"{self.case.name}: main() was not seen"
        self.plain.syncs = sum(call.name in SYNCS for call in calls)
        self.reset()
        if not preload:
            return [fault for fault in trace.faults(calls, 0) if fault.error != "ENOMEM"]
        self.attempt(env={"LD_PRELOAD": self.shim, "FAULT_REPORT": self.report})
        self.reset()
        return trace.faults(calls, *self.read_report()[:4])

    def read_report(self):
        with open(self.report, encoding="utf-8") as handle:
            return [int(word) for word in handle.read().split()]

    def strike(self, fault):
        """The command with this fault, from the old state."""
        if isinstance(fault.at, trace.Call):
            return self.strike_call(fault)
        name = "FAULT_" + fault.kind.upper().replace(" ", "_")
        if os.path.exists(self.report):
            os.unlink(self.report)
        run = self.attempt(env={"LD_PRELOAD": self.shim, "FAULT_REPORT": self.report, name: str(fault.at)})
        # Where every one is short there may be none at all.
        run.struck = fault.at == 0 or (os.path.exists(self.report) and self.read_report()[4] == 1) or run.code < 0
        return run

    def strike_call(self, fault):
        what = "signal=KILL" if fault.kind == "kill" else f"error={fault.error}"
        # With a filter only the calls asked for are stopped at, which is faster; but a signal is then not sent.
        how = ["strace", "-qq"] if fault.kind == "kill" else ["strace", "-qq", "-f", "--seccomp-bpf"]
        names = fault.at.name if fault.at.name not in SYNCS else ",".join(SYNCS)
        run = self.attempt([*how, "-o", self.log, "-e", f"trace={names}", "-e",
                            f"inject={fault.at.name}:{what}:when={fault.at.k}"], TRACED)
        with open(self.log, encoding="utf-8", errors="replace") as handle:
            text = handle.read()
        run.struck = "(INJECTED)" in text or "killed by SIGKILL" in text
        run.syncs = sum(" = 0" in line for line in text.splitlines())
        return run

    def run(self, faults):
        result = Result()
        for fault in faults:
            run = self.strike(fault)
            if not run.struck and run.code == self.plain.code:
                # Where content is random the number of calls may differ by one.
                result.counts["not met"] += 1
                self.reset()
                continue
            result.counts["kill points" if fault.kind == "kill" else "faults"] += 1
            complaints = judge.judge(self, fault, run)
            if not complaints:
                complaints = self.after(run)
            for word, text in complaints:
                result.counts[word] += 1
                result.bad.append(f"{fault}: {text}")
            self.reset()
        if result.counts["not met"] > 1 + len(faults) // 100:
            result.bad.append(f"{result.counts['not met']} of {len(faults)} faults were not met")
        return result

    def after(self, run):
        """The next plain run finishes the work. From a state that was seen before it need not be run again."""
        key = hash(frozenset(run.found.items()))
        if key in self.known:
            return []
        again = self.attempt()
        if again.code != self.plain.code:
            return [("not mended", f"the next run: exit status {again.code}, {again.err.strip()}")]
        bad = cases.mended(run.found, again.found, self.old, self.new, self.free, self.root)
        if not bad:
            self.known.add(key)
        return [("not mended", f"the next run: {text}") for text in bad]
