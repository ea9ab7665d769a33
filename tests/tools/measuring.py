# SPDX-License-Identifier: Apache-2.0
"""Time and peak memory of one command, by tests/tools/measure.c."""

import os
import pathlib
import subprocess
from collections import namedtuple

TOP = pathlib.Path(__file__).resolve().parents[2]
Measured = namedtuple("Measured", "code stdout stderr seconds cpu_seconds rss_kib")


def tool(directory=TOP / "build/tools"):
    """The path of the compiled program."""
    source, binary = TOP / "tests/tools/measure.c", pathlib.Path(directory) / "measure"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        binary.parent.mkdir(parents=True, exist_ok=True)
        new = binary.with_suffix(f".{os.getpid()}")
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", new, source], check=True)
        new.rename(binary)
    return str(binary)


def measure(argv, binary=None, stdin=b"", timeout=60, **options):
    """Runs argv (a list); options are subprocess.Popen's. Raises TimeoutExpired after killing it."""
    reader, writer = os.pipe()
    try:
        with subprocess.Popen([binary or tool(), str(writer), *map(str, argv)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[writer],
                              start_new_session=True, **options) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except BaseException:
                os.killpg(process.pid, 9)
                raise
        os.close(writer)
        writer = -1
        line = os.read(reader, 200).split()
    finally:
        for fd in (reader, writer):
            if fd >= 0:
                os.close(fd)
    wall, user, system, rss, status = map(int, line)
    code = os.waitstatus_to_exitcode(status)
    return Measured(code, out, err, wall / 1e9, (user + system) / 1e6, rss)
