# SPDX-License-Identifier: Apache-2.0
"""How the PCCS finds its settings: node-config's file order, its lenient JSON, and PCCS's own defaults."""

import json
import os

# What the package's default.json says. Used only where no default.json exists: the real program always has one.
BUILT_IN = {
    "HTTPS_PORT": 8081,
    "hosts": "127.0.0.1",
    "uri": "https://api.trustedservices.intel.com/sgx/certification/v4/",
    "ApiKey": "",
    "proxy": "",
    "RefreshSchedule": "0 0 1 * * *",
    "UserTokenHash": "",
    "AdminTokenHash": "",
    "CachingFillMode": "LAZY",
    "OPENSSL_FIPS_MODE": False,
    "LogLevel": "info",
    "DB_CONFIG": "sqlite",
    "sqlite": {"options": {"storage": "pckcache.db", "logging": False}},
}


def strip_lenient(text):
    """JSON with comments and trailing commas -> plain JSON; strings are left alone."""
    out, at = [], 0
    while at < len(text):
        two = text[at:at + 2]
        if text[at] == '"':
            end = at + 1
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            out.append(text[at:end + 1])
            at = end + 1
        elif two == "//":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif two == "/*":
            end = text.find("*/", at + 2)
            if end < 0:
                raise ValueError("comment without an end")
            at = end + 2
        else:
            out.append(text[at])
            at += 1
    return _drop_trailing_commas(out)


def _drop_trailing_commas(parts):
    """parts: single characters and whole strings."""
    kept = []
    for part in parts:
        if part in ("}", "]"):
            back = len(kept) - 1
            while back >= 0 and kept[back].isspace():
                back -= 1
            if back >= 0 and kept[back] == ",":
                del kept[back]
        kept.append(part)
    return "".join(kept)


def merge(base, over):
    """Objects are merged, everything else is replaced."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def load(environ=None):
    """-> (settings, the files read). ValueError names the file that is not JSON."""
    environ = os.environ if environ is None else environ
    folders = [part for part in environ.get("NODE_CONFIG_DIR", "config").split(":") if part]
    settings, files = {}, []
    for name in ("default.json", "production.json", "local.json"):
        for folder in folders:
            path = os.path.join(folder, name)
            try:
                with open(path, encoding="utf-8") as stream:
                    text = stream.read()
            except FileNotFoundError:
                continue
            _merge_text(settings, text, path)
            files.append(path)
        if name == "default.json" and not files:
            merge(settings, json.loads(json.dumps(BUILT_IN)))
    if environ.get("NODE_CONFIG"):
        _merge_text(settings, environ["NODE_CONFIG"], "NODE_CONFIG")
        files.append("NODE_CONFIG")
    return settings, files


def _merge_text(settings, text, path):
    try:
        value = json.loads(strip_lenient(text))
    except ValueError as error:
        raise ValueError(f"Cannot parse config file: '{path}': {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"Cannot parse config file: '{path}': not an object")
    merge(settings, value)
