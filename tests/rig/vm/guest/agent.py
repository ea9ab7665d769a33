# SPDX-License-Identifier: Apache-2.0
"""In the guest: runs what the test asks for over a virtio port, one JSON line per message.

in:  {"id": 1, "argv": ["true"], "input": "", "env": {}, "timeout": 60}
out: {"hello": BOOT-ID} once per boot; {"id": 1, "started": true} when the process runs;
     {"id": 1, "code": 0, "stdout": "", "stderr": ""} when it has ended. "code" is null when it was ended for its time.
"""

import json
import os
import pathlib
import signal
import subprocess
import threading

PORT = "/dev/virtio-ports/rig"
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
       "SHELL": "/bin/bash"}


class Agent:
    def __init__(self, fd):
        self.fd, self.lock = fd, threading.Lock()

    def tell(self, message):
        data = json.dumps(message).encode() + b"\n"
        with self.lock:
            while data:
                data = data[os.write(self.fd, data[:65536]):]

    def run(self, order):
        process = subprocess.Popen(order["argv"], env={**ENV, **order.get("env", {})}, cwd="/root",
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, errors="replace", start_new_session=True)
        self.tell({"id": order["id"], "started": True})
        try:
            out, err = process.communicate(order.get("input") or "", order.get("timeout"))
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            code = None
        self.tell({"id": order["id"], "code": code, "stdout": out, "stderr": err})

    def serve(self, order):
        try:
            self.run(order)
        except OSError as error:
            self.tell({"id": order["id"], "code": 127, "stdout": "", "stderr": str(error)})


def main():
    agent = Agent(os.open(PORT, os.O_RDWR))
    agent.tell({"hello": pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()})
    pending = b""
    while data := os.read(agent.fd, 65536):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            threading.Thread(target=agent.serve, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
