# SPDX-License-Identifier: Apache-2.0
"""A real ext4 whose disk is a file that records what is written to it: FUSE below a loop device."""

import errno
import fcntl
import os
import stat
import struct
import subprocess

from common import build, corner

RECORD = struct.Struct("=QII")
WRITE, FLUSH = 1, 2
LOOP_CONFIGURE, LOOP_CTL_GET_FREE = 0x4C0A, 0x4C82
LO_FLAGS_AUTOCLEAR = 4
LOOP_MAJOR = 7


def loop_config(backing):
    """struct loop_config: descriptor, block size, struct loop_info64 with its flags at offset 52, 64 bytes spare."""
    info = bytearray(232)
    struct.pack_into("=I", info, 52, LO_FLAGS_AUTOCLEAR)
    return struct.pack("=II", backing, 0) + bytes(info) + bytes(64)


def attach(path, node):
    """Binds a free loop device to path and makes its node; returns its descriptor. It frees itself with its last
    user, so closing the descriptor after the mount is all the tidying there is."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            if os.path.lexists(node):
                os.unlink(node)
            os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(LOOP_MAJOR, number))
            device = os.open(node, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, loop_config(backing))
                return device
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # another process was faster
                    raise
    finally:
        os.close(backing)
        os.close(control)


class Disk:
    def __init__(self, work, mib, mkfs=()):
        self.work, self.root = work, f"{work}/root"
        self.backing, self.log = f"{work}/backing", f"{work}/log"
        self.daemon, self.mounted = None, False
        for directory in (self.root, f"{work}/fuse"):
            os.mkdir(directory)
        with open(self.backing, "wb") as handle:
            handle.truncate(mib << 20)
        build.sh("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard", *mkfs, self.backing)

    def __enter__(self):
        argv = [build.tool("blocklog"), self.backing, self.log, f"{self.work}/fuse"]
        self.daemon = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if self.daemon.stdout.readline() != b"ready\n":
            raise build.BuildError("blocklog did not start")
        return self

    def __exit__(self, *_):
        if self.mounted:
            corner.unmount(self.root, corner.MNT_DETACH)
        corner.unmount(f"{self.work}/fuse", corner.MNT_DETACH)
        try:
            self.daemon.wait(20)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.daemon.stdout.close()

    def mount(self, options=""):
        device = attach(f"{self.work}/fuse/disk", f"{self.work}/loop")
        try:
            corner.mount(f"{self.work}/loop", self.root, "ext4", 0, options or None)
            self.mounted = True
        finally:
            os.close(device)

    def unmount(self):
        corner.unmount(self.root)
        self.mounted = False

    def position(self):
        """How far the log has come; a write that is acknowledged lies before it."""
        return os.stat(self.log).st_size

    def forget(self):
        os.truncate(self.log, 0)

    def records(self, payload=True):
        """(position behind it, kind, offset, data or length) of everything in the log."""
        with open(self.log, "rb") as handle:
            while True:
                head = handle.read(RECORD.size)
                if not head:
                    return
                offset, length, kind = RECORD.unpack(head)
                if payload:
                    data = handle.read(length)
                else:
                    data = length
                    handle.seek(length, os.SEEK_CUR)
                yield handle.tell(), kind, offset, data
