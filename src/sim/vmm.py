# SPDX-License-Identifier: Apache-2.0
"""Stand-in for upstream's `dstack-vmm` 0.5.5: the same command line, configuration, API, files and habits.

Guests report over vsock as they do to upstream's. Stand-in guests run on the host and could not be told apart there
(all have the host's CID), so the host API also listens on <run_path>/.sim-host-api.sock, where a guest names its CID
in the header X-Sim-Guest-Cid.
"""

import argparse
import fcntl
import hashlib
import hmac
import os
import subprocess
import sys
import threading
import time

import proto
import rpc
import vmm_config
import vmm_logs
import vmm_qemu
import vmm_rpc
from base import HttpServer, Reply, StopSignal, dump_json, listen, log
from rocketpage import error_page
from rpc import RpcError, context
from vmm_app import App, SupervisorClient
from vmm_rpc import REV, VERSION

HOST_API_SOCKET = ".sim-host-api.sock"
LONG_VERSION = f"v{VERSION} ({REV})"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>dstack VMM (simulated)</title></head>
<body><h1>dstack VMM (simulated)</h1>
<p>This is the stand-in of dstack-host-sim, not upstream's console. No confidential VM runs here.</p></body></html>
"""


class Fatal(Exception):
    """Ends the program with exit status 1."""


class External:
    """The operator's side: /, /res, /logs, /prpc, /guest, /api."""

    def __init__(self, app, stop):
        self.app = app
        self.vmm = vmm_rpc.VmmRpc(app)
        self.auth = app.config["auth"]
        self.stopped = stop

    def authorized(self, req):
        """Only /logs asks this, as at 0.5.5."""
        if not self.auth["enabled"]:
            return True
        kind, _, token = (req.headers.get("Authorization") or "").partition(" ")
        return kind == "Bearer" and any(hmac.compare_digest(token.encode(), good.encode())
                                        for good in self.auth["tokens"])

    def refuse_remote(self, req):
        place = (f'Unix("{req.local[5:]}")' if req.local.startswith("unix:")
                 else f"Tcp({req.peer[0]}:{req.peer[1]})")
        raise RpcError(f"invalid remote endpoint: Some({place})")

    def handle(self, req):
        parts = req.path.split("/")
        if req.method in ("GET", "POST") and len(parts) == 3 and parts[2]:
            if parts[1] == "prpc":
                return rpc.handle(req, parts[2], proto.VMM_METHODS, self.vmm.call, trim="Teepod.")
            if parts[1] == "guest":
                return rpc.handle(req, parts[2], proto.GUEST_METHODS, self.vmm.guest_call)
            if parts[1] == "api":
                return rpc.handle(req, parts[2], proto.HOST_METHODS, None, construct=lambda: self.refuse_remote(req))
        if req.method == "GET" and req.path == "/":
            return Reply(200, self.page(), "text/html; charset=utf-8")
        if req.method == "GET" and req.path == "/res/x25519.js":
            return Reply(200, "// simulated VMM: no console, no script\n", "text/javascript")
        if req.method == "GET" and req.path == "/logs":
            return self.logs(req)
        return error_page(404, req)

    def page(self):
        try:
            with open("console.html", encoding="utf-8") as file:
                return file.read()
        except OSError:
            return PAGE

    def logs(self, req):
        if not self.authorized(req):
            return error_page(401, req)
        name = req.arg("id")
        lines = req.arg("lines")
        if name is None or not (lines is None or lines.isdigit()):
            return error_page(422, req)
        chunks = vmm_logs.stream(self.app.workdir(name), req.arg("ch", "serial"), vmm_logs.flag(req.arg("follow")),
                                 vmm_logs.flag(req.arg("ansi")), int(lines) if lines else None, self.stopped)
        return Reply(200, ctype="text/plain; charset=utf-8", chunks=chunks)


class HostApi:
    """The guests' side. by_header: stand-in guests on the unix socket; else the peer's CID on vsock."""

    def __init__(self, app, by_header):
        self.app = app
        self.by_header = by_header

    def handle(self, req):
        parts = req.path.split("/")
        if len(parts) != 3 or parts[1] != "api" or req.method not in ("GET", "POST"):
            return error_page(404, req)
        cid = None
        if self.by_header:
            cid = int(req.headers.get("X-Sim-Guest-Cid") or 0)
        elif req.local.startswith("vsock:"):
            cid = req.peer[0]

        def construct():
            if cid is None:
                raise RpcError("invalid remote endpoint: Some(Other)")

        call = vmm_rpc.HostRpc(self.app, cid).call
        return rpc.handle(req, parts[2], proto.HOST_METHODS, call, construct=construct)


def endpoint(address, port, what):
    """Upstream's forms (unix:PATH, tcp:IP[:PORT], IP[:PORT], vsock:CID[:PORT]) as base.listen() reads them."""
    if address.startswith("unix:"):
        return "unix:" + os.path.abspath(address[5:])
    kind, rest = ("vsock", address[6:]) if address.startswith("vsock:") else ("tcp", address.removeprefix("tcp:"))
    if not rest or (kind == "vsock" and what == "external API"):
        raise Fatal(f"Failed to run {what}\n\nCaused by:\n    invalid address: {address}")
    return f"{kind}:{rest}" if ":" in rest.rpartition("]")[2] else f"{kind}:{rest}:{port}"


def lock_socket(address):
    """<socket>.lock beside a unix socket with `reuse`, held while we live: -> (path, file descriptor)."""
    path = address[5:] + ".lock"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return path, fd


def bind(address, handler, config, what, replace=True):
    ident = config["host_api"]["ident"] if what == "host API" else config["ident"]
    headers = {"X-App-Version": LONG_VERSION, "X-Accel-Buffering": "no"} if what == "external API" else {}
    try:
        server = HttpServer(listen(address, replace), handler, ident, headers=headers, body_limit=64 << 20)
    except OSError as error:
        raise Fatal(f"Failed to run {what}\n\nCaused by:\n    Failed to bind {what} : "
                    f"{os.strerror(error.errno)} (os error {error.errno})") from error
    server.address = address
    return server


def connect_supervisor(config):
    """Find the supervisor, or start one with auto_start; upstream never looks after it again."""
    client = SupervisorClient(config["sock"])
    if client.ping():
        log("info", f"Connected to supervisor at {client.address}")
        return client
    if not config["auto_start"]:
        raise Fatal("Failed to connect to supervisor\n\nCaused by:\n    "
                    f"Failed to connect to supervisor at unix:{config['sock']}")
    if os.path.lexists(config["sock"]):
        os.unlink(config["sock"])
    command = [os.path.abspath(config["exe"]), "--uds", config["sock"], "--pid-file", config["pid_file"],
               "--log-file", config["log_file"]] + (["--detach"] if config["detached"] else [])

    def run():
        try:
            done = subprocess.run(command, env={**os.environ, "RUST_LOG": "info,rocket=warn"}, capture_output=True,
                                  check=False)
            if done.returncode:
                log("error", f"Supervisor exited with error: {done.stderr.decode(errors='replace')}")
        except OSError as error:
            log("error", f"Failed to start supervisor: {error.strerror}")

    threading.Thread(target=run, daemon=True).start()
    for attempt in range(1, 11):
        if client.ping():
            return client
        # The supervisor tells nobody when its socket is open; these are upstream's own pauses.
        time.sleep(0.1 * attempt)
    raise Fatal("Failed to connect to supervisor\n\nCaused by:\n    "
                f"failed to connect to supervisor at unix:{config['sock']}")


def auto_restart(app, ended):
    config = app.config["cvm"]["auto_restart"]
    if not config["enabled"]:
        log("info", "Auto restart CVMs is disabled")
        return
    if config["interval"] == 0:
        log("error", "thread panicked: `period` must be non-zero.")
        os.abort()
    pause = 0  # upstream's timer ticks at once the first time
    while not ended.wait(pause):
        try:
            app.restart_exited()
        except RpcError as error:
            log("error", f"Failed to restart exited VMs: {error}")
        pause = config["interval"]


def open_guest_socket(app):
    """The stand-in guests' way to the host API, open before any VM is started."""
    os.makedirs(app.config["run_path"], exist_ok=True)
    path = os.path.join(app.config["run_path"], HOST_API_SOCKET)
    mask = os.umask(0o177)
    try:
        return bind("unix:" + path, HostApi(app, True).handle, app.config, "host API")
    finally:
        os.umask(mask)


def serve(config):
    stop = StopSignal()
    app = App(config, connect_supervisor(config["supervisor"]))
    ended = threading.Event()
    servers = [open_guest_socket(app).start()]
    lock = None
    try:
        with context("Failed to reload VMs"):
            app.reload_vms()
        threading.Thread(target=auto_restart, args=(app, ended), daemon=True).start()
        where = endpoint(config["host_api"]["address"], config["host_api"]["port"], "host API")
        host = bind(where, HostApi(app, False).handle, config, "host API")
        where = endpoint(config["address"], config["port"], "external API")
        if where.startswith("unix:") and config["reuse"]:
            try:
                lock = lock_socket(where)
            except OSError as error:
                raise Fatal(f"Failed to run external API\n\nCaused by:\n    {where}: {error.strerror}") from error
        external = bind(where, External(app, ended).handle, config, "external API", config["reuse"])
        servers += [host.start(), external.start()]
        log("info", f"dstack VMM {LONG_VERSION} has launched on {where}; host API on {host.address}")
        stop.wait()
    except RpcError as error:
        raise Fatal(str(error)) from error
    finally:
        ended.set()
        for server in servers:
            server.stop()
        if lock:
            os.unlink(lock[0])
            os.close(lock[1])
    return 0


def run_once(config, args):
    """`run`: the VM of a file, without supervisor and API; --dry-run only prints its command line."""
    print("# One-shot VM execution mode\n# Configuration: " + args.vm_config)
    request = vmm_rpc.read_configuration(args.vm_config)
    manifest = vmm_rpc.new_manifest(request, config["cvm"])
    with context(f"Failed to load image: {os.path.join(config['image_path'], manifest['image'])}"):
        image = vmm_qemu.Image(os.path.join(config["image_path"], manifest["image"]))
    path = args.workdir or os.path.join(os.getcwd(), f"dstack-oneshot-{manifest['name']}-{int(time.time())}")
    os.makedirs(path, exist_ok=True)
    workdir = vmm_qemu.WorkDir(path)
    with context("Failed to write manifest"):
        workdir.put_manifest(manifest)
    if not request["compose_file"]:
        request["compose_file"] = dump_json({
            "manifest_version": 1, "name": request["name"], "runner": "none",
            "gateway_enabled": bool(request["gateway_urls"]), "kms_enabled": bool(request["kms_urls"])})
    with context("Failed to parse compose_file as AppCompose"):
        vmm_qemu.parse_compose(request["compose_file"])
    vmm_rpc.fill_shared(workdir, request, {"instance_id_seed": "", "instance_id": "", "app_id": manifest["app_id"]})
    workdir.write(workdir.shared_file(".sys-config.json"), vmm_qemu.sys_config(config, manifest))
    workdir.set_started(False)
    with context("Failed to build QEMU configuration"):
        process = vmm_qemu.processes(config, manifest, image, config["cvm"]["cid_start"], workdir)[0]
    digest = hashlib.sha256(request["compose_file"].encode()).hexdigest()
    print(f"# Working directory: {path}\n# Compose hash: {digest}\n# App ID: {manifest['app_id']}\n"
          f"# VM ID: {manifest['id']}\n#\n# QEMU Command:")
    print(" ".join([process["command"], *process["args"]]))
    if args.dry_run:
        print("# Dry run mode - QEMU command not executed\n"
              f"# To execute, run: --one-shot {args.vm_config} (without --dry-run)")
        return 0
    print("# Executing QEMU...", flush=True)
    with open(process["stdout"], "wb") as out, open(process["stderr"], "wb") as err:
        return subprocess.run([process["command"], *process["args"]], cwd=path, stdin=subprocess.DEVNULL, stdout=out,
                              stderr=err, check=False).returncode


def parse_args(argv):
    parser = argparse.ArgumentParser(prog="dstack-vmm", description="simulated dstack VMM 0.5.5")
    parser.add_argument("-c", "--config", help="Path to the configuration file")
    parser.add_argument("-V", action="version", version=f"dstack-vmm {VERSION}", help="Print version")
    parser.add_argument("--version", action="version", version=f"dstack-vmm {LONG_VERSION}", help="Print version")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="Start the VMM server (default mode)")
    run = commands.add_parser("run", help="One-shot VM execution mode for debugging")
    run.add_argument("vm_config", help="VM configuration file path")
    run.add_argument("--workdir", help="Working directory for one-shot mode")
    run.add_argument("--dry-run", action="store_true", help="only output QEMU command without executing")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    try:
        config = vmm_config.load(args.config)
        return run_once(config, args) if args.command == "run" else serve(config)
    except (Fatal, RpcError, vmm_config.ConfigError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
