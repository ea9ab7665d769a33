# SPDX-License-Identifier: Apache-2.0
"""Stand-in for upstream's `supervisor` 0.5.5: runs child processes for the VMM, over a unix socket.

As upstream's: SIGTERM and SIGINT kill all children, SIGKILL leaves them running as orphans nobody knows; the socket
is opened a moment after exec and stays behind at exit; whoever can open it can run any command.
"""

import argparse
import json
import os
import resource
import select
import subprocess
import sys
import threading
import time

from base import FileWatch, HttpServer, StopSignal, listen, log, reply_json
from rocketpage import error_page

VERSION = "0.5.5"
REV = "simulated"
STRINGS = ("id", "name", "command", "cwd", "stdout", "stderr", "pidfile", "note")
FIELDS = ("id", "name", "command", "args", "env", "cwd", "stdout", "stderr", "pidfile", "cid", "note")


class SupervisorError(Exception):
    """What a caller reads as {"error": …}."""


class BadConfig(Exception):
    """A process configuration that lacks a field or has one of the wrong type: the framework's own 422."""


def os_error_text(error):
    return f"{os.strerror(error.errno)} (os error {error.errno})" if error.errno else str(error)


def parse_config(body):
    if not isinstance(body, dict) or not isinstance(body.get("id"), str) or not isinstance(body.get("command"), str):
        raise BadConfig()
    config = {"id": "", "name": "", "command": "", "args": [], "env": {}, "cwd": "", "stdout": "", "stderr": "",
              "pidfile": "", "cid": None, "note": ""}
    config.update({key: body[key] for key in FIELDS if key in body})
    good = all(isinstance(config[key], str) for key in STRINGS)
    good = good and isinstance(config["args"], list) and all(isinstance(a, str) for a in config["args"])
    good = good and isinstance(config["env"], dict) and all(isinstance(v, str) for v in config["env"].values())
    good = good and (config["cid"] is None or type(config["cid"]) is int)
    if not good:
        raise BadConfig()
    return config


def copy_output(pipe, path):
    """The child's output to its file, opened anew when that is renamed or removed: logrotate needs no signal.

    As upstream's, the file is there before any output, and again as soon as it was moved away.
    """
    file = None
    with pipe, FileWatch(os.path.dirname(path) or ".", FileWatch.GONE) as watch:
        data = None
        while data != b"":
            try:
                if file is None or not same_file(file, path):
                    if file is not None:
                        os.close(file)
                        file = None
                    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
                if data:
                    os.write(file, data)
            except OSError as error:
                log("error", f"Failed to write to log file {path}: {os_error_text(error)}", sys.stderr)
            ready, _, _ = select.select([pipe, watch.fd], [], [])
            if watch.fd in ready:
                watch.wait(0)
                data = None
            else:
                data = os.read(pipe.fileno(), 65536)
    if file is not None:
        os.close(file)


def same_file(fd, path):
    try:
        there, here = os.stat(path), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


class Process:
    def __init__(self, config):
        self.config = config
        self.lock = threading.Lock()
        self.child = None
        self.killed = False
        self.status = "stopped"
        self.started = False
        self.pid = None
        self.started_at = None
        self.stopped_at = None

    def running(self):
        return self.status == "running"

    def start(self):
        config = self.config
        with self.lock:
            if self.running():
                raise SupervisorError("Process is already running")
            pipe = {name: subprocess.PIPE if config[name] else subprocess.DEVNULL for name in ("stdout", "stderr")}
            try:
                # No tie to our life (a process group of its own, no PDEATHSIG): our SIGKILL must orphan the child.
                self.child = subprocess.Popen([config["command"], *config["args"]], cwd=config["cwd"] or None,
                                              env={**os.environ, **config["env"]}, process_group=0, **pipe)
            except OSError as error:
                raise SupervisorError(os_error_text(error)) from error
            self.pid, self.killed, self.started, self.status = self.child.pid, False, True, "running"
            self.started_at = int(time.time())
        self._write_pidfile()
        for name in ("stdout", "stderr"):
            stream = getattr(self.child, name)
            if stream:
                threading.Thread(target=copy_output, args=(stream, config[name]), daemon=True).start()
        threading.Thread(target=self._reap, args=(self.child,), daemon=True).start()

    def _write_pidfile(self):
        if self.config["pidfile"]:
            try:
                with open(self.config["pidfile"], "w", encoding="ascii") as file:
                    file.write(str(self.pid))
            except OSError as error:
                log("error", f"Failed to write pidfile: {os_error_text(error)}", sys.stderr)

    def _reap(self, child):
        # A child that forked may hold the pipes open: wait for the process, not for its output.
        code = child.wait()
        with self.lock:
            self.status = "stopped" if self.killed else {"exited": code << 8 if code >= 0 else -code}
            self.stopped_at = int(time.time())

    def stop(self):
        with self.lock:
            self.started = False
            if self.running():
                self.killed = True
                self.child.kill()

    def info(self):
        with self.lock:
            state = {"status": self.status, "started": self.started, "pid": self.pid,
                     "started_at": self.started_at, "stopped_at": self.stopped_at}
        return {"config": self.config, "state": state}


class Supervisor:
    def __init__(self):
        self.processes = {}
        self.lock = threading.Lock()
        self.frozen = False

    def find(self, name):
        process = self.processes.get(name)
        if not process:
            raise SupervisorError("Process not found")
        return process

    def deploy(self, config):
        with self.lock:
            if self.frozen:
                raise SupervisorError("Supervisor is freezed")
            if not config["id"]:
                raise SupervisorError("Process ID is empty")
            old = self.processes.get(config["id"])
            if old and old.running():
                raise SupervisorError("Process is already running")
            process = Process(config)
            process.start()
            self.processes[config["id"]] = process
            log("info", f"Deployed process {config['id']}", sys.stderr)

    def remove(self, name):
        with self.lock:
            process = self.find(name)
            if process.started:
                raise SupervisorError("Process is started")
            if process.running():
                raise SupervisorError("Process is running")
            del self.processes[name]

    def clear(self):
        with self.lock:
            gone, self.processes = self.processes, {}
        for process in gone.values():
            process.stop()

    def shutdown(self):
        """Kill all children and end the process; raises when some do not die."""
        self.frozen = True
        left = []
        for process in list(self.processes.values()):
            process.stop()
        deadline = time.monotonic() + 10
        for process in list(self.processes.values()):
            try:
                if process.child:
                    process.child.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                left.append(process)
        if left:
            raise SupervisorError(f"Failed to stop {len(left)} processes")

    def call(self, req):
        """-> the data of the reply, or None for a route that does not exist (as a Reply)."""
        parts = req.path.strip("/").split("/")
        action = (req.method, parts[0], len(parts))
        if action == ("GET", "ping", 1):
            return "pong"
        if action == ("GET", "list", 1):
            return [process.info() for process in list(self.processes.values())]
        if action == ("GET", "info", 2):
            process = self.processes.get(parts[1])
            return process.info() if process else None
        if action == ("POST", "deploy", 1):
            return self.deploy(parse_config(json.loads(req.body)))
        if action == ("POST", "start", 2):
            return self.find(parts[1]).start()
        if action == ("POST", "stop", 2):
            return self.find(parts[1]).stop()
        if action == ("DELETE", "remove", 2):
            return self.remove(parts[1])
        if action == ("POST", "clear", 1):
            return self.clear()
        if action == ("POST", "shutdown", 1):
            self.shutdown()
            os._exit(0)  # upstream ends without an answer, too
        raise LookupError(req.path)

    def handle(self, req):
        try:
            return reply_json({"data": self.call(req)})
        except SupervisorError as error:
            return reply_json({"error": str(error)})
        except BadConfig:
            return error_page(422, req)
        except LookupError:
            return error_page(404, req)
        except ValueError:
            return error_page(400, req)


def parse_args(argv):
    parser = argparse.ArgumentParser(prog="supervisor", description="simulated supervisor of dstack 0.5.5")
    parser.add_argument("-c", "--config", help="Path to the configuration file")
    parser.add_argument("-a", "--address", help="bind address")
    parser.add_argument("-p", "--port", type=int, help="bind port")
    parser.add_argument("-u", "--uds", help="bind on unix domain socket")
    parser.add_argument("--remove-existing-uds", action="store_true", help="remove existing socket")
    parser.add_argument("-d", "--detach", action="store_true", help="detach from terminal")
    parser.add_argument("--pid-file", help="pid file")
    parser.add_argument("--log-file", help="log file")
    parser.add_argument("-V", "--version", action="version", version=f"supervisor v{VERSION} ({REV})")
    return parser.parse_args(argv)


def bind_address(args):
    if args.uds:
        return "unix:" + os.path.abspath(args.uds)
    address, port = args.address or "unix:/var/run/supervisor.sock", args.port or 8000
    if args.config:
        import tomllib
        with open(args.config, "rb") as file:
            table = tomllib.load(file).get("default", {})
        address, port = args.address or table.get("address", address), args.port or table.get("port", port)
    if address.startswith("unix:"):
        return address
    address = address.removeprefix("tcp:")
    return f"tcp:{address}" if ":" in address else f"tcp:{address}:{port}"


def make_parents(path):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)


def detach():
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def main(argv=None):
    args = parse_args(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logfile = None
    if args.log_file:
        make_parents(args.log_file)
        logfile = open(args.log_file, "a", encoding="utf-8")  # pylint: disable=consider-using-with
    if args.detach:
        detach()
    if logfile:
        sys.stderr = logfile
    address = bind_address(args)
    try:
        if address.startswith("unix:"):
            make_parents(address[5:])
            if args.remove_existing_uds and os.path.lexists(address[5:]):
                os.unlink(address[5:])
        server = HttpServer(listen(address, replace=False), None, "Supervisor",
                            headers={"X-App-Version": f"v{VERSION} ({REV})"})
        if args.pid_file:
            make_parents(args.pid_file)
            with open(args.pid_file, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
    except OSError as error:
        print(f"Error: Failed to bind on {address}\n\nCaused by:\n    {os_error_text(error)}", file=sys.stderr)
        return 1
    supervisor = Supervisor()
    server.app = supervisor.handle
    stop = StopSignal()
    server.start()
    stop.wait()
    print("Received terminate signal, initiating shutdown...", flush=True)
    try:
        supervisor.shutdown()
    except SupervisorError as error:
        log("error", str(error), sys.stderr)
    os._exit(0)  # as upstream: the socket file stays behind


if __name__ == "__main__":
    sys.exit(main())
