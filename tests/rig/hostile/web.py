# SPDX-License-Identifier: Apache-2.0
"""Faults of HTTP itself: lengths, headers, chunks, time, redirects, answers that are lost."""

import itertools

from . import Gone, behaviour, response


@behaviour("http", "good")
def good(talk):
    """what a good peer does"""
    while True:
        talk.send(talk.good())


def split(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def with_length(talk, length):
    """The good answer with another Content-Length."""
    head, body = split(talk.good())
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    talk.send(b"\r\n".join([*lines, b"Content-Length: " + length]) + b"\r\n\r\n" + body)


@behaviour("http", "length-too-long")
def length_too_long(talk):
    """promises more than it sends, and closes"""
    with_length(talk, b"65536")


@behaviour("http", "length-negative")
def length_negative(talk):
    """Content-Length: -1"""
    with_length(talk, b"-1")


@behaviour("http", "length-no-number")
def length_no_number(talk):
    """Content-Length: seven"""
    with_length(talk, b"seven")


@behaviour("http", "length-overflow")
def length_overflow(talk):
    """a Content-Length that no 64-bit number holds"""
    with_length(talk, b"99999999999999999999999")


@behaviour("http", "length-terabyte")
def length_terabyte(talk):
    """promises a terabyte, and goes on sending"""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n")
    while True:
        talk.send(b" " * 65536)


@behaviour("http", "length-twice")
def length_twice(talk):
    """two Content-Lengths that differ"""
    _, body = split(talk.good())
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 70000\r\n\r\n" + body)


@behaviour("http", "body-endless")
def body_endless(talk):
    """no length, and no end"""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        talk.send(b"[" * 65536)


@behaviour("http", "chunks-endless")
def chunks_endless(talk):
    """chunk after chunk"""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        talk.send(b"1000\r\n" + b" " * 4096 + b"\r\n")


@behaviour("http", "chunk-no-number")
def chunk_no_number(talk):
    """a chunk of the size \"zz\""""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")


@behaviour("http", "chunk-cut")
def chunk_cut(talk):
    """closes in the middle of a chunk"""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n{")


@behaviour("http", "headers-endless")
def headers_endless(talk):
    """one header after the other, for ever"""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        talk.send(b"X-%d: %s\r\n" % (number, b"x" * 1000))


@behaviour("http", "header-huge")
def header_huge(talk):
    """one header without an end"""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        talk.send(b"x" * 65536)


@behaviour("http", "continue-endless")
def continue_endless(talk):
    """\"100 Continue\" for ever"""
    talk.good()
    while True:
        talk.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@behaviour("http", "drip-headers")
def drip_headers(talk):
    """a good answer, one byte a second"""
    for byte in talk.good():
        talk.send(bytes([byte]))
        talk.pause(1)


@behaviour("http", "drip-body")
def drip_body(talk):
    """good headers at once, then one byte a second"""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(100):
        talk.send(b" ")
        talk.pause(1)


@behaviour("http", "stall-at-99")
def stall_at_99(talk):
    """all but the last byte, then nothing"""
    head, body = split(talk.good())
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    body += b" " * 99
    talk.send(b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body[:-1])
    talk.forever()


@behaviour("http", "stall-before-answer")
def stall_before_answer(talk):
    """reads the request and says nothing"""
    talk.good()
    talk.forever()


@behaviour("http", "http-0.9")
def http_09(talk):
    """a body without a status line"""
    talk.good()
    talk.send(b"<html>hello</html>")


@behaviour("http", "status-line-garbage")
def status_line_garbage(talk):
    """a status of seven digits"""
    talk.good()
    talk.send(b"HTTP/1.1 2000000 OK\r\nContent-Length: 2\r\n\r\n{}")


@behaviour("http", "reply-lost")
def reply_lost(talk):
    """does what was asked (peer.effects), and closes without an answer"""
    talk.peer.effects.append(talk.good())
    talk.conn.close()
    raise Gone


@behaviour("http", "second-answer")
def second_answer(talk):
    """the answer, and one more that nobody asked for"""
    talk.send(talk.good() + response(500, b"{\"error\":\"smuggled\"}"))


def redirect(name, location):
    def to(talk):
        where = location(talk) if callable(location) else location
        talk.good()
        talk.send(response(302, b"", f"Location: {where}"))
    to.__doc__ = f"redirects to {name.removeprefix('redirect-')}"
    behaviour("http", name)(to)


redirect("redirect-file", "file:///etc/passwd")
redirect("redirect-http", "http://127.0.0.1:9/")
redirect("redirect-loop", "/")
redirect("redirect-nowhere", "")


def status(code):
    def say(talk):
        talk.good()
        talk.send(response(code, b"{\"error\":\"said with \\u001b[31m%d\"}" % code))
    say.__doc__ = f"answers {code}"
    behaviour("http", f"status-{code}")(say)


for each in (204, 401, 404, 500, 503):
    status(each)
