# SPDX-License-Identifier: Apache-2.0
"""Simulated: a supervisor and a VMM that have been asked for their machines."""

import copy
import http.server
import json
import os
import pathlib
import socketserver
import threading

TOP = pathlib.Path(__file__).resolve().parents[3]
SUPERVISOR, VMM = "/run/dstack/supervisor.sock", "/run/dstack/vmm/vmm.sock"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve(path, answers):
    """A server at `path` in the background; answers: {request path: value}."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            value = answers.get(self.path.split("?")[0])
            body = json.dumps(value).encode()
            self.send_response(404 if value is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

        def address_string(self):
            return "unix"

    os.makedirs(os.path.dirname(path), exist_ok=True)
    server = Server(path, Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def recorded():
    """The one process of the real supervisor's recorded list."""
    def find(value):
        if isinstance(value, dict):
            if "args" in value.get("config", {}):
                return value
            value = list(value.values())
        if isinstance(value, list):
            return next((found for found in map(find, value) if found), None)
        if isinstance(value, str) and '"args"' in value:
            return find(json.loads(value))
        return None
    return find(json.loads((TOP / "tests/data/vectors/vmm-0.5.5/supervisor.json").read_text()))


def machine(number, image, vcpu=2, memory=4096, qemu=None, more=()):
    """That process as another machine's."""
    process = copy.deepcopy(recorded())
    config = process["config"]
    config["id"], config["name"] = f"00000000-0000-4000-8000-{number:012d}", f"cvm{number}"
    args = [word.replace("/var/lib/dstack/images/dstack-0.5.5", str(image)) for word in config["args"]]
    args[args.index("-smp") + 1], args[args.index("-m") + 1] = str(vcpu), f"{memory}M"
    args[args.index("-append") + 1] = json.loads((pathlib.Path(image) / "metadata.json").read_text())["cmdline"]
    config["args"] = args + list(more)
    config["command"] = qemu or config["command"]
    process["state"]["pid"] = number
    return process


def stopped(number, image, vcpu=2, memory=4096):
    """What the VMM says of one that does not run."""
    return {"id": f"00000000-0000-4000-8000-{number:012d}", "name": f"cvm{number}", "status": "stopped",
            "configuration": {"image": image, "vcpu": vcpu, "memory": memory, "compose_file": "{}"}}
