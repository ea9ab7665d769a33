# SPDX-License-Identifier: Apache-2.0
"""The text of GET /logs: the tail of a VM's log, and what is appended while somebody follows it."""

import os
import re
import time

from base import FileWatch

DEFAULT_LINES = 10000
HEARTBEAT = 60
ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
FILES = {"serial": "serial.log", "stdout": "stdout.log", "stderr": "stderr.log"}


def flag(text):
    """A query flag as upstream's framework reads it; a bare name is true."""
    return text is not None and text.lower() in ("", "on", "yes", "true")


def clean(data, ansi):
    data = data if ansi else ANSI.sub(b"", data)
    return data.decode(errors="replace").encode()


def stream(workdir, channel, follow, ansi, lines, stopped):
    """Yields bytes. stopped: set when the server ends."""
    if channel not in FILES:
        yield f"Unknown channel {channel}".encode()
        return
    path = workdir.file(FILES[channel])
    offset = 0
    try:
        with open(path, "rb") as file:
            data = file.read()
            offset = file.tell()
    except OSError:
        if not follow:
            return
        data = b""
    count = DEFAULT_LINES if lines is None else lines
    yield clean(b"".join(data.splitlines(keepends=True)[-count:] if count else []), ansi)
    if follow:
        yield from follow_file(path, offset, ansi, stopped)


def follow_file(path, offset, ansi, stopped):
    beat = time.monotonic() + HEARTBEAT
    with FileWatch(os.path.dirname(path)) as watch:
        while not stopped.is_set():
            try:
                with open(path, "rb") as file:
                    # Truncated or replaced (QEMU truncates serial.log at each start): begin anew.
                    file.seek(offset if os.fstat(file.fileno()).st_size >= offset else 0)
                    data = file.read()
                    offset = file.tell()
            except OSError:
                data, offset = b"", 0
            if data:
                beat = time.monotonic() + HEARTBEAT
                yield clean(data, ansi)
            elif time.monotonic() >= beat:
                beat = time.monotonic() + HEARTBEAT
                yield b"[vmm heartbeat]\n"
            watch.wait(min(1, max(0, beat - time.monotonic())))
