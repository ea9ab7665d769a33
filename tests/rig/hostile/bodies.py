# SPDX-License-Identifier: Apache-2.0
"""Good HTTP with bodies that are not what they should be."""

import json

from . import behaviour, response

DEPTH = 100000


def body(name, doc, make):
    """make(the good body) -> what is sent with status 200."""
    def say(talk):
        while True:
            good = talk.good().partition(b"\r\n\r\n")[2]
            talk.send(response(200, make(good), "Content-Type: application/json"))
    say.__doc__ = doc
    behaviour("json", name)(say)


def mangled(good, change):
    """The good document with its values changed, if it is one."""
    try:
        return json.dumps(walk(json.loads(good), change)).encode()
    except ValueError:
        return json.dumps(change("")).encode()


def walk(value, change):
    if isinstance(value, dict):
        return {key: walk(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [walk(item, change) for item in value]
    return change(value)


def twice(good):
    """Every member of the outermost object again, with another value."""
    text = good.strip()
    if not text.startswith(b"{") or len(text) < 3:
        return b"{\"a\":1,\"a\":2}"
    first = next(iter(json.loads(text)))
    return text[:-1] + b", " + json.dumps(first).encode() + b": null}"


body("json-empty", "200 and no body", lambda good: b"")
body("json-null", "null", lambda good: b"null")
body("json-cut", "a document without its last byte", lambda good: good[:-1] if good[:-1] else b"{")
body("json-deep", "100000 brackets", lambda good: b"[" * DEPTH + b"]" * DEPTH)
body("json-deep-objects", "100000 objects in each other", lambda good: b"{\"a\":" * DEPTH + b"1" + b"}" * DEPTH)
body("json-invalid-utf8", "bytes that are no UTF-8 in every string",
     lambda good: good.replace(b"\"", b"\"\xff\xc0\xaf\xed\xa0\x80") or b"\"\xff\"")
body("json-utf16", "UTF-16 with a byte order mark", lambda good: good.decode("utf-8", "replace").encode("utf-16"))
body("json-html", "a web page", lambda good: b"<!DOCTYPE html><html><body>It works!</body></html>")
body("json-duplicate", "a member twice", twice)
body("json-types", "numbers for strings and the other way round",
     lambda good: mangled(good, lambda value: 7 if isinstance(value, str) else "7"))
body("json-error", "200 with the daemon's own words for no", lambda good: b"{\"error\":\"not today \\u001b[2J\\u0007\"}")
body("json-values", "as many values as go into 3 MB", lambda good: b"[" + b"0," * (3 << 19) + b"0]")
body("json-megabytes", "a good document of 12 MB", lambda good: b"[" + b"0," * (6 << 20) + b"0]")
body("json-long-string", "one string of 12 MB", lambda good: b"{\"error\":\"" + b"x" * (12 << 20) + b"\"}")
