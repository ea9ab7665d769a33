# SPDX-License-Identifier: Apache-2.0
"""What a command asks of the kernel, by strace, and which faults each call can meet."""

import collections
import errno
import re

CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")
FIRST_OF_MAIN = ("umask", "077")  # before it the loader is at work, which is not ours

PATHS = "mkdir mkdirat rename renameat renameat2 symlink symlinkat link linkat".split()
ERRORS = {
    **{name: ("EIO", "ENOSPC") for name in PATHS},
    **{name: ("EIO",) for name in "unlink unlinkat rmdir fchmod fchmodat fchown fchownat chmod chown".split()},
    **{name: ("EIO",) for name in "stat lstat fstat newfstatat statx getdents64 readlink readlinkat".split()},
    **{name: ("EIO", "EMFILE") for name in "open openat openat2".split()},
    **{name: ("EIO", "EINTR") for name in "read pread64 readv".split()},
    **{name: ("EIO", "ENOSPC", "EINTR") for name in "write pwrite64 writev".split()},
    **{name: ("EIO", "ENOSPC") for name in "fsync fdatasync syncfs".split()},
    **{name: ("EMFILE",) for name in "socket dup pipe2 epoll_create1 eventfd2".split()},
    "flock": ("EINTR", "ENOLCK"),
    "getrandom": ("EINTR",),
    "mmap": ("ENOMEM",),
    "ftruncate": ("EIO", "ENOSPC"),
    "fallocate": ("EIO", "ENOSPC"),
}


class Call:
    """The k-th call of its name."""

    def __init__(self, name, k, text):
        self.name, self.k, self.text = name, k, text

    def errors(self):
        found = ERRORS.get(self.name, ())
        if self.name in ("open", "openat", "openat2") and "O_CREAT" in self.text:
            found += ("ENOSPC", "EINTR")
        if self.name == "fcntl" and "SETLKW" in self.text:
            found = ("EINTR", "ENOLCK")
        # A message that cannot be said is no failure of what was done.
        return () if self.name == "write" and self.text.startswith("2,") else found


def parse(text):
    """The calls from the start of main() on; the loader's count for k all the same."""
    seen, calls, ours = collections.Counter(), [], False
    for line in text.splitlines():
        match = CALL.match(line)
        if not match:
            continue
        name, rest = match.groups()
        seen[name] += 1
        ours = ours or (name == FIRST_OF_MAIN[0] and rest.startswith(FIRST_OF_MAIN[1]))
        if ours and not name.startswith("exit"):
            calls.append(Call(name, seen[name], rest))
    return calls


class Fault:
    """kind: kill, error, alloc, short read, short write, close (which fails after its work). at: a Call, or how many-th one (0: all)."""

    def __init__(self, kind, at, error=None):
        self.kind, self.at, self.error = kind, at, error

    def __str__(self):
        if isinstance(self.at, Call):
            what = f"{self.at.name} {self.at.k} ({self.at.text[:60].strip()}...)"
            return f"killed at {what}" if self.kind == "kill" else f"{self.error} from {what}"
        return f"{self.kind} {self.at or 'always'}"

    @property
    def cause(self):
        """What the C library says to it, or None where the fault is no error."""
        number = getattr(errno, self.error) if self.error else errno.ENOMEM if self.kind == "alloc" else None
        return number


def faults(calls, allocations, reads=-1, writes=-1, closes=0):
    out = [Fault("kill", call) for call in calls]
    out += [Fault("error", call, error) for call in calls for error in call.errors()]
    out += [Fault("alloc", n) for n in range(1, allocations + 1)]
    out += [Fault("short read", n) for n in range(0, reads + 1)]
    out += [Fault("short write", n) for n in range(0, writes + 1)]
    # strace would leave the file open, which no kernel does.
    return out + [Fault("close", n) for n in range(1, closes + 1)]
