# SPDX-License-Identifier: Apache-2.0
"""Power cuts: run a command once on a recorded ext4, then look at every disk that a cut could have left.

    result = powercut.run(setup, command, recover, invariant, states=2000, options="noauto_da_alloc")

setup(root)      fills the file system; it is on the disk for good when the recording starts
command(cut)     works below cut.root; cut.mark(NAME) notes a promise that holds from there on ("done")
recover(root)    what a reboot would do before anybody looks; may be None
invariant(state) what must hold: state.root, state.marks, state.old and state.new (trees, common.tree); returns a
                 list of what is wrong, or raises AssertionError. It may change the file system: it is thrown away.
"""

import os

from common import build, corner, tree
from . import disk as disks
from . import replay

SMALL = ("-b", "1024", "-J", "size=1")


class Cut:
    """What the command sees."""

    def __init__(self, disk):
        self.disk, self.root, self.marks = disk, disk.root, []

    def mark(self, name):
        self.marks.append((self.disk.position(), name))


class State:
    def __init__(self, root, marks, old, new, text):
        self.root, self.marks, self.old, self.new, self.text = root, marks, old, new, text


class Result:
    def __init__(self):
        self.states = self.distinct = self.writes = self.flushes = 0
        self.bad = []

    def __str__(self):
        return (f"{self.states} states, {self.distinct} distinct, of {self.writes} writes and {self.flushes} flushes: "
                f"{len(self.bad)} bad")


def every_step(root, argv, every=1):
    """argv for a command during which the journal commits after every n-th change."""
    return [build.tool("stepsync"), root, str(every), *argv]


def run(setup, command, recover, invariant, *, states=200, options="", seed=0, mib=16, mkfs=SMALL, keep_trees=True,
        stop_after=20):
    """Returns a Result; result.bad holds (state text, complaint). Needs corner.enter()."""
    with corner.workspace() as work, disks.Disk(work, mib, mkfs) as disk:
        disk.mount(options)
        setup(disk.root)
        old = tree.snapshot(disk.root) if keep_trees else {}
        disk.unmount()
        disk.forget()
        device = replay.Device(disk)
        try:
            new, marks = record(disk, command, options, keep_trees)
            return check(disk, device, marks, (old, new), recover, invariant, states, options, seed, stop_after)
        finally:
            device.close()


def record(disk, command, options, keep_trees):
    disk.mount(options)
    cut = Cut(disk)
    command(cut)
    new = tree.snapshot(disk.root) if keep_trees else {}
    disk.unmount()
    return new, cut.marks


def check(disk, device, marks, trees, recover, invariant, wanted, options, seed, stop_after):
    result = Result()
    records = list(disk.records())
    device.note_changes()
    parts = replay.epochs(records)
    result.writes = sum(len(part) for part, _ in parts)
    result.flushes = sum(1 for row in records if row[1] == disks.FLUSH)
    seen = set()
    for image, until, text in replay.states(device.base, parts, wanted, seed):
        held = frozenset(name for at, name in marks if at <= until)
        result.states += 1
        if (image.digest, held) in seen:
            continue
        seen.add((image.digest, held))
        result.distinct += 1
        device.load(image)
        for complaint in look(disk, held, trees, recover, invariant, options, text):
            result.bad.append((text, complaint))
        device.note_changes()
        if len(result.bad) >= stop_after:
            break
    return result


def look(disk, held, trees, recover, invariant, options, text):
    """Mounts one state and returns what is wrong with it."""
    try:
        disk.mount(options)
    except OSError as error:
        return [f"does not mount: {error}"]
    try:
        if recover:
            recover(disk.root)
        return list(invariant(State(disk.root, held, *trees, text)) or [])
    except AssertionError as error:
        return [str(error) or "assertion failed"]
    finally:
        disk.unmount()


def available():
    """Why the rig cannot work here, or None."""
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(path):
            return f"no {path}"
    return None
