# SPDX-License-Identifier: Apache-2.0
"""What the container tests share: a story of steps in one booted box, told in TAP.

    story = Story("life of a host", "bookworm")
    @story.step("it installs")
    def _(box): ...
    story.run()

A step that fails ends its story (what follows builds on it) unless it was marked independent.
"""

import atexit
import functools
import os
import pathlib
import shutil
import sys
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from container import debs, host  # noqa: E402
from container.box import Box, exit_on_signals  # noqa: E402
from container.settled import settled  # noqa: E402, F401 (for the stories)

TOP = pathlib.Path(__file__).resolve().parents[2]
DATA = TOP / "tests/data"


@functools.cache
def built(release, suffix=None, source=TOP):
    """Directory with this tree's packages for a release; built once, and a copy of this process's own: another test
    may be putting the same packages into a shared one while this one reads it."""
    out = host.CACHE / "test-repo" / f"{release}{suffix or ''}-{os.getpid()}"
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    debs.build_debs(release, source, out, version_suffix=suffix)
    return out


class Story:
    number = 0
    failed = False

    def __init__(self, title, release, **box_options):
        self.title, self.release, self.box_options = title, release, box_options
        self.steps = []

    def step(self, name, independent=False):
        def add(function):
            self.steps.append((name, function, independent))
            return function
        return add

    def tell(self, ok, name, tail=""):
        Story.number += 1
        print(f"{'ok' if ok else 'not ok'} {Story.number} - {self.release}: {name}{tail}", flush=True)
        Story.failed |= not ok

    def run(self, name):
        with Box(self.release, name, **self.box_options) as box:
            broken = None
            for title, function, independent in self.steps:
                if broken:
                    self.tell(False, title, " (not reached)")
                    continue
                try:
                    function(box)
                    self.tell(True, title)
                except Exception:
                    self.tell(False, title)
                    print(traceback.format_exc(limit=-3), flush=True)
                    broken = None if independent else title
            if Story.failed:
                shown = box.run("dstack-host status; systemctl --no-pager list-units 'dstack*' pccs* qgsd* docker*;"
                                " journalctl --no-pager -n 60 -p 5", check=False, timeout=60)
                print(shown.stdout[-8000:], shown.stderr[-2000:], flush=True)


def finish():
    sys.exit(1 if Story.failed else 0)


def main(tell):
    exit_on_signals()
    tell()
    finish()
