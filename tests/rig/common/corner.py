# SPDX-License-Identifier: Apache-2.0
"""A mount namespace of our own with a tmpfs in it: whatever ends this process, the kernel clears it all away."""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile

MS_NOSUID, MS_BIND, MS_REC, MS_PRIVATE = 2, 4096, 16384, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS = 0x20000

libc = ctypes.CDLL(None, use_errno=True)


def checked(result, what):
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source, target, fstype=None, flags=0, data=None):
    words = [os.fsencode(word) if word is not None else None for word in (source, target, fstype)]
    checked(libc.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {target}")


def unmount(target, flags=0):
    checked(libc.umount2(os.fsencode(target), flags), f"umount {target}")


def enter():
    """Leaves the machine's mounts. Signals become SystemExit, so that every finally runs."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    mount(None, "/", None, MS_REC | MS_PRIVATE)


@contextlib.contextmanager
def workspace(size="4g"):
    """A tmpfs that only this process and its children see (device nodes work in it, unlike in /dev/shm)."""
    path = tempfile.mkdtemp(prefix="dstack-rig-")
    try:
        mount("rig", path, "tmpfs", MS_NOSUID, f"size={size},mode=700")
        try:
            yield path
        finally:
            unmount(path, MNT_DETACH)
    finally:
        os.rmdir(path)
