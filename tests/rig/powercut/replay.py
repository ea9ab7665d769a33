# SPDX-License-Identifier: Apache-2.0
"""From a log of writes and flushes to the images that a power cut could have left."""

import hashlib
import mmap
import os
import random

from common import build
from . import disk as disks

BLOCK = 1024
PIECE = 4096  # a disk tears longer writes


class Image:
    """A disk as its difference to the base, with a digest that follows every change."""

    def __init__(self, base):
        self.base, self.blocks, self.digest = base, {}, 0

    def copy(self):
        other = Image(self.base)
        other.blocks, other.digest = dict(self.blocks), self.digest
        return other

    def put(self, offset, data):
        for at in range(0, len(data), BLOCK):
            number = (offset + at) // BLOCK
            new, old = data[at:at + BLOCK], self.blocks.get(number)
            if old is not None:
                self.digest ^= mix(number, old)
                del self.blocks[number]
            if new != self.base[number * BLOCK:number * BLOCK + BLOCK]:
                self.blocks[number] = new
                self.digest ^= mix(number, new)


def mix(number, data):
    return int.from_bytes(hashlib.blake2b(data, digest_size=16, key=number.to_bytes(8, "little")).digest(), "little")


class Device:
    """The file behind the mounted disk; puts images onto it by writing only what differs."""

    def __init__(self, disk):
        self.disk = disk
        copy = disk.backing + ".base"
        build.sh("cp", "--sparse=always", disk.backing, copy)
        with open(copy, "rb") as handle:
            self.base = mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ)
        self.file = os.open(disk.backing, os.O_WRONLY | os.O_CLOEXEC)
        self.there = {}  # block: what it holds now, None when that is unknown; absent: as in the base

    def note_changes(self):
        """What the mount and the recovery have written since; whatever it is, it has to go."""
        for _, kind, offset, length in self.disk.records(payload=False):
            if kind == disks.WRITE:
                for number in range(offset // BLOCK, (offset + length - 1) // BLOCK + 1):
                    self.there[number] = None
        self.disk.forget()

    def load(self, image):
        for number in [number for number in self.there if number not in image.blocks]:
            os.pwrite(self.file, self.base[number * BLOCK:number * BLOCK + BLOCK], number * BLOCK)
            del self.there[number]
        for number, data in image.blocks.items():
            if self.there.get(number) is not data:
                os.pwrite(self.file, data, number * BLOCK)
                self.there[number] = data

    def close(self):
        os.close(self.file)


class Event:
    """One write, or a piece of one. A cut leaves it as the last one at any moment up to log position until."""

    def __init__(self, until, offset, data):
        self.until, self.offset, self.data = until, offset, data


def epochs(records):
    """Lists of writes, cut at the flushes; long writes in pieces. Also where in the log each list was flushed: a
    promise that was made behind it holds although nothing was written since."""
    parts, current, last = [], [], None
    for end, kind, offset, data in records:
        start = end - disks.RECORD.size - len(data)
        if kind == disks.FLUSH:
            if current:
                parts.append((current, start))
            current = []
            continue
        if last:
            last.until = start
        for at in range(0, len(data), PIECE):
            last = Event(start, offset + at, data[at:at + PIECE])
            current.append(last)
    if last:
        last.until = float("inf")
    return parts + [(current, float("inf"))] if current else parts


def states(base, parts, wanted, seed):
    """Yields (image, until, text): the state after every write, and random subsets of what was not flushed yet.
    With more prefixes than wanted, half of the states are prefixes chosen at random."""
    chance = random.Random(seed)
    writes = sum(len(part) for part, _ in parts)
    share = min(1.0, wanted / 2 / (writes + 1)) if writes + 1 > wanted else 1.0
    subsets = max(0, wanted - int(writes * share))
    loose = sum(len(part) for part, _ in parts if len(part) > 1) or 1
    durable, number = Image(base), 0
    yield durable.copy(), -1, "before the first write"
    for part, flushed in parts:
        growing = durable.copy()
        for event in part:
            growing.put(event.offset, event.data)
            number += 1
            if share == 1.0 or chance.random() < share or number == writes:
                yield growing, event.until, f"after write {number} of {writes}"
        if len(part) > 1:
            # More than asked for: many are equal to others.
            tries = 1.5 * subsets * len(part) / loose
            for _ in range(int(tries) + (chance.random() < tries % 1)):
                yield subset(durable, part, flushed, number - len(part), chance)
        durable = growing


def subset(durable, part, flushed, first, chance):
    """A power cut somewhere in an epoch: of the writes so far any may be on the disk."""
    end = chance.randint(2, len(part))
    keep = chance.choice((0.15, 0.5, 0.85, None))
    if keep is None:
        missing = chance.randrange(end)
        kept = [index for index in range(end) if index != missing]
    else:
        kept = [index for index in range(end) if chance.random() < keep]
    image = durable.copy()
    for index in kept:
        image.put(part[index].offset, part[index].data)
    dropped = end - len(kept)
    return image, min(part[end - 1].until, flushed), f"cut at write {first + end}, {dropped} of {end} unflushed writes lost"
