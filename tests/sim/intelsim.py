# SPDX-License-Identifier: Apache-2.0
"""Helpers for the tests of the simulated Intel services, key provider, chain and KMS."""

import json
import os
import pathlib
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIM = ROOT / "src" / "sim"
sys.path.insert(0, str(SIM))

NO_TLS_CHECK = ssl.create_default_context()
NO_TLS_CHECK.check_hostname = False
NO_TLS_CHECK.verify_mode = ssl.CERT_NONE


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def request(url, method="GET", data=None, headers=None, timeout=5, tls=NO_TLS_CHECK):
    """-> (status, headers, body text); proxies of the environment are not used."""
    if data is not None and not isinstance(data, bytes):
        data = json.dumps(data).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    try:
        with opener.open(urllib.request.Request(url, data, headers or {}, method=method), timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def self_signed(folder, name="localhost", stem=("private.pem", "file.crt")):
    import simpki
    key, cert = (os.path.join(folder, part) for part in stem)
    simpki.new_key(key)
    simpki.new_cert(cert, key, f"/CN={name}", f"basicConstraints=CA:TRUE\nsubjectAltName=DNS:{name},IP:127.0.0.1\n")
    return key, cert


def frame(sock, data):
    sock.sendall(struct.pack(">I", len(data)) + data)


def read_all(sock):
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


class Program:
    """A program of the simulation in a process of its own; its output can be awaited line by line."""

    def __init__(self, name, *args, cwd=None, env=None):
        clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
        self.lines, self.changed = [], threading.Condition()
        self.process = subprocess.Popen([sys.executable, "-B", str(SIM / name), *args], cwd=cwd,
                                        env={**clean, **(env or {})},
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def text(self):
        with self.changed:
            return "".join(self.lines)

    def wait_for(self, word, seconds=10):
        def seen():
            return any(word in line for line in self.lines)
        with self.changed:
            self.changed.wait_for(lambda: seen() or not self.reader.is_alive(), seconds)
            if not seen():
                raise AssertionError(f"{word!r} not seen in: {''.join(self.lines)}")

    def exit_code(self, seconds=10):
        code = self.process.wait(seconds)
        self.reader.join(seconds)
        return code

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)
        self.reader.join(10)
        self.process.stdout.close()


def wait_until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("did not happen in time")
        time.sleep(0.02)


class SimTest(unittest.TestCase):
    """A temporary directory, and programs that are stopped afterwards."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="simtest-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text if isinstance(text, str) else json.dumps(text))
        return path

    def program(self, *args, **kwargs):
        program = Program(*args, **kwargs)
        self.addCleanup(program.stop)
        return program
