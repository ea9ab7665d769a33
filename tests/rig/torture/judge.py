# SPDX-License-Identifier: Apache-2.0
"""The contract: what a run with a fault may end like."""

import os
import re

import cases
from common import tree

CODES = {1, 2, 3, 75}
ERROR_LINE = re.compile(r"^dstack-host: error: ", re.M)
NO_MEMORY = re.compile(r"out of memory|Cannot allocate memory")
SANITIZER = re.compile(r"(ERROR: \w+Sanitizer|runtime error): .*")
MANY_LINES = 25


def judge(bench, fault, run):
    """[(what kind of failure, text)] for one run; empty when it kept the contract."""
    if run.code is None:
        return [("hangs", "did not end within the limit")]
    torn = [("torn", text) for text in tree.torn(run.found, bench.old, bench.new, bench.free)]
    if fault.kind == "kill":
        return torn if run.code == -9 else [("crashes", f"exit status {run.code}"), *torn]
    if SANITIZER.search(run.err):
        return [("crashes", SANITIZER.search(run.err)[0])]
    if run.code < 0 or run.code > 125:
        return [("crashes", f"exit status {run.code}: {run.err.strip()[-200:]}"), *torn]
    if run.code == bench.plain.code and unharmed(bench, run):
        return [*torn, *unsynced(bench, fault, run)]
    if not bench.case.writes and not missing(bench, run) and told(fault, run.out.decode(errors="replace")):
        return []
    if run.code == 0:
        return [("silent successes", "; ".join(missing(bench, run)) or f"stdout differs: {run.out[:200]}")]
    return [*torn, *message(fault, run)]


def missing(bench, run):
    return cases.complete(run.found, bench.new, bench.free) if bench.case.writes else \
        tree.differences(run.found, bench.old)


def unharmed(bench, run):
    """Nothing to be seen of the fault: all there, and the same output."""
    return not missing(bench, run) and run.out == bench.plain.out


def unsynced(bench, fault, run):
    """A flush that failed has to be made good by another one (or by an exit status)."""
    if any(run.found.get(path) in (None, bench.old.get(path)) and run.found.get(path) != item
           for path, item in bench.new.items() if tree.RECORD.match(path)):
        return []  # it was the record's, which then is not there: the next run looks again
    if fault.kind == "error" and fault.at.name in ("fsync", "fdatasync") and run.code == 0 and \
            run.syncs < bench.plain.syncs:
        return [("silent successes", f"a failed flush was passed over: {run.syncs} of {bench.plain.syncs} succeeded")]
    return []


def told(fault, text):
    return fault.kind == "error" and os.strerror(fault.cause) in text


def message(fault, run):
    """One line that says what is wrong."""
    lines = run.err.strip().splitlines()
    if run.code not in CODES:
        return [("unclear", f"exit status {run.code} is in no table")]
    if not ERROR_LINE.search(run.err):
        return [("unclear", f"exit status {run.code} without an error line: {run.err.strip()[-200:]!r}")]
    if len(lines) > MANY_LINES:
        return [("unclear", f"{len(lines)} lines on stderr")]
    if fault.kind == "alloc":
        if run.code != 1 or not NO_MEMORY.search(run.err):
            return [("unclear", f"exit status {run.code} without \"out of memory\": {lines[-1]}")]
    elif not any("/" in line or os.strerror(fault.cause or 0) in line or NO_MEMORY.search(line) for line in lines):
        return [("unclear", f"neither file nor cause is named: {lines[-1]}")]
    return []
