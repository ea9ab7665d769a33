# SPDX-License-Identifier: Apache-2.0
"""What every other file here needs from the machine: commands, locks, process identity, cgroups."""

import contextlib
import fcntl
import json
import os
import pathlib
import select
import shlex
import shutil
import signal
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("DSTACK_TEST_CACHE") or "/var/cache/dstack-host-test").absolute()
RUNS = CACHE / "run"

# program -> Debian package, so that a missing one is named with its remedy
PROGRAMS = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container", "ip": "iproute2",
            "nft": "nftables", "apt-ftparchive": "apt-utils", "dpkg-deb": "dpkg", "nsenter": "util-linux"}


class ContainerError(Exception):
    """A step of the container library failed; the message says which and why."""


def require_tools():
    if os.geteuid() != 0:
        raise ContainerError("containers need root (mounts, namespaces): run this with sudo")
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        raise ContainerError("missing programs; run: apt-get install -y " + " ".join(missing))


def say(message):
    print(f"[container] {message}", file=sys.stderr, flush=True)


def sh(*argv, check=True, input=None, timeout=None):
    """Run a host command, return its CompletedProcess (text); raise ContainerError with its stderr."""
    argv = [str(word) for word in argv]
    done = subprocess.run(argv, input=input, text=True, timeout=timeout, capture_output=True,
                          stdin=subprocess.DEVNULL if input is None else None)
    if check and done.returncode:
        raise ContainerError(f"{shlex.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done


def logged(argv, log, what, timeout=3600, env=None):
    """Run a long host command into a log file; on failure quote the log's end."""
    with open(log, "ab") as out:
        proc = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.STDOUT, env=env, start_new_session=True)
        try:
            code = proc.wait(timeout)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(proc.pid, signal.SIGKILL)
            proc.wait()
            raise
    if code:
        tail = pathlib.Path(log).read_text(errors="replace").splitlines()[-25:]
        raise ContainerError(f"{what}: exit {code}; end of {log}:\n  " + "\n  ".join(tail))


@contextlib.contextmanager
def locked(name, shared=False):
    """Hold CACHE/locks/NAME; the kernel drops it when the holder dies, so nothing can go stale."""
    path = CACHE / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def write_json(path, value):
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.rename(path)


# -- processes: a pid alone may be reused, a pid with its start time may not ---------------------

def identity(pid):
    """[pid, start time] of a live process, or None (zombies count as dead)."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in "ZX" else [int(pid), int(fields[19])]


def alive(ident):
    return bool(ident) and identity(ident[0]) == list(ident)


def kill_and_wait(ident, timeout=20):
    """SIGKILL exactly that process and wait for its end by pidfd."""
    if not alive(ident):
        return
    try:
        fd = os.pidfd_open(ident[0])
    except ProcessLookupError:
        return
    try:
        if alive(ident):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            select.select([fd], [], [], timeout)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


# -- cgroups --------------------------------------------------------------------------------------

def cgroup_root():
    """Mount point of the unified hierarchy: /sys/fs/cgroup, or /sys/fs/cgroup/unified on hybrid machines."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return pathlib.Path(fields[4])
    raise ContainerError("no cgroup2 mount on this machine")


def cgroup_of(pid):
    """The process's group in the unified hierarchy, as a path below cgroup_root()."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return cgroup_root() / line[3:].lstrip("/")
    raise ContainerError(f"process {pid} is in no cgroup2 group")


def into_cgroup(group, argv):
    """The argv that runs argv as a member of group (joined before exec, so no child escapes)."""
    return ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group), *map(str, argv)]


def cgroup_kill(group):
    with contextlib.suppress(OSError):  # absent before Linux 5.14; callers also kill by pid
        (group / "cgroup.kill").write_text("1")


def cgroup_remove(group, timeout=20):
    """Kill what is left in a group and remove it with all its children, waiting on cgroup.events."""
    if group.is_dir():
        cgroup_kill(group)
        with contextlib.suppress(OSError), open(group / "cgroup.events") as events:
            poller = select.poll()
            poller.register(events, select.POLLPRI | select.POLLERR)
            while "populated 1" in events.read():
                if not poller.poll(timeout * 1000):
                    break
                events.seek(0)
    # nspawn mirrors the group into systemd's named hierarchy on hybrid machines
    for top in {group, pathlib.Path("/sys/fs/cgroup/systemd") / group.name}:
        for path, _, _ in sorted(os.walk(top), reverse=True):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(path)


# -- mounts ---------------------------------------------------------------------------------------

def mounted(path):
    wanted = str(path).replace(" ", "\\040")
    return any(line.split()[4] == wanted for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


def mount_overlay(lowers, directory):
    """Merge read-only lowers (top first) with directory/upper at directory/root."""
    for part in ("upper", "work", "root"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={':'.join(map(str, lowers))},upperdir={directory}/upper,workdir={directory}/work"
    sh("mount", "-t", "overlay", "dstack-test", "-o", options, directory / "root")
    return directory / "root"


def unmount(path):
    while mounted(path):
        if sh("umount", path, check=False).returncode:
            sh("umount", "-l", path)


def forget_machine(name, root):
    """nspawn's own leftovers: it removes none after SIGKILL, nor any where /run is not a tmpfs."""
    for part in ("propagate", "unix-export"):
        shutil.rmtree(f"/run/systemd/nspawn/{part}/{name}", ignore_errors=True)
    if root.is_dir():
        status = root.stat()
        pathlib.Path(f"/run/systemd/nspawn/locks/inode-{status.st_dev}:{status.st_ino}").unlink(missing_ok=True)


def remove_tree(path):
    if not os.path.isdir(path):
        return
    if any(line.split()[4].startswith(f"{path}/") for line in open("/proc/self/mountinfo")):
        raise ContainerError(f"refusing to delete {path}: something is still mounted below it")
    shutil.rmtree(path)
