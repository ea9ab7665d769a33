# SPDX-License-Identifier: Apache-2.0
"""`dpkg -i` of our packages against docker.io's and chrony's, and what their maintainer scripts start.

In freshly booted containers: one root has everybody's dependencies, and each round gets an untouched overlay of it.
"""

import contextlib
import os
import pathlib
import re
import shutil
import time
import uuid
from types import SimpleNamespace

import race

RELEASE = "bookworm"
OURS = ("dstack-host-tools", "dstack-host-services", "dstack-host")
RIVALS = {"docker.io": ("docker.io",), "chrony": ("chrony",)}
MOST_OF_DOCKER = 0.45
MOST_OF_CHRONY_STARTS = 0.5
ANSWERS = {"dstack-host/domain": "bench.example.org"}
ROUNDS = 7


def run(card):
    from container import box, debs, host
    if os.geteuid() != 0:
        card.skip("dpkg -i", "needs root (containers)")
        return
    try:
        host.require_tools()
        with prepared(box, debs, host) as (lowers, sets):
            times_and_starts(card, box, lowers, sets)
    except host.ContainerError as problem:
        card.skip("dpkg -i", f"no containers here: {problem}")


@contextlib.contextmanager
def prepared(box, debs, host):
    """(lowers of a root with all dependencies and none of the packages, {name: paths of .debs inside})."""
    repository = host.CACHE / "bench" / RELEASE
    debs.build_debs(RELEASE, race.TOP, repository)
    layer = host.CACHE / "bench" / f"layer-{uuid.uuid4().hex[:8]}"
    try:
        with box.Box(RELEASE, "bench-base") as base:
            sets = fill(base, repository)
            lowers = list(base.lowers)
            base.stop()
            host.unmount(base.root)
            # With owners, modes and overlayfs's own marks.
            host.sh("cp", "-a", base.directory / "upper", layer)
        yield [str(layer), *lowers], sets
    finally:
        shutil.rmtree(layer, ignore_errors=True)


def fill(base, repository):
    base.add_repo(repository)
    base.preseed(ANSWERS)
    everything = [name for names in (OURS, *RIVALS.values()) for name in names]
    base.apt("install", "strace", *everything, timeout=900)
    base.run("mkdir -p /debs && cd /debs && apt-get download " + " ".join(everything) + " >/dev/null", timeout=300)
    base.run(["dpkg", "--purge", *reversed(OURS)], timeout=300)
    listed = base.run("ls /debs").stdout.split()

    def paths(names):
        return [f"/debs/{file}" for name in names for file in listed if file.startswith(name + "_")]
    return {"ours": paths(OURS), **{name: paths(names) for name, names in RIVALS.items()}}


def names_of(debs):
    return [pathlib.Path(deb).name.partition("_")[0] for deb in debs]


def install(box, lowers, debs, trace=False):
    """One installation on an untouched root: seconds; with trace also the programs and processes it started."""
    with box.Box(RELEASE, "bench", lowers=lowers) as one:
        # A rival is there, because ours need it or because it came along: it goes first, ours have gone before.
        one.run(["dpkg", "--purge", "--force-depends", *names_of(debs)], timeout=300)
        one.preseed(ANSWERS)
        wrapper = ["strace", "-f", "-qq", "-e", "trace=execve,fork,vfork,clone,clone3", "-o", "/trace"] if trace else []
        started = time.monotonic()
        one.run([*wrapper, "dpkg", "-i", *debs], env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=300)
        took = time.monotonic() - started
        states = one.run("dpkg-query -W -f='${db:Status-Abbrev} ' " +
                         " ".join(names_of(debs))).stdout.split()
        if set(states) != {"ii"}:
            raise race.Wrong(f"{debs}: {states}")
        return SimpleNamespace(seconds=took, trace=one.read("/trace") if trace else "")


def starts(trace):
    """(programs, processes) that began; threads are no processes."""
    whole = [line for line in trace.splitlines() if re.search(r"\) += \d+( |$)", line)]
    programs = sum("execve(" in line or "execve resumed" in line for line in whole)
    made = [line for line in whole if re.search(r"\b(fork|vfork|clone|clone3)(\(| resumed)", line)]
    threads = len(re.findall(r"\bclone3?\(.*CLONE_THREAD", trace))
    return programs, len(made) - threads


def times_and_starts(card, box, lowers, sets):
    card.section(
        "Installing with dpkg -i in a freshly booted container, all dependencies there, none of the packages",
        f"ours: {' '.join(names_of(sets['ours']))}, answers preseeded; theirs:",
        "one package each. Programs and processes: of a whole dpkg -i, dpkg's own included, counted by strace in a",
        "run of its own.")
    times = race.race(*[race.Contestant(name, lambda debs=debs: install(box, lowers, debs))
                        for name, debs in sets.items()], rounds=ROUNDS)
    for name, results in times.items():
        card.figure(f"dpkg -i, {name}", [result.seconds for result in results])
    card.ratio("dpkg -i", times, "ours", "docker.io", MOST_OF_DOCKER)
    counted = {name: starts(install(box, lowers, debs, True).trace) for name, debs in sets.items()}
    for name, (programs, processes) in counted.items():
        card.say(f"  {name:58} {programs} programs, {processes} processes")
    for number, what in enumerate(("programs", "processes")):
        card.bar(f"{what} started: ours / chrony", counted["ours"][number] / counted["chrony"][number],
                 MOST_OF_CHRONY_STARTS)
