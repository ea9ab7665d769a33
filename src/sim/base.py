# SPDX-License-Identifier: Apache-2.0
"""Small shared base of all simulated programs: HTTP servers over unix, tcp and vsock, JSON replies, log, shutdown.

A program of the simulation is usually

    def handle(req):                      # called in a thread for each request
        if req.path == "/ping":
            return reply_json({"data": "pong"})
        return reply(404, b"<html>no such page</html>", "text/html; charset=utf-8")

    server = HttpServer("tcp:127.0.0.1:8081", handle, ident="pccs")
    run_until_signal(server)              # blocks; SIGTERM and SIGINT end it with 0

Raw (not HTTP) protocols: StreamServer(address, handle) calls handle(sock, peer) in a thread for each connection.
TLS: pass tls=server_tls(cert, key). Addresses: unix:PATH, tcp:HOST:PORT, vsock:CID:PORT.
"""

import contextlib
import ctypes
import datetime
import http.client
import http.server
import json
import os
import select
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse

BODY_LIMIT = 10 << 20
_log_lock = threading.Lock()


def log(level, text, stream=None):
    """One line to stdout (or stream), flushed, in the style of the tracing crate; never raises."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        with _log_lock:
            print(f"{now} {level.upper():>5} {text}", file=stream or sys.stdout, flush=True)
    except (OSError, ValueError):
        pass  # whoever read our output is gone; that must not end a server


class Request:
    """What a handler gets. query: dict of lists; peer: what accept(2) gave; local: the server's address text."""

    def __init__(self, method, target, headers, body, peer=None, local=""):
        split = urllib.parse.urlsplit(target)
        self.method = method
        self.target = target
        self.path = urllib.parse.unquote(split.path)
        self.query_string = split.query
        self.query = urllib.parse.parse_qs(split.query, keep_blank_values=True)
        self.headers = headers
        self.body = body
        self.peer = peer
        self.local = local

    def arg(self, name, default=None):
        return self.query.get(name, [default])[-1]

    def json(self):
        """The body as JSON; an empty body is {}."""
        return json.loads(self.body) if self.body.strip() else {}


class Reply:
    """What a handler returns. chunks: an iterator of bytes, sent chunked, instead of body."""

    def __init__(self, status=200, body=b"", ctype="text/plain; charset=utf-8", headers=None, chunks=None):
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        self.ctype = ctype
        self.headers = headers or {}
        self.chunks = chunks


def reply(status=200, body=b"", ctype="text/plain; charset=utf-8", headers=None):
    return Reply(status, body, ctype, headers)


def dump_json(value):
    """Compact, non-ASCII raw: as serde_json writes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def reply_json(value, status=200, headers=None):
    return Reply(status, dump_json(value), "application/json", headers)


def parse_address(text):
    """-> (family, sockaddr) of unix:PATH, tcp:HOST:PORT, HOST:PORT, vsock:CID:PORT (numbers in any C notation)."""
    kind, _, rest = text.partition(":")
    if kind == "unix":
        return socket.AF_UNIX, rest
    if kind == "vsock":
        cid, _, port = rest.partition(":")
        return socket.AF_VSOCK, (int(cid, 0), int(port, 0))
    host, _, port = (rest if kind == "tcp" else text).rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


def listen(address, replace=True, backlog=128):
    """A listening socket. A left-over unix socket is removed first (replace); the process umask decides its mode."""
    family, where = parse_address(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_UNIX and replace:
            try:
                os.unlink(where)
            except FileNotFoundError:
                pass
        if family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def server_tls(cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


class StreamServer(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Calls handle(sock, peer) in a thread for each connection. address may also be a listening socket."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address, handle, tls=None):
        self.socket = listen(address) if isinstance(address, str) else address
        self.address = address if isinstance(address, str) else str(self.socket.getsockname())
        self.handle = handle
        self.tls = tls
        self._thread = None
        super().__init__(self.socket.getsockname(), None)

    def fileno(self):
        return self.socket.fileno()

    def get_request(self):
        return self.socket.accept()

    def finish_request(self, request, client_address):
        # The TLS handshake belongs in the connection's own thread: a peer that sends nothing must not stop the others.
        sock = self.tls.wrap_socket(request, server_side=True) if self.tls else request
        try:
            self.handle(sock, client_address)
        finally:
            if sock is not request:
                self.shutdown_request(sock)

    def shutdown_request(self, request):
        try:
            request.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.close_request(request)

    def close_request(self, request):
        request.close()

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)):
            log("error", f"connection on {self.address}: {error!r}")

    def server_close(self):
        self.socket.close()

    def start(self):
        """Serve in a thread of its own; returns self."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()
        return self

    def stop(self):
        if self._thread:
            self.shutdown()
            self._thread.join()
        self.server_close()
        if self.address.startswith("unix:"):
            try:
                os.unlink(self.address[5:])
            except OSError:
                pass


class _HttpConnection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, sock, peer, server):
        self.app = server
        super().__init__(sock, peer, server)

    def version_string(self):
        return self.app.ident

    def log_message(self, fmt, *args):
        pass

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunked_body()
        size = int(self.headers.get("Content-Length") or 0)
        if size > self.app.body_limit:
            self.close_connection = True
            return None
        return self.rfile.read(size)

    def _chunked_body(self):
        parts, total = [], 0
        while True:
            size = int(self.rfile.readline(64).split(b";")[0], 16)
            total += size
            if total > self.app.body_limit:
                self.close_connection = True
                return None
            parts.append(self.rfile.read(size))
            self.rfile.readline(4)
            if size == 0:
                return b"".join(parts)

    def _serve(self):
        body = self._body()
        if body is None:
            return self._send(Reply(413, "payload too large"))
        req = Request(self.command, self.path, self.headers, body, self.client_address, self.app.address)
        try:
            answer = self.app.app(req)
        except Exception as error:  # a bug in one handler must not take the connection silently
            log("error", f"{self.command} {req.path}: {error!r}")
            answer = Reply(500, f"simulated program failed: {error!r}\n")
        self._send(answer)

    def _send(self, answer):
        self.send_response(answer.status)
        if answer.ctype:
            self.send_header("Content-Type", answer.ctype)
        for name, value in {**self.app.headers, **answer.headers}.items():
            self.send_header(name, value)
        if answer.chunks is None:
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in answer.chunks:
            if part:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = _serve


class HttpServer(StreamServer):
    """HTTP/1.1 with keep-alive; app(Request) -> Reply. headers: sent with every reply; ident: the Server header."""

    def __init__(self, address, app, ident="simulated", tls=None, headers=None, body_limit=BODY_LIMIT):
        self.app = app
        self.ident = ident
        self.headers = headers or {}
        self.body_limit = body_limit
        super().__init__(address, lambda sock, peer: _HttpConnection(sock, peer, self), tls)


class UnixHttpClient(http.client.HTTPConnection):
    """http.client over any address of parse_address()."""

    def __init__(self, address, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.address = address

    def connect(self):
        family, where = parse_address(self.address)
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(where)


def http_call(address, method, target, body=None, headers=None, timeout=30):
    """-> (status, headers, body). body: bytes, str, or anything else to be sent as JSON. Raises OSError."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, (bytes, str)):
        body = dump_json(body)
        headers.setdefault("Content-Type", "application/json")
    if isinstance(body, str):
        body = body.encode()
    connection = UnixHttpClient(address, timeout)
    try:
        with contextlib.suppress(BrokenPipeError):  # upstream may answer and close before it has taken the body
            connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(repr(error)) from error
    finally:
        connection.close()


class StopSignal:
    """SIGTERM and SIGINT as an event that can be awaited without races; to be made in the main thread."""

    def __init__(self, signals=(signal.SIGTERM, signal.SIGINT)):
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopped = False
        self.number = 0
        for number in signals:
            signal.signal(number, self._caught)
        # Python runs handlers between bytecodes: a signal that comes just before select(2) would not end it. This does.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def _caught(self, number, _frame):
        self.number = number
        self.set()

    def set(self):
        self._stopped = True
        try:
            os.write(self._write, b"!")
        except OSError:
            pass

    def wait(self, timeout=None):
        """True when stopped, False after timeout seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._stopped:
            left = None if end is None else end - time.monotonic()
            ready = left is None or left > 0
            ready = ready and select.select([self._read], [], [], left)[0]
            if not ready:
                return self._stopped
            if not self._stopped:
                os.read(self._read, 64)  # another signal's wake-up
        return True


def run_until_signal(*servers, stop=None):
    """Starts the servers, blocks until SIGTERM or SIGINT, stops them. The caller then returns 0 from main."""
    stop = stop or StopSignal()
    for server in servers:
        server.start()
        log("info", f"listening on {server.address}")
    stop.wait()
    for server in servers:
        server.stop()
    return 0


def recv_exact(sock, size):
    parts = []
    while size:
        part = sock.recv(min(size, 65536))
        if not part:
            raise ConnectionError("connection closed in the middle of a frame")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class FileWatch:
    """Awaits changes in a directory by inotify; one that does not exist makes wait() a mere pause."""

    GONE = 0x40 | 0x200  # IN_MOVED_FROM, DELETE
    MASK = GONE | 0x2 | 0x80 | 0x100  # IN_MODIFY, MOVED_TO, CREATE

    def __init__(self, directory, mask=MASK):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        libc.inotify_add_watch(self.fd, os.fsencode(directory), mask)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        os.close(self.fd)

    def wait(self, timeout=None):
        """True when something changed, False after timeout seconds."""
        ready, _, _ = select.select([self.fd], [], [], timeout)
        if ready:
            os.read(self.fd, 65536)
        return bool(ready)
