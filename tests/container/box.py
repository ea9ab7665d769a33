# SPDX-License-Identifier: Apache-2.0
"""A booted Debian host in a container: systemd as PID 1, own network, own cgroup, real apt. Root is needed.

    from container.box import Box                 # PYTHONPATH=tests; Debian's own python3 is enough

    with Box("bookworm", "mytest") as box:        # boots in under a second once the root is cached
        box.add_repo("dist/bookworm")             # a flat repository (see debs.build_debs), copied in
        box.preseed({"dstack-host/domain": "demo.example.org"})
        box.apt_install("dstack-host", "dstack-host-sim")
        result = box.run("systemctl is-active dstack-host.target", check=False)   # .code .stdout .stderr
        box.run(["cat", "-"], input="x")          # a list is run as it is, a string by /bin/sh -c
        box.write("/etc/dstack/host.conf", "A=b\n", mode=0o600)
        box.read("/run/dstack/vmm/vmm.toml")
        box.reboot()                              # really ends, and boots again on the same disk
        box.kill_power(); box.start()             # the same without any goodbye (page cache survives: same kernel)

Options: network="apt" (default: resolver and the mirror's ports only), "open", "none"; boot=False, then write()
files and start() yourself; binds=[("/host/dir", "/inside", "ro")]; keep=True stays after the program's end under
exactly this name (Box.attach(name) finds it again). /var/lib/docker is a plain directory, so Docker's overlay2
works. run() passes only PATH, HOME, LANG, SHELL and env=. A run() that outlives timeout= is killed with all that it
started and raises subprocess.TimeoutExpired; what a run() leaves in the background must not keep its output open
(`cmd >/log 2>&1 &`, or better systemd-run). Everything is removed at the end of the block, also after
exceptions, SIGINT, SIGTERM and SIGHUP; after SIGKILL the next Box or `python3 -m container.cli gc` does it.
Not there: cgroup controllers on hybrid machines (memory limits do nothing), kernel modules, writable /sys.
"""

import contextlib
import json
import os
import pathlib
import re
import select
import shlex
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections import namedtuple

from . import apt, base, host, mirror, net

Result = namedtuple("Result", "stdout stderr code")
CLEAN_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
             "LANG": "C.UTF-8", "SHELL": "/bin/bash"}
NAMESPACES = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
BOOT_TIMEOUT = 90


class CommandFailed(host.ContainerError):
    def __init__(self, box, argv, result):
        self.result = result
        tail = "\n".join((str(result.stdout) + "\n" + str(result.stderr)).strip().splitlines()[-30:])
        super().__init__(f"{box.name}: {shlex.join(argv)}: exit {result.code}\n{tail}")


class Box(apt.AptMixin):
    def __init__(self, release="bookworm", name="box", *, network="apt", binds=(), keep=False, boot=True, lowers=None):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", name):
            raise host.ContainerError(f"box name {name!r}: use small letters, digits and -")
        self.release, self.hostname, self.keep, self.network = release, name, keep, network
        self.name = name if keep else f"{name}-{uuid.uuid4().hex[:6]}"
        self.directory = host.RUNS / self.name
        self.binds, self.boot, self.lowers = [tuple(bind) for bind in binds], boot, lowers
        self.nspawn = self.leader = None   # [pid, start time]
        self.process = None                # Popen, when this program started it
        self.boot_seconds = None
        self.count = 0

    # -- life -------------------------------------------------------------------------------------

    def __enter__(self):
        exit_on_signals()
        host.require_tools()
        collect_dead()
        try:
            self.create()
            if self.boot:
                self.start()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, *_):
        if not self.keep:
            self.destroy()

    def create(self):
        """Claim a directory and mount the root. The state file comes first, so that gc knows of all the rest."""
        lowers = self.lowers or base.base(self.release)
        with host.locked("boxes"):
            # roots hold setuid programs and test secrets: not for other users of the machine
            host.RUNS.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.directory.exists():
                raise host.ContainerError(f"a box named {self.name} exists already ({self.directory})")
            self.directory.mkdir(parents=True)
            self.lowers = lowers
            self.save()
        for part in ("docker", "repo"):
            (self.directory / part).mkdir()
        self.net = net.Net(self.name, net.claim(self.directory), self.network)
        base.lend_debs(self.release, self.directory / "archives")
        root = host.mount_overlay(self.lowers, self.directory)
        (root / "etc/hostname").write_text(self.hostname + "\n")
        (root / "etc/hosts").write_text(f"127.0.0.1\tlocalhost\n127.0.1.1\t{self.hostname}\n"
                                        "::1\tlocalhost ip6-localhost ip6-loopback\n")
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        (root / "etc/resolv.conf").write_text(mirror.resolv_conf())

    def save(self):
        state = {key: getattr(self, key) for key in ("release", "hostname", "keep", "network", "binds", "lowers",
                                                     "nspawn", "leader")}
        host.write_json(self.directory / "state.json", {**state, "owner": host.identity(os.getpid())})

    @classmethod
    def load(cls, directory):
        """The box that a state directory describes, for cleaning up or attaching to it."""
        try:
            state = json.loads((directory / "state.json").read_text())
        except (OSError, ValueError):
            state = {"release": "bookworm", "keep": False, "lowers": [], "nspawn": None, "leader": None}
        box = cls(state["release"], "unnamed", network=state.get("network", "apt"), binds=state.get("binds", ()),
                  lowers=state["lowers"])
        box.name, box.directory, box.keep = directory.name, directory, state["keep"]
        box.hostname = state.get("hostname", directory.name)
        box.nspawn, box.leader, box.owner = state["nspawn"], state["leader"], state.get("owner")
        claimed = directory / "subnet"
        number = int(claimed.read_text() or 0) if claimed.exists() else 0
        box.net = net.Net(box.name, number, box.network) if number else None
        return box

    @classmethod
    def attach(cls, name):
        """A kept box by its name, running or not; None if there is none."""
        directory = host.RUNS / name
        return cls.load(directory) if (directory / "state.json").exists() else None

    @property
    def cgroup(self):
        return host.cgroup_root() / f"dstack-test-{self.name}"

    @property
    def root(self):
        return self.directory / "root"

    @property
    def running(self):
        return host.alive(self.leader) and host.alive(self.nspawn)

    def nspawn_argv(self):
        binds = [(self.directory / "docker", "/var/lib/docker", "rw"),
                 (self.directory / "archives", "/var/cache/apt/archives", "rw"),
                 (self.directory / "repo", apt.REPO_DIRECTORY, "ro"), *self.binds]
        if os.path.exists("/dev/vsock"):
            binds.append(("/dev/vsock", "/dev/vsock", "rw"))
        options = [f"--bind{'-ro' if mode == 'ro' else ''}={source}:{inside}" for source, inside, mode in binds]
        return ["systemd-nspawn", "--quiet", "--boot", "--keep-unit", "--register=no", "--link-journal=no",
                "--notify-ready=yes", "--capability=all", "--system-call-filter=add_key keyctl bpf @keyring",
                "--resolv-conf=off", "--timezone=off", "--kill-signal=SIGRTMIN+3",
                f"--network-namespace-path={self.net.path}", f"--machine={self.name}", f"--hostname={self.hostname}",
                f"--directory={self.root}", *options]

    def start(self):
        """Boot, and return when PID 1 says that it has finished starting up."""
        if self.running:
            raise host.ContainerError(f"{self.name} is running already")
        if not host.mounted(self.root):
            host.mount_overlay(self.lowers, self.directory)
        began = time.monotonic()
        self.net.up()
        self.cgroup.mkdir(exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, open(self.directory / "console", "wb") as out:
            address = f"dstack-test-{self.name}-{uuid.uuid4().hex}"
            ready.bind("\0" + address)
            env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                   "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "NOTIFY_SOCKET": "@" + address}
            self.process = subprocess.Popen(host.into_cgroup(self.cgroup, self.nspawn_argv()), env=env,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
            self.nspawn = host.identity(self.process.pid)
            self.save()
            self.await_ready(ready)
        self.boot_seconds = time.monotonic() - began

    def await_ready(self, ready):
        deadline = time.monotonic() + BOOT_TIMEOUT
        pidfd = os.pidfd_open(self.process.pid)
        try:
            while True:
                readable, _, _ = select.select([ready, pidfd], [], [], max(0, deadline - time.monotonic()))
                if ready in readable:
                    message = ready.recv(8192).decode(errors="replace").splitlines()
                    for line in message:
                        if line.startswith("X_NSPAWN_LEADER_PID="):
                            self.leader = host.identity(int(line.partition("=")[2]))
                            self.save()
                    if "READY=1" in message:
                        return
                elif pidfd in readable:
                    raise host.ContainerError(f"{self.name}: container ended while booting\n{self.console()}")
                else:
                    raise host.ContainerError(f"{self.name}: not up after {BOOT_TIMEOUT} s\n{self.console()}")
        finally:
            os.close(pidfd)

    def console(self, lines=40):
        text = (self.directory / "console").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def wait_end(self, timeout=90):
        """Wait until the container has ended, then remove what a power cycle would clear."""
        for ident in filter(None, (self.leader, self.nspawn)):
            if host.alive(ident):
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(ident[0])
                    ended, _, _ = select.select([pidfd], [], [], timeout)
                    os.close(pidfd)
                    if not ended:
                        raise host.ContainerError(f"{self.name}: still running after {timeout} s\n{self.console()}")
        if self.process:
            self.process.wait(timeout)
        self.clear()

    def clear(self):
        host.cgroup_remove(self.cgroup)
        host.forget_machine(self.name, self.root)
        if self.net:
            self.net.down()
        self.nspawn = self.leader = self.process = None

    def reboot(self, timeout=90):
        self.run(["systemctl", "--no-block", "reboot"])
        self.wait_end(timeout)
        self.start()

    def stop(self, timeout=90):
        """An orderly shutdown; start() boots again."""
        self.run(["systemctl", "--no-block", "poweroff"])
        self.wait_end(timeout)

    def kill_power(self):
        """Every process gone at once, without a word to any."""
        host.cgroup_kill(self.cgroup)
        host.kill_and_wait(self.leader)
        host.kill_and_wait(self.nspawn)
        if self.process:
            self.process.wait()
        self.clear()

    def destroy(self):
        """Remove every trace. Signals wait meanwhile, so that Ctrl-C twice cannot leave half."""
        with signals_held():
            if not self.directory.is_dir():
                return
            if not hasattr(self, "net"):
                self.net = None
            self.kill_power()
            host.unmount(self.root)
            if self.lowers:
                base.take_debs(self.release, self.directory / "archives")
            # the claim on the subnet and the state file go last with the directory
            host.remove_tree(self.directory)

    # -- use --------------------------------------------------------------------------------------

    def command(self, argv, group):
        """The host argv that runs argv inside: in PID 1's namespaces and in a cgroup of the container."""
        if not self.running:
            if not host.mounted(self.root):
                raise host.ContainerError(f"{self.name} does not exist (any more)")
            return ["chroot", str(self.root), *argv]
        return host.into_cgroup(group, ["nsenter", f"--target={self.leader[0]}", *NAMESPACES, "--", *argv])

    def exec_group(self):
        """A fresh group below the container's own cgroup root, for one run()."""
        if not self.running:
            return None
        payload = host.cgroup_of(self.leader[0])
        payload = payload.parent if payload.name == "init.scope" else payload
        self.count += 1
        group = payload / "box-run" / f"{os.getpid()}-{self.count}-{threading.get_ident()}"
        group.mkdir(parents=True)
        return group

    def run(self, argv, check=True, input=None, env=None, timeout=120, text=True, stream=False):
        """Run inside, wait, return Result(stdout, stderr, code). stream=True shows the output instead."""
        argv = ["/bin/sh", "-c", argv] if isinstance(argv, str) else [str(word) for word in argv]
        group = self.exec_group()
        if isinstance(input, str):
            input = input.encode()
        output = None if stream else subprocess.PIPE
        proc = subprocess.Popen(self.command(argv, group), env={**CLEAN_ENV, **(env or {})}, cwd="/",
                                stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                                stdout=output, stderr=output, start_new_session=True)
        try:
            out, err = proc.communicate(input, timeout)
        except BaseException:
            if group:
                host.cgroup_kill(group)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(proc.pid, signal.SIGKILL)
            proc.communicate()
            raise
        finally:
            with contextlib.suppress(OSError):  # stays while something it started in the background lives
                if group:
                    group.rmdir()
        out, err = out or b"", err or b""
        if text:
            out, err = out.decode(errors="replace"), err.decode(errors="replace")
        result = Result(out, err, proc.returncode)
        if check and result.code:
            raise CommandFailed(self, argv, result)
        return result

    def write(self, path, data, mode=0o644, owner="root:root"):
        script = 'mkdir -p "$(dirname "$1")" && umask 077 && cat >"$1.new" && chown "$3" "$1.new" && ' \
                 'chmod "$2" "$1.new" && mv -f "$1.new" "$1"'
        self.run(["/bin/sh", "-c", script, "write", path, f"{mode:o}", owner], input=data)

    def read(self, path, text=True):
        return self.run(["cat", "--", path], text=text).stdout

    def copy_in(self, source, path):
        """Copy a host file or directory to path inside (as path itself, not below it), owned by root."""
        source = pathlib.Path(source)
        packed = subprocess.run(["tar", "-C", source if source.is_dir() else source.parent, "--owner=0", "--group=0",
                                 "-cf", "-", "." if source.is_dir() else source.name], check=True,
                                stdout=subprocess.PIPE).stdout
        script = 'mkdir -p "$1" && tar -C "$1" -xf -'
        if not source.is_dir():
            script = 'mkdir -p "$(dirname "$1")" && tar -xOf - >"$1.new" && chmod "$2" "$1.new" && mv -f "$1.new" "$1"'
        self.run(["/bin/sh", "-c", script, "copy", path, f"{source.stat().st_mode & 0o777:o}"], input=packed)

    def shell(self, argv=("/bin/bash", "-l")):
        """Replace this program by an interactive shell inside."""
        env = {**CLEAN_ENV, "TERM": os.environ.get("TERM", "linux")}
        command = self.command(list(argv), self.exec_group())
        os.execvpe(command[0], command, env)


# -- signals and dead runs ------------------------------------------------------------------------

def exit_on_signals():
    """Let SIGTERM and SIGHUP unwind the stack as SIGINT does, unless the program has its own idea."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, lambda received, _: exit(128 + received))


@contextlib.contextmanager
def signals_held():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def collect_dead():
    """Destroy the boxes whose program is gone; kept ones are left to `cli rm`. Returns their names."""
    gone = []
    for directory in sorted(host.RUNS.glob("*/")):
        with host.locked("boxes"):  # create() writes the state file under this lock
            box = Box.load(directory) if directory.is_dir() else None
            dead = box and not box.keep and not host.alive(getattr(box, "owner", None))
            if dead:  # claim it, so that two collectors do not both work on it
                box.save()
        if dead:
            box.destroy()
            gone.append(box.name)
    return gone
