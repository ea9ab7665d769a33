#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Power cuts under every command that writes: each file old or new, and new once the command has said so."""

import os
import subprocess
import sys
import tempfile

import cases
import packages
import powercut
from common import build, corner, tap, tree

OPTIONS = ("", "noauto_da_alloc")
STATES = 60 * tap.SOAK or 40

# A writer is broken in one place each; every rig below has to see it.
BROKEN = [
    ("a writer without fsync", "src/base/fileio.c",
     [("return fsync(fd) < 0 ? -errno : 0;", "return 0;"),
      ("\t\treturn r;\n\t}\n\treturn fsync(dir) < 0 ? -errno : 0;\n}\n\nint file_remove",
       "\t\treturn r;\n\t}\n\treturn 0;\n}\n\nint file_remove")]),
    ("a writer that truncates in place", "src/base/fileio.c",
     [("fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL", "fd = openat(dir, base, O_WRONLY | O_CREAT | O_TRUNC"),
      ("if (r == 0 && renameat(dir, tmp, dir, base) < 0)", "if (0)")]),
    ("a writer that does not fsync the directory", "src/base/fileio.c",
     [("\t\treturn r;\n\t}\n\treturn fsync(dir) < 0 ? -errno : 0;\n}\n\nint file_remove",
       "\t\treturn r;\n\t}\n\treturn 0;\n}\n\nint file_remove")]),
]


def commits(options):
    """How often the journal commits by itself meanwhile: 0 never, n after every n-th change of a file."""
    return (0, 1, 2, 3) if tap.SOAK else (1,) if options else (0,)


class Trial:
    """One case of cases.py on the recorded disk."""

    def __init__(self, host, case, every, free=frozenset()):
        self.host, self.case, self.every, self.free = host, case, every, free

    def setup(self, root):
        self.case.prepare(self.host, root)

    def command(self, cut):
        wrapper = powercut.every_step(cut.root, [], self.every) if self.every else []
        done = self.case.run(self.host, cut.root, wrapper)
        assert done.returncode == 0, f"{self.case.name}: {done.stderr.decode()}"
        cut.mark("done")

    def invariant(self, state):
        """Nothing torn, nothing lost, and the next run mends what is unfinished."""
        found = tree.snapshot(state.root)
        bad = tree.torn(found, state.old, state.new)
        if "done" in state.marks:
            bad += cases.complete(found, state.new, ())
        if bad:
            return bad
        again = self.case.run(self.host, state.root)
        if again.returncode:
            return [f"the next run: exit status {again.returncode}, {again.stderr.decode().strip()}"]
        bad = cases.mended(found, tree.snapshot(state.root), state.old, state.new, self.free, state.root)
        return [f"the next run: {text}" for text in bad]

    def run(self, options, states):
        return powercut.run(self.setup, self.command, None, self.invariant, states=states, options=options,
                            seed=tap.SEED)


def test_commands(report, work, host):
    for case, why in cases.usable(build.verbs(host)):
        if not case.writes:
            continue
        if why:
            report.skip(f"power cut: {case.name}", why)
            continue
        with tempfile.TemporaryDirectory(dir=work) as root:
            *_, plain, free = cases.observe(host, case, root)
        if plain.returncode:
            continue  # a refusal; the torture rig has it
        for options in OPTIONS:
            results = [Trial(host, case, every, free).run(options, STATES) for every in commits(options)]
            bad = [f"{text}: {complaint}" for result in results for text, complaint in result.bad]
            distinct = sum(result.distinct for result in results)
            report.counts["states"] += distinct
            report.counts["bad states"] += len(bad)
            report.ok(not bad and distinct > len(results),
                      f"power cut: {case.name}{' with ' + options if options else ''}: {distinct} states", bad)


def test_broken(report, work):
    """The rig sees what it is there to see."""
    case = next(case for case in cases.CASES if case.name == "config set, changed")
    for number, (name, source, replacements) in enumerate(BROKEN):
        host = build.variant(work, str(number), source, replacements)
        results = [Trial(host, case, every).run(options, 60) for options in OPTIONS for every in (0, 1)]
        bad = [f"{text}: {complaint}" for result in results for text, complaint in result.bad]
        report.counts["broken variants caught"] += bool(bad)
        report.ok(bad, f"power cut rig catches {name}", bad[:1])


def test_reports_unflushed(report):
    """Without any program: what is only written may be lost, what is flushed may not."""
    def command(cut):
        with open(cut.root + "/f", "wb", buffering=0) as handle:
            handle.write(b"new")
            cut.mark("written")
            os.fsync(handle.fileno())
        cut.mark("synced")

    def lost(mark):
        def invariant(state):
            content = state.root + "/f"
            good = os.path.exists(content) and os.path.getsize(content) == 3
            return [] if good or mark not in state.marks else ["lost"]
        return invariant

    for mark, expected in (("written", True), ("synced", False)):
        result = powercut.run(lambda root: None, command, None, lost(mark), states=40)
        report.ok(bool(result.bad) == expected, f"power cut rig: a file that is {mark} can {'' if expected else 'not '}"
                  "be lost", result.bad[:1] if not expected else ())


def main():
    tap.need_root()
    report = tap.Report()
    why = powercut.available()
    if why:
        report.skip("the power-cut rig", why)
        return report.finish(("states",))
    corner.enter()
    with corner.workspace("64m") as work:
        test_reports_unflushed(report)
        test_commands(report, work, build.program())
        test_broken(report, work)
    packages.test_packages(report)
    return report.finish(("states", "package states", "damaged by dpkg itself", "bad states", "broken variants caught"))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (build.BuildError, subprocess.SubprocessError, OSError, AssertionError) as problem:
        print(f"not ok - the power-cut rig: {problem}")
        sys.exit(1)
