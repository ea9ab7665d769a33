# SPDX-License-Identifier: Apache-2.0
"""Faults of length-prefixed frames (QGS, the key provider). The good answer is one whole frame."""

import struct

from . import behaviour


def frame(name, doc, make):
    """make(good frame) -> bytes sent before the connection is closed for writing."""
    def say(talk):
        talk.send(make(talk.good()))
    say.__doc__ = doc
    behaviour("frame", name)(say)


def drip(talk):
    """the good frame, one byte a second"""
    for byte in talk.good():
        talk.send(bytes([byte]))
        talk.pause(1)


def stall(talk):
    """all but the last byte, then nothing"""
    talk.send(talk.good()[:-1])
    talk.forever()


def endless(talk):
    """a frame of 4 GiB, really"""
    talk.good()
    talk.send(b"\xff\xff\xff\xff")
    while True:
        talk.send(b"\0" * 65536)


frame("frame-good", "the good answer", lambda good: good)
frame("frame-huge", "a length of 4 GiB", lambda good: b"\xff\xff\xff\xff" + good[4:])
frame("frame-cut", "closes one byte before the end", lambda good: good[:-1])
frame("frame-half-length", "two bytes of a length", lambda good: good[:2])
frame("frame-twice", "the answer twice", lambda good: good + good)
frame("frame-empty", "a frame without anything in it", lambda good: struct.pack(">I", 0))
frame("frame-zeros", "the right length, nothing but zeros", lambda good: good[:4] + bytes(len(good) - 4))
frame("frame-http", "HTTP", lambda good: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
behaviour("frame", "frame-drip")(drip)
behaviour("frame", "frame-stall")(stall)
behaviour("frame", "frame-endless")(endless)
