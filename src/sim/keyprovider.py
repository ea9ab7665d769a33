# SPDX-License-Identifier: Apache-2.0
"""Simulated gramine-sealing-key-provider, for the container of that name: quote in, sealed disk key out, over TCP."""

import argparse
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

import base
import keybox
import tdquote

AESM_SOCKET = "/var/run/aesmd/aesm.socket"
AESM_WAIT = 30
FRAME_LIMIT = 8 << 20
QUOTE_LIMIT = 1 << 20
CONNECTIONS = 32
IO_TIMEOUT = 30


def ask_aesmd(path, request, timeout=90):
    """-> AESM code; OSError when nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        sock.connect(path)
        sock.sendall(request + b"\n")
        with sock.makefile("rb") as stream:
            words = stream.readline(64).split()
    if len(words) != 2 or words[0] != b"simulated":
        raise ConnectionError("what answers there is not the simulated aesmd")
    return int(words[1])


def wait_for_aesmd(path, seconds):
    """True once it answers. Asks again and again: a socket left over in the volume exists before anyone listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            code = ask_aesmd(path, b"ping", 5)
            if code:
                base.log("error", f"aesmd answers AESM error {code}")
            return code == 0
        except OSError:
            if time.monotonic() >= end:
                base.log("error", f"no answer on {path} within {seconds} s")
                return False
            time.sleep(0.2)


class KeyProvider:
    def __init__(self, aesm_socket, enclave=b""):
        self.aesm_socket = aesm_socket
        self.enclave = enclave
        self.slots = threading.BoundedSemaphore(CONNECTIONS)

    def answer(self, request):
        """Request text -> answer text; ValueError when it is refused."""
        try:
            numbers = json.loads(request)["quote"]
            quote = bytes(numbers)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"request is not {{\"quote\": [bytes]}}: {error!r}") from error
        if len(quote) > QUOTE_LIMIT:
            raise ValueError("quote is too long")
        measured = tdquote.parse_quote(quote)
        if measured["vendor"] != tdquote.VENDOR or measured["platform_id"] != tdquote.PLATFORM_ID:
            raise ValueError("quote is from another platform (a simulated provider knows only simulated quotes)")
        code = ask_aesmd(self.aesm_socket, b"quote")
        if code:
            raise ValueError(f"AESM error {code}")
        box = keybox.seal(keybox.derive(measured, self.enclave), measured["report_data"][:32])
        provider_quote = tdquote.sgx_quote(hashlib.sha256(box).digest())
        return base.dump_json({"encrypted_key": list(box), "provider_quote": list(provider_quote)}).encode()

    def serve(self, sock, peer):
        if not self.slots.acquire(blocking=False):
            base.log("warn", f"{CONNECTIONS} connections already, {peer} refused")
            return
        try:
            sock.settimeout(IO_TIMEOUT)
            size, = struct.unpack(">I", base.recv_exact(sock, 4))
            if size > FRAME_LIMIT:
                raise ValueError(f"frame of {size} bytes is too long")
            answer = self.answer(base.recv_exact(sock, size))
            sock.sendall(struct.pack(">I", len(answer)) + answer)
            base.log("info", f"{peer}: sealed key provided (simulated)")
        except (OSError, ValueError) as error:
            base.log("error", f"{peer}: {error}")  # no answer: the connection closes, which is all the peer ever learns
        finally:
            self.slots.release()


def main(argv=None):
    parser = argparse.ArgumentParser(description="simulated gramine-sealing-key-provider")
    parser.add_argument("--listen", default=os.environ.get("LISTEN_ADDR", "0.0.0.0:3443"))
    parser.add_argument("--aesm-socket", default=AESM_SOCKET)
    parser.add_argument("--aesm-wait", type=float, default=AESM_WAIT)
    parser.add_argument("--enclave", default="", help="pretend to be another build, which derives other keys")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # as in aesmd: we may be PID 1
    if not wait_for_aesmd(args.aesm_socket, args.aesm_wait):
        return 1
    provider = KeyProvider(args.aesm_socket, args.enclave.encode())
    server = base.StreamServer("tcp:" + args.listen, provider.serve)
    base.log("info", f"simulated key provider listens on {args.listen}")
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
