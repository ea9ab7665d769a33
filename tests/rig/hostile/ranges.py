# SPDX-License-Identifier: Apache-2.0
"""What servers do to somebody who goes on with half of a file. The good answer's body is the file."""

import re

from . import behaviour, response


def resource(talk):
    """(the file, offset that was asked for or None)."""
    body = talk.good().partition(b"\r\n\r\n")[2]
    asked = re.fullmatch(r"bytes=(\d+)-", talk.peer.seen[-1].headers.get("range", ""))
    return body, int(asked[1]) if asked else None


def part(body, first, total=None, tag="\"1\"", data=None):
    data = body[first:] if data is None else data
    total = len(body) if total is None else total
    return response(206, data, f"Content-Range: bytes {first}-{first + len(data) - 1}/{total}", f"ETag: {tag}")


def game(name, doc, play):
    """play(body, first) -> the answer to a request for a part; the whole is given with an ETag."""
    def say(talk):
        while True:
            body, first = resource(talk)
            talk.send(response(200, body, "ETag: \"1\"", "Accept-Ranges: bytes") if first is None else play(body, first))
    say.__doc__ = doc
    behaviour("range", name)(say)


def paced(talk):
    """parts are given, a quarter of a MiB at a time"""
    body, first = resource(talk)
    head, _, data = (part(body, first) if first else response(200, body)).partition(b"\r\n\r\n")
    talk.send(head + b"\r\n\r\n")
    for at in range(0, len(data), 1 << 18):
        talk.send(data[at:at + (1 << 18)])
        talk.pause(0.005)


def at_99(then):
    """Of the whole, then() after 99 %; a part is given."""
    def say(talk):
        body, first = resource(talk)
        if first is None:
            talk.send(response(200, body)[:-len(body) // 100])
            then(talk)
        else:
            talk.send(part(body, first))
    return say


behaviour("range", "range-paced")(paced)
behaviour("range", "range-close-at-99")(at_99(lambda talk: None))
behaviour("range", "range-stall-at-99")(at_99(lambda talk: talk.forever()))
game("range-good", "the part that was asked for", part)
game("range-ignored", "200 and the whole file again", lambda body, first: response(200, body, "ETag: \"1\""))
game("range-from-zero", "206, but from the beginning", lambda body, first: part(body, 0))
game("range-shifted", "206 with the right words and the wrong bytes",
     lambda body, first: part(body, first, data=body[first + 1:] + b"\0"))
game("range-changed", "206 of a file that is another one now", lambda body, first: part(body[::-1], first, tag="\"2\""))
game("range-longer", "206 of a file that has grown", lambda body, first: part(body + b"more", first))
game("range-not-satisfiable", "416", lambda body, first: response(416, b"", f"Content-Range: bytes */{len(body)}"))
game("range-without-words", "206 without Content-Range", lambda body, first: response(206, body[first:]))
