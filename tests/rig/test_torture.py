#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every system call and allocation of every command goes wrong once; DSTACK_SOAK=1 tries all, else a tenth."""

import os
import random
import subprocess
import sys

import cases
import torture
from common import build, corner, tap

FAILURES = ("silent successes", "torn", "not mended", "hangs", "crashes", "unclear")
SHARE = 1 if tap.SOAK else 10
# One allocation is like another where a library makes tens of thousands.
ALLOCATIONS = 1200
SANITIZED = build.TOP / "build/sanitizers/dstack-host"

BROKEN = [
    ("a writer that truncates in place", "src/base/fileio.c",
     [("fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL", "fd = openat(dir, base, O_WRONLY | O_CREAT | O_TRUNC"),
      ("if (r == 0 && renameat(dir, tmp, dir, base) < 0)", "if (0)")], lambda fault: fault.kind == "kill"),
    ("a writer that ignores a failing fsync", "src/base/fileio.c",
     [("return fsync(fd) < 0 ? -errno : 0;", "return fsync(fd) < 0 ? 0 : 0;")],
     lambda fault: fault.error == "EIO" and fault.at.name == "fsync"),
    ("a writer that takes a short write for a whole one", "src/base/fileio.c",
     [("\t\tdata += n;\n\t\tlen -= (size_t)n;", "\t\tlen = 0;")], lambda fault: fault.kind == "short write"),
    ("an allocator that goes on without memory", "src/base/alloc.c",
     [("\t\t_exit(1);\n\t_exit(1);", "\t\t_exit(0);\n\t_exit(0);")], lambda fault: fault.kind == "alloc"),
]


def chosen(faults, name, share):
    """A seeded part of the faults, of each kind some."""
    chance = random.Random(f"{tap.SEED} {name}")
    allocations = [fault for fault in faults if fault.kind == "alloc"]
    out = chance.sample(allocations, min(len(allocations), ALLOCATIONS) // share)
    for kind in ("kill", "error", "short read", "short write", "close"):
        rows = [fault for fault in faults if fault.kind == kind]
        out += chance.sample(rows, -(-len(rows) // share))
    return out


def directory(work, name):
    path = os.path.join(work, name.replace(" ", "-").replace(",", ""))
    os.mkdir(path)
    return path


def test_commands(report, work, host, prefix="", share=SHARE, preload=True):
    for case, why in cases.usable(build.verbs(host)):
        name = f"torture{prefix}: {case.name}"
        if why:
            report.skip(name, why)
            continue
        bench = torture.Bench(host, case, directory(work, name))
        faults = chosen(bench.faults(preload), name, share)
        result = bench.run(faults)
        report.counts.update(result.counts)
        report.ok(faults and not result.bad, f"{name}: {result.counts['kill points']} kill points, "
                  f"{result.counts['faults']} faults", result.bad)


def test_broken(report, work):
    """The rig sees what it is there to see."""
    case = next(case for case in cases.CASES if case.name == "config set, changed")
    for number, (name, source, replacements, wanted) in enumerate(BROKEN):
        host = build.variant(work, str(number), source, replacements)
        bench = torture.Bench(host, case, directory(work, f"broken {number}"))
        result = bench.run([fault for fault in bench.faults() if wanted(fault)])
        report.counts["broken variants caught"] += bool(result.bad)
        report.ok(result.bad, f"torture rig catches {name}", result.bad[:1])


def main():
    tap.need_root()
    report = tap.Report()
    corner.enter()
    with corner.workspace("256m") as work:
        test_commands(report, work, build.program())
        if tap.SOAK and SANITIZED.is_file():
            test_commands(report, work, str(SANITIZED), " with sanitizers", 10, False)
        test_broken(report, work)
    return report.finish(("kill points", "faults", *FAILURES, "not met", "broken variants caught"))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (build.BuildError, subprocess.SubprocessError, OSError, AssertionError) as problem:
        print(f"not ok - the torture rig: {problem}")
        sys.exit(1)
