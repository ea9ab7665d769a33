# SPDX-License-Identifier: Apache-2.0
"""JSON read against a schema, failing with the words and positions of upstream's serde_json.

Schemas: "string", "bool", "u16", "u32", "u64", "hex", "size", "any", ("list", S), ("option", S),
("enum", NAME, [variants]), ("struct", NAME, {field: S or (S, default)}); a field without default is required.
"""

import json
import re

ESCAPES = {ord('"'): '"', ord("\\"): "\\", ord("/"): "/", ord("b"): "\b", ord("f"): "\f", ord("n"): "\n",
           ord("r"): "\r", ord("t"): "\t"}
EXPECTED = {"string": "a string", "bool": "a boolean", "u16": "u16", "u32": "u32", "u64": "u64", "hex": "a string",
            "size": "a string or integer"}
NUMBER = re.compile(rb"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
SIZE = re.compile(r"(?:0x([0-9a-fA-F]+)|(\d+)([KMGTkmgt]?)[Bb]?)$")


class JsonError(Exception):
    pass


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def parse_size(value):
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = SIZE.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"Invalid numeric value: {value}")
    if match[1]:
        return int(match[1], 16)
    return int(match[2]) << 10 * " KMGT".index((match[3] or " ").upper())


def unhex(text):
    """Hexadecimal to bytes as upstream's serde_human_bytes: 0x is allowed in front."""
    text = text[2:] if text[:2] in ("0x", "0X") else text
    if not re.fullmatch(r"([0-9a-fA-F]{2})*", text):
        raise ValueError("Odd number of digits" if len(text) % 2 else "Invalid character in hexadecimal text")
    return bytes.fromhex(text)


class Parser:
    def __init__(self, data):
        self.data = data.encode() if isinstance(data, str) else data
        self.pos = 0

    def fail(self, text, at=None):
        at = self.pos if at is None else at
        head = self.data[:at]
        column = at - (head.rfind(b"\n") + 1)
        raise JsonError(f"{text} at line {head.count(bytes([10])) + 1} column {column}")

    def fail_peek(self, text):
        self.fail(text, min(len(self.data), self.pos + 1))

    def peek(self):
        while self.pos < len(self.data) and self.data[self.pos] in b" \n\t\r":
            self.pos += 1
        return self.data[self.pos:self.pos + 1]

    def invalid_type(self, expected):
        head = self.peek()
        if head == b"[":
            found = "sequence"
        elif head == b"{":
            found = "map"
        else:
            value = self.scalar()
            found = ("null" if value is None else f"boolean `{str(value).lower()}`" if isinstance(value, bool)
                     else f"string {quoted(value)}" if isinstance(value, str)
                     else f"integer `{value}`" if isinstance(value, int) else f"floating point `{value}`")
        self.fail(f"invalid type: {found}, expected {expected}")

    def scalar(self):
        head = self.peek()
        if not head:
            self.fail_peek("EOF while parsing a value")
        if head == b'"':
            return self.string()
        for word, value in ((b"null", None), (b"true", True), (b"false", False)):
            if head == word[:1]:
                return self.word(word, value)
        if head in b"-0123456789":
            return self.number()
        return self.fail_peek("expected value")

    def word(self, word, value):
        for char in word:
            if self.pos >= len(self.data):
                self.fail("EOF while parsing a value")
            self.pos += 1
            if self.data[self.pos - 1] != char:
                self.fail("expected ident")
        return value

    def number(self):
        match = NUMBER.match(self.data, self.pos)
        if not match:
            self.pos += 1
            self.fail("EOF while parsing a value" if self.pos >= len(self.data) else "invalid number")
        self.pos = match.end()
        return float(match[0]) if match[2] or match[3] else int(match[0])

    def string(self):
        self.pos += 1
        out = bytearray()
        while True:
            if self.pos >= len(self.data):
                self.fail("EOF while parsing a string")
            char = self.data[self.pos]
            self.pos += 1
            if char == 0x22:
                break
            if char < 0x20:
                self.fail("control character (\\u0000-\\u001F) found while parsing a string")
            out += self.escape() if char == 0x5C else bytes([char])
        try:
            return out.decode()
        except UnicodeDecodeError:
            return self.fail("invalid unicode code point")

    def escape(self):
        char = self.data[self.pos] if self.pos < len(self.data) else self.fail("EOF while parsing a string")
        self.pos += 1
        if char in ESCAPES:
            return ESCAPES[char].encode()
        if char != ord("u"):
            self.fail("invalid escape")
        unit = self.hex_unit()
        if 0xD800 <= unit < 0xDC00:
            if self.data[self.pos:self.pos + 2] != b"\\u":
                self.fail("unexpected end of hex escape")
            self.pos += 2
            low = self.hex_unit()
            if not 0xDC00 <= low < 0xE000:
                self.fail("lone leading surrogate in hex escape")
            unit = 0x10000 + (unit - 0xD800 << 10) + (low - 0xDC00)
        elif 0xDC00 <= unit < 0xE000:
            self.fail("lone leading surrogate in hex escape")
        return chr(unit).encode()

    def hex_unit(self):
        text = self.data[self.pos:self.pos + 4]
        if len(text) < 4:
            self.pos = len(self.data)
            self.fail("EOF while parsing a string")
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", text):
            self.fail("invalid escape")
        self.pos += 4
        return int(text, 16)

    def value(self, schema):
        if isinstance(schema, str):
            return self.plain(schema)
        if schema[0] == "option":
            if self.peek() == b"n":
                return self.word(b"null", None)
            return self.value(schema[1])
        return getattr(self, "_" + schema[0])(*schema[1:])

    def plain(self, kind):
        head = self.peek()
        if not head:
            self.fail_peek("EOF while parsing a value")
        if kind == "any":
            return self.any(head)
        if kind in ("string", "hex"):
            if head != b'"':
                self.invalid_type(EXPECTED[kind])
            return self.string() if kind == "string" else self.checked(unhex, self.string())
        if kind == "bool":
            return self.scalar() if head in b"tf" else self.invalid_type(EXPECTED[kind])
        if kind == "size":
            return self.checked(parse_size, self.scalar() if head not in b"[{" else self.invalid_type(EXPECTED[kind]))
        if head not in b"-0123456789":
            self.invalid_type(EXPECTED[kind])
        number = self.number()
        if isinstance(number, float):
            self.fail(f"invalid type: floating point `{number}`, expected {kind}")
        if not 0 <= number < 1 << int(kind[1:]):
            self.fail(f"invalid value: integer `{number}`, expected {kind}")
        return number

    def checked(self, convert, value):
        try:
            return convert(value)
        except ValueError as error:
            return self.fail(str(error))

    def any(self, head):
        if head == b"[":
            return self._list("any")
        if head == b"{":
            return dict(self.members("a value", lambda _key: "any"))
        return self.scalar()

    def _list(self, item):
        if self.peek() != b"[":
            self.invalid_type("a sequence") if self.peek() else self.fail_peek("EOF while parsing a value")
        self.pos += 1
        out = []
        while True:
            head = self.peek()
            if head == b"]":
                self.pos += 1
                return out
            if out:
                self.comma(head, "a list", "expected `,` or `]`", b"]")
            elif not head:
                self.fail_peek("EOF while parsing a list")
            out.append(self.value(item))

    def comma(self, head, what, text, end):
        if not head:
            self.fail_peek(f"EOF while parsing {what}")
        if head != b",":
            self.fail_peek(text)
        self.pos += 1
        head = self.peek()
        if head == end:
            self.fail_peek("trailing comma")
        if not head:
            self.fail_peek("EOF while parsing a value")

    def members(self, expected, schema_of):
        """Yields (key, value) of an object; schema_of(key) chooses how a value is read."""
        if self.peek() != b"{":
            self.invalid_type(expected) if self.peek() else self.fail_peek("EOF while parsing a value")
        self.pos += 1
        first = True
        while True:
            head = self.peek()
            if head == b"}":
                self.pos += 1
                return
            if not first:
                self.comma(head, "an object", "expected `,` or `}`", b"}")
                head = self.peek()
            elif not head:
                self.fail_peek("EOF while parsing an object")
            if head != b'"':
                self.fail_peek("key must be a string")
            first, key = False, self.string()
            schema = schema_of(key)
            head = self.peek()
            if head != b":":
                self.fail_peek("expected `:`" if head else "EOF while parsing an object")
            self.pos += 1
            yield key, self.value(schema)

    def _struct(self, name, fields):
        def schema_of(key):
            if key in seen:
                self.fail(f"duplicate field `{key}`")
            known = fields.get(key, "any")
            if key in fields:
                seen.add(key)
            return known[0] if isinstance(known, tuple) and len(known) == 2 and known[0] not in KINDS else known

        seen = set()
        out = {key: value for key, value in self.members(f"struct {name}", schema_of) if key in fields}
        for key, known in fields.items():
            if key not in out:
                if isinstance(known, tuple) and len(known) == 2 and known[0] not in KINDS:
                    out[key] = known[1]() if callable(known[1]) else known[1]
                elif isinstance(known, tuple) and known[0] == "option":
                    out[key] = None
                else:
                    self.fail(f"missing field `{key}`")
        return out

    def _enum(self, name, variants):
        if self.peek() != b'"':
            self.invalid_type(f"enum {name}")
        text = self.string()
        if text not in variants:
            self.fail(f"unknown variant `{text}`, expected " + (
                "one of " if len(variants) > 2 else "") + (
                ", " if len(variants) > 2 else " or ").join(f"`{one}`" for one in variants))
        return text


KINDS = ("list", "option", "enum", "struct")


def loads(data, schema):
    parser = Parser(data)
    value = parser.value(schema)
    if parser.peek():
        parser.fail_peek("trailing characters")
    return value
