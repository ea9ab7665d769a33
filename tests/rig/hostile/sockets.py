# SPDX-License-Identifier: Apache-2.0
"""Faults before a byte is understood."""

from . import Gone, behaviour


def nothing(_):
    """(the listening socket itself does it)"""


behaviour("socket", "refused")(nothing)
behaviour("socket", "never-accept")(nothing)
behaviour("socket", "backlog-full")(nothing)


@behaviour("socket", "close-at-once")
def close_at_once(talk):
    """accepts and closes"""
    talk.conn.close()
    raise Gone


@behaviour("socket", "reset-at-once")
def reset_at_once(talk):
    """accepts and resets"""
    talk.reset()


@behaviour("socket", "reset-after-request")
def reset_after_request(talk):
    """reads what comes and resets"""
    talk.receive()
    talk.reset()


@behaviour("socket", "silent")
def silent(talk):
    """accepts and never says a word"""
    talk.forever()


@behaviour("socket", "ssh")
def ssh(talk):
    """speaks first, and it is SSH"""
    talk.send(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
    talk.forever()


@behaviour("socket", "garbage")
def garbage(talk):
    """answers with all bytes there are, NUL first"""
    talk.receive()
    talk.send(bytes(range(256)) * 64)


@behaviour("socket", "answer-before-request")
def answer_before_request(talk):
    """a whole HTTP answer before anything was asked"""
    talk.send(b"HTTP/1.1 500 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    talk.forever()
