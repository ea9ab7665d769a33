# SPDX-License-Identifier: Apache-2.0
"""Intel's quote provider library as far as a host sees it: its settings file, its one request to the PCCS, its log."""

import hashlib
import json
import os
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request

DEFAULT_PATH = "/etc/sgx_default_qcnl.conf"
DEFAULTS = {"pccs_url": "https://localhost:8081/sgx/certification/v4/", "use_secure_cert": True,
            "retry_times": 0, "retry_delay": 0}
_LEGACY = {key.upper(): key for key in DEFAULTS}
TIMEOUT = 10

# The platform this simulation pretends to be. The first bytes say so to whoever prints them.
QE_ID = hashlib.sha256(b"dstack-host simulation: QE id").digest()[:16]
CPUSVN, PCESVN, PCEID = bytes(16), b"\x0d\x00", b"\x00\x00"
ENCRYPTED_PPID = (b"SIMULATED PPID, NOT ENCRYPTED.  " * 12)[:384]

# QCNL code -> (quote provider code, what the library logs about it)
_QPL = {0xb00f: (0xe011, "[QPL] No certificate data for this platform."), 0xb010: (0xe047, None),
        0xb012: (0xe049, None), 0xb013: (0xe040, None), 0xb011: (0xe044, None)}
_CURL = {0xb005: 6, 0xb006: 7, 0xb009: 28, 0xb00a: 60, 0xb003: 56}


class QuoteConfigError(Exception):
    """code: the 0xe0NN the library returns; qcnl: the 0xb0NN behind it."""

    def __init__(self, code, qcnl):
        super().__init__(f"0x{code:04x}")
        self.code, self.qcnl = code, qcnl


def _strip_comments(text):
    """Comments go, everything else stays: a trailing comma is an error to Intel's parser."""
    out, at = [], 0
    while at < len(text):
        end = at + 1
        if text[at] == '"':
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            end += 1
            out.append(text[at:end])
        elif text.startswith("//", at):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
        elif text.startswith("/*", at):
            close = text.find("*/", at + 2)
            if close < 0:
                raise ValueError("comment without an end")
            end = close + 2
        else:
            out.append(text[at])
        at = end
    return "".join(out)


def _first_wins(pairs):
    found = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


def parse(text, log):
    """The file's text -> settings. Wrong types and unknown keys are ignored, broken JSON means the defaults."""
    settings = dict(DEFAULTS)
    if not text.lstrip().startswith("{"):
        return _parse_legacy(text, settings)
    try:
        value = json.loads(_strip_comments(text), object_pairs_hook=_first_wins, parse_constant=_no_constant)
    except ValueError as error:
        log("error", f"[QCNL] Failed to parse the configuration file: {error}. Error code is 0xb035")
        return _parse_legacy(text, settings)
    for key, default in DEFAULTS.items():
        found = value.get(key)
        if type(found) is type(default) and (isinstance(found, (bool, str)) or found >= 0):
            settings[key] = found
    return settings


def _parse_legacy(text, settings):
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        key, value = _LEGACY.get(name.strip()), value.strip()
        if not sign or key is None or line.lstrip().startswith("#"):
            continue
        if key == "use_secure_cert":
            settings[key] = value.upper() != "FALSE"
        elif key == "pccs_url":
            settings[key] = value
        elif value.isdigit():
            settings[key] = int(value)
    return settings


def load(log, environ=None):
    path = (os.environ if environ is None else environ).get("QCNL_CONF_PATH") or DEFAULT_PATH
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError as error:
        log("error", f"[QCNL] Cannot open {path}: {error.strerror}, built-in defaults apply")
        return dict(DEFAULTS)
    return parse(text, log)


class QuoteConfig:
    """The settings as read once at start, and whether this process has already obtained its certificate."""

    def __init__(self, log, environ=None):
        self.log = log
        self.settings = load(log, environ)
        self.lock = threading.Lock()
        self.cached = False
        self.stopping = threading.Event()

    def obtain(self):
        """Fetches the PCK certificate unless that was done before; raises QuoteConfigError."""
        with self.lock:
            if self.cached:
                return
            qcnl = self._fetch_retrying()
            if qcnl == 0:
                self.cached = True
                return
        code, line = _QPL.get(qcnl, (0xe019, None))
        self.log("error", line or f"[QPL] Failed to get quote config. Error code is 0x{qcnl:04x}")
        raise QuoteConfigError(code, qcnl)

    def _fetch_retrying(self):
        delay = self.settings["retry_delay"]
        for attempt in range(self.settings["retry_times"] + 1):
            qcnl = self._fetch()
            if qcnl not in (0xb013, 0xb005, 0xb006, 0xb009):
                break
            if attempt < self.settings["retry_times"] and self.stopping.wait(delay or 2 ** attempt):
                break
        return qcnl

    def _fetch(self):
        """One request; 0 or the QCNL error code."""
        url = self.settings["pccs_url"].rstrip("/") + "/pckcert?" + urllib.parse.urlencode({
            "qeid": QE_ID.hex(), "encrypted_ppid": ENCRYPTED_PPID.hex(), "cpusvn": CPUSVN.hex(),
            "pcesvn": PCESVN.hex(), "pceid": PCEID.hex()})
        try:
            opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=self._tls()))
            with opener.open(url, timeout=TIMEOUT) as answer:
                answer.read()
            return 0
        except urllib.error.HTTPError as error:
            error.close()
            self.log("error", f"[QCNL] HTTP status code: {error.code} (simulated library)")
            return {403: 0xb003, 404: 0xb00f, 461: 0xb010, 462: 0xb012, 503: 0xb013}.get(error.code, 0xb011)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            qcnl = _network_code(reason)
            self.log("error", f"[QCNL] Encountered CURL error: ({_CURL[qcnl]}) {reason}")
            return qcnl

    def _tls(self):
        context = ssl.create_default_context()
        if not self.settings["use_secure_cert"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _network_code(reason):
    for kinds, code in (((ssl.SSLError,), 0xb00a), ((socket.gaierror,), 0xb005), ((TimeoutError,), 0xb009),
                        ((ConnectionRefusedError,), 0xb006)):
        if isinstance(reason, kinds):
            return code
    return 0xb003
