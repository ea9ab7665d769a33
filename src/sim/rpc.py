# SPDX-License-Identifier: Apache-2.0
"""Upstream's pRPC: JSON or protobuf calls dispatched by a table of methods, errors as chains of causes."""

import contextlib
import json
import os

import proto
import serde
from base import Reply, dump_json

BODY_LIMIT = 10 << 20


class RpcError(Exception):
    """A failure with its causes, outermost first, printed as anyhow prints it."""

    def __init__(self, *chain):
        super().__init__(*chain)
        self.chain = chain

    def __str__(self):
        head, *causes = self.chain
        if not causes:
            return head
        if len(causes) == 1:
            return f"{head}\n\nCaused by:\n    {causes[0]}"
        return f"{head}\n\nCaused by:\n" + "\n".join(f"    {n}: {cause}" for n, cause in enumerate(causes))


def os_error_text(error):
    return f"{os.strerror(error.errno)} (os error {error.errno})" if error.errno else str(error)


@contextlib.contextmanager
def context(*texts):
    """Adds texts in front of the causes of whatever fails inside."""
    try:
        yield
    except RpcError as error:
        raise RpcError(*texts, *error.chain) from error
    except OSError as error:
        raise RpcError(*texts, os_error_text(error)) from error
    except (serde.JsonError, ValueError) as error:
        raise RpcError(*texts, str(error)) from error


@contextlib.contextmanager
def file_context(action, path):
    """Turns an OSError into fs_err's one line, e.g. "failed to open file `PATH`: No such file …"."""
    try:
        yield
    except OSError as error:
        raise RpcError(f"failed to {action} `{path}`: {os_error_text(error)}") from error


def from_query(message, req):
    """The arguments of a GET: text, converted to what the fields are."""
    values = proto.complete(message, {})
    for _, name, kind in proto.MESSAGES[message]:
        label, bare = proto.field_kind(kind)
        for text in req.query.get(name, []):
            try:
                value = (int(text) if bare in ("u32", "u64") else {"true": True, "false": False}[text]
                         if bare == "bool" else serde.unhex(text) if bare == "hex" else text)
            except (KeyError, ValueError):
                raise RpcError(f"invalid value for `{name}`: {serde.quoted(text)}") from None
            if label == "repeated":
                values[name].append(value)
            else:
                values[name] = value
    return values


def decode_request(message, req, is_json):
    if req.method == "GET":
        return from_query(message, req)
    if not is_json:
        try:
            return proto.decode(message, req.body)
        except proto.ProtoError as error:
            raise RpcError(f"failed to decode Protobuf message: {error}") from error
    if not req.body or message == "Empty":
        return proto.complete(message, {})
    try:
        return proto.from_json(message, req.body)
    except serde.JsonError as error:
        raise RpcError(str(error)) from error


def encode_error(text, is_json):
    if is_json:
        return Reply(400, json.dumps({"error": text}, indent=2, ensure_ascii=False), "application/json")
    return Reply(400, proto.encode("ProtoError", {"message": text}), "application/octet-stream")


def handle(req, name, methods, call, trim="", construct=None):
    """A call of method name: call(name, arguments) -> answer values. construct() may refuse the caller beforehand."""
    by_query = req.method == "GET" or req.arg("json", "no") in ("true", "1", "")
    content = (req.headers.get("Content-Type") or "").split(";")[0].strip().lower()
    is_json = by_query or content == "application/json"
    while trim and name.startswith(trim):
        name = name[len(trim):]
    try:
        if len(req.body) > BODY_LIMIT:
            raise RpcError("failed to read data", "payload too large")
        if construct:
            with context("failed to construct call"):
                construct()
    except RpcError as error:
        return encode_error(str(error), by_query)
    try:
        if name not in methods:
            raise RpcError(f"Service not found: {name}")
        request, answer = methods[name]
        values = call(name, decode_request(request, req, is_json)) or {}
    except RpcError as error:
        return encode_error(str(error), is_json)
    if is_json:
        return Reply(200, dump_json(proto.to_jsonable(answer, values)), "application/json")
    return Reply(200, proto.encode(answer, values), "application/octet-stream")
