# SPDX-License-Identifier: Apache-2.0
"""Racing whole processes: alternating order, warm-up, medians of ratios with their spread, bars beside figures."""

import os
import pathlib
import statistics
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(TOP / "tests/tools"), str(TOP / "tests/rig"), str(TOP / "tests")]

# Before whatever else the machine does: figures that a load says less about.
REALTIME = bool(os.environ.get("BENCH_REALTIME"))
ROUNDS = max(7, int(os.environ.get("BENCH_ROUNDS") or "11"))


def program(path, *argv):
    """The command line of a bench that is a program of its own."""
    return [*(["chrt", "-f", "10"] if REALTIME else []), sys.executable, path, *argv]


class Wrong(Exception):
    """A contestant did not do what it was asked: its time is worth nothing."""


class Contestant:
    """before() and check() are not timed; run() returns seconds, or a measuring.Measured."""

    def __init__(self, name, run, before=None, check=None):
        self.name, self.run, self.before, self.check = name, run, before, check

    def go(self):
        if self.before:
            self.before()
        result = self.run()
        if getattr(result, "code", 0):
            raise Wrong(f"{self.name}: exit status {result.code}: {result.stderr.decode(errors='replace')[-500:]}")
        if self.check:
            self.check(result)
        return result


def seconds(result):
    return getattr(result, "seconds", result)


def race(*contestants, rounds=ROUNDS):
    """{name: [result, ...]}, one result a round. One round first that does not count; then each round in the other
    order than the one before, so that nobody always comes after somebody's dirty pages."""
    times = {contestant.name: [] for contestant in contestants}
    for number in range(rounds + 1):
        for contestant in contestants if number % 2 else reversed(contestants):
            result = contestant.go()
            if number:
                times[contestant.name].append(result)
    return times


def middle(values):
    return statistics.median(values)


def spread(values):
    """(a quarter is below, a quarter is above)."""
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


class Card:
    """What is printed: figures, those with a bar, what was left out and why."""

    def __init__(self):
        self.met, self.missed, self.skipped = [], [], []

    def say(self, text):
        print(text, flush=True)

    def section(self, title, *lines):
        self.say(f"\n{title}\n" + "\n".join("  " + line for line in lines))

    def figure(self, name, values, unit="ms", scale=1000):
        low, high = spread(values)
        self.say(f"  {name:58} {middle(values) * scale:9.2f} {unit:4} "
                 f"({low * scale:.2f} to {high * scale:.2f}, {len(values)} rounds)")

    def bar(self, name, values, most, unit="", scale=1):
        """values: one figure a round (a ratio, a difference), or one number."""
        values = values if isinstance(values, list) else [values]
        figure = middle(values) * scale
        met = figure <= most
        (self.met if met else self.missed).append(f"{name}: {figure:.2f}{unit}, bar {most}{unit}")
        detail = ""
        if len(values) > 1:
            low, high = spread(values)
            detail = f" ({low * scale:.2f} to {high * scale:.2f}, {len(values)} rounds)"
        self.say(f"  {name:58} {figure:9.2f} {unit:4} bar {most}{unit}: {'met' if met else 'MISSED'}{detail}")

    def ratio(self, name, times, ours, theirs, most):
        self.bar(f"{name}: {ours} / {theirs}",
                 [seconds(a) / seconds(b) for a, b in zip(times[ours], times[theirs])], most)

    def skip(self, name, why):
        self.skipped.append(name)
        self.say(f"  {name}: SKIPPED: {why}")

    def finish(self):
        self.say(f"\n{len(self.met)} bars met, {len(self.missed)} missed, {len(self.skipped)} skipped")
        for line in self.missed:
            self.say(f"  missed: {line}")
