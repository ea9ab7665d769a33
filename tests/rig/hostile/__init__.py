# SPDX-License-Identifier: Apache-2.0
"""Peers that misbehave, by name: one scripted server for HTTP, TLS, raw TCP, frames and unix sockets.

    import hostile                                        # PYTHONPATH=tests/rig
    answer = hostile.answers({"/_ping": (200, b"OK")})    # what a good peer would say
    with hostile.Peer("stall-at-99", answer) as peer:     # 127.0.0.1, a free port
        ... peer.port ...
    hostile.Peer("json-deep", answer, at="/tmp/a.sock")   # a unix socket
    hostile.Peer("wrong-host", answer, tls=True)          # TLS with that fault; hostile.tls.ca() is whom to trust
    hostile.Peer("frame-huge", hostile.frame(b"{}"))      # a length-prefixed answer instead of HTTP
    peer.seen                                             # the requests that came, as (method, path, headers, body)

"good" is a behaviour too. hostile.names(layer) lists them: "socket" (before a byte is understood), "http", "json"
(a good HTTP answer with a bad body), "range", "tls", "frame". A behaviour that waits ends when its peer is stopped
or the other side goes away; nothing here sleeps on.
"""

import contextlib
import os
import select
import socket
import struct
import threading

BEHAVIOURS = {}  # name -> (layer, function)
LAYERS = ("socket", "http", "json", "range", "tls", "frame")


def behaviour(layer, name):
    def add(function):
        assert name not in BEHAVIOURS, name
        BEHAVIOURS[name] = (layer, function)
        return function
    return add


def names(*layers):
    return [name for name, (layer, _) in BEHAVIOURS.items() if layer in layers]


def describe(name):
    return (BEHAVIOURS[name][1].__doc__ or name).split("\n")[0]


class Gone(Exception):
    """The other side, or the test, is through with this connection."""


class Request(tuple):
    """(method, path, headers, body); headers have small letters."""
    method, path, headers, body = (property(lambda self, i=i: self[i]) for i in range(4))


def response(status, body, *headers, length=None):
    """A whole HTTP/1.1 answer, correct unless length says another number."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def answers(table, otherwise=(404, b"{}")):
    """A good HTTP peer: {path without query: (status, body)}."""
    def good(request):
        status, body = table.get(request.path.partition("?")[0], otherwise)
        return response(status, body, "Content-Type: application/json")
    return good


def frame(payload):
    """A good peer that speaks in frames (4 bytes of length, big-endian), like QGS and the key provider."""
    return struct.pack(">I", len(payload)) + payload


class Talk:
    """One connection, as a behaviour sees it."""

    def __init__(self, peer, conn):
        self.peer, self.conn = peer, conn
        self.kept = b""

    def send(self, data):
        try:
            self.conn.sendall(data)
        except OSError as error:
            raise Gone from error

    def receive(self, most=65536):
        """Some bytes; Gone at the end."""
        try:
            data = self.conn.recv(most)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        return data

    def request(self):
        """The next HTTP request, also noted in peer.seen."""
        while b"\r\n\r\n" not in self.kept:
            self.kept += self.receive()
        head, _, rest = self.kept.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(rest) < length:
            rest += self.receive()
        self.kept = rest[length:]
        method, path, *_ = first.split(" ") + ["", ""]
        found = Request((method, path, headers, rest[:length]))
        self.peer.seen.append(found)
        return found

    def good(self):
        """Reads a request, returns what a good peer would answer."""
        if callable(self.peer.answer):
            return self.peer.answer(self.request())
        self.peer.seen.append(self.receive())
        return self.peer.answer or b""

    def pause(self, seconds):
        """Lets time pass; Gone when the peer is stopped or the other side leaves meanwhile."""
        readable, _, _ = select.select([self.peer.stopped_fd, self.conn], [], [], seconds)
        if self.peer.stopped_fd in readable:
            raise Gone
        if self.conn in readable:
            self.receive()

    def forever(self):
        while True:
            self.pause(3600)

    def reset(self):
        self.conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.conn.close()
        raise Gone


class Peer:
    """Listens from the start; serves each connection in a thread until the end of the block."""

    def __init__(self, name, answer=None, at=("127.0.0.1", 0), tls=False):
        self.name, self.answer, self.tls, self.at = name, answer, tls, at
        self.layer, self.function = BEHAVIOURS[name]
        self.certificate = name if self.layer == "tls" else "good"
        if tls or self.layer == "tls":
            prepare_tls(self.certificate)  # before there are threads
        self.seen, self.effects, self.threads, self.connections = [], [], [], []
        self.stopped_fd, self.stop_fd = os.pipe()
        if isinstance(at, str):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in at[0] else socket.AF_INET)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(at)
        self.port = None if isinstance(at, str) else self.socket.getsockname()[1]
        if name != "refused":
            self.socket.listen(64)
        if name not in ("refused", "never-accept", "backlog-full"):
            self.start(self.accept)
        elif name == "backlog-full":
            self.fill()

    def start(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def fill(self):
        """Takes all places in the queue, so that the next one is neither accepted nor refused."""
        self.socket.listen(0)
        for _ in range(4):
            conn = socket.socket(self.socket.family)
            conn.setblocking(False)
            with contextlib.suppress(OSError):
                conn.connect(self.socket.getsockname())
            self.connections.append(conn)

    def accept(self):
        while True:
            readable, _, _ = select.select([self.socket, self.stopped_fd], [], [])
            if self.stopped_fd in readable:
                return
            conn = self.socket.accept()[0]
            if conn.family != socket.AF_UNIX:
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(conn)
            self.start(self.serve, conn)

    def serve(self, conn):
        talk = Talk(self, conn)
        with contextlib.suppress(Gone, OSError):
            if self.layer == "tls" or (self.tls and self.layer != "socket"):
                talk.conn = tls.wrap(talk, self.certificate)
                self.connections.append(talk.conn)
            self.function(talk)
            # What was sent must arrive, and a close with unread bytes would reset it away.
            talk.conn.shutdown(socket.SHUT_WR)
            while True:
                talk.pause(3600)
        with contextlib.suppress(OSError):
            talk.conn.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.write(self.stop_fd, b"x")
        for conn in [*self.connections, self.socket]:
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        for conn in [*self.connections, self.socket]:
            conn.close()
        os.close(self.stop_fd)
        os.close(self.stopped_fd)
        if isinstance(self.at, str):
            os.unlink(self.at)


from . import bodies, frames, ranges, sockets, tls, web  # noqa: E402,F401 (they fill BEHAVIOURS)

prepare_tls = tls.context
