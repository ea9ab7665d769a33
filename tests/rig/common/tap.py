# SPDX-License-Identifier: Apache-2.0
"""TAP lines with details of failures, and counts that are printed at the end."""

import collections
import os
import sys
import time

# 0: the sample of `make check`; else how many times as long as `make soak` what is random goes on.
SOAK = int(os.environ.get("DSTACK_SOAK") or 0)
SEED = int(os.environ.get("DSTACK_RIG_SEED", "20260807"))
SHOWN = 8


class Report:
    def __init__(self):
        self.number = self.failed = 0
        self.counts = collections.Counter()
        self.started = time.monotonic()

    def ok(self, good, name, details=()):
        self.number += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.number} - {name}", flush=True)
        details = list(details)
        for line in details[:SHOWN]:
            print("#   " + str(line).replace("\n", "\n#   "))
        if len(details) > SHOWN:
            print(f"#   and {len(details) - SHOWN} more")
        return good

    def skip(self, name, why):
        self.number += 1
        print(f"ok {self.number} - {name} # SKIP {why}", flush=True)

    def finish(self, order):
        """Prints the plan and the counts; returns the exit status."""
        print(f"1..{self.number}")
        print("# counts: " + ", ".join(f"{name} {self.counts[name]}" for name in order))
        print(f"# {'all' if SOAK else 'a sample'}, seed {SEED}, {time.monotonic() - self.started:.0f} s", flush=True)
        return 1 if self.failed else 0


def need_root():
    if os.geteuid() == 0:
        return
    print("1..1\nok 1 - the rig # SKIP needs root (mounts, loop devices)")
    sys.exit(0)
