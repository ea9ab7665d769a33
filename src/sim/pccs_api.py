# SPDX-License-Identifier: Apache-2.0
"""The REST interface of the simulated PCCS: paths, parameters, tokens, status codes and headers of the real one."""

import datetime
import hashlib
import hmac
import html
import json
import os
import re
import socket
import urllib.parse
import uuid

import base
from pccs_store import PCK, PLATFORM, PROCESSOR, ROOT, SIGNER

OK = 200, "Operation successful."
INVALID = 400, "Invalid request parameters."
UNAUTHORIZED = 401, "Authentication failed."
NO_CACHE = 404, "No cache data for this platform."
END_OF_LIFE = 410, "API version 3 is no longer supported."
PCS_FAILURE = 502, "Unable to retrieve the collateral from the Intel SGX PCS."
UNKNOWN_PLATFORM = 461, "The platform was not found in the cache."

_HEX = {"qeid": r"[0-9a-fA-F]{1,260}", "cpusvn": r"[0-9a-fA-F]{32}", "pcesvn": r"[0-9a-fA-F]{4}",
        "pceid": r"[0-9a-fA-F]{4}", "encrypted_ppid": r"[0-9a-fA-F]{768}", "fmspc": r"[0-9a-fA-F]{12}",
        "ca": r"processor|platform", "encoding": r"der", "update": r"early|standard"}
PROXY_TIMEOUT = 1
FMSPC = "5ee000000000"  # "see": of no real processor


# Where this program also answers as Intel's Provisioning Certification Service (PCS_URL).
PCS_PREFIX = "/simulated-pcs/sgx/certification/v4/"


def is_good_key(key):
    return bool(re.fullmatch(r"[a-zA-Z0-9]{32}", key)) and not key.startswith("bad")


class Refused(Exception):
    def __init__(self, status):
        super().__init__(status[1])
        self.status = status


def text(status, headers=None):
    return base.reply(status[0], status[1], "text/html; charset=utf-8", headers)


def need(req, *names, optional=()):
    """The named query arguments, checked; Refused when one is missing or malformed."""
    found = {}
    for name in (*names, *optional):
        value = req.arg(name)
        if value is None and name in optional:
            continue
        if value is None or not re.fullmatch(_HEX[name], value):
            raise Refused(INVALID)
        found[name] = value
    return found


class Api:
    """One call per request."""

    def __init__(self, settings, version, store, log):
        self.settings, self.version, self.store, self.log = settings, version, store, log
        self.pki = store.pki
        self.routes = {
            ("GET", "sgx", "pckcert"): self.pckcert, ("GET", "sgx", "pckcrl"): self.pckcrl,
            ("GET", "sgx", "rootcacrl"): self.rootcacrl, ("GET", "sgx", "crl"): self.crl,
            ("GET", "sgx", "tcb"): self.tcb, ("GET", "tdx", "tcb"): self.tcb,
            ("GET", "sgx", "qe/identity"): self.identity, ("GET", "tdx", "qe/identity"): self.identity,
            ("GET", "sgx", "qve/identity"): self.identity,
            ("GET", "sgx", "appraisalpolicy"): self.get_policy, ("PUT", "sgx", "appraisalpolicy"): self.put_policy,
            ("GET", "sgx", "platforms"): self.get_platforms, ("POST", "sgx", "platforms"): self.post_platforms,
            ("PUT", "sgx", "platformcollateral"): self.put_collateral,
            ("POST", "sgx", "refresh"): self.refresh, ("GET", "sgx", "refresh"): self.refresh,
        }

    def __call__(self, req):
        request_id = uuid.uuid4().hex
        self.log("info", f"Client Request-ID : {request_id}")
        try:
            answer = self.route(req)
        except Refused as refused:
            self.log("error", f"Error: {refused}")
            answer = text(refused.status)
        self.log("info", f"{req.peer[0] if req.peer else '-'} {req.method} {req.path} -> {answer.status}")
        answer.headers["Request-ID"] = request_id
        return answer

    def route(self, req):
        if req.path.startswith(PCS_PREFIX):
            return self.pcs(req)
        match = re.fullmatch(r"/(sgx|tdx)/certification/v(\d)/(.+)", req.path)
        if match and match.group(2) == "3":
            return text(END_OF_LIFE, {"Warning": '299 - "SGX API v3 has reached its end of life"'})
        handler = None
        if match and int(match.group(2)) == self.version:
            handler = self.routes.get((req.method, match.group(1), match.group(3)))
        if not handler:
            what = f"Cannot {req.method} {html.escape(req.path)}"
            return text((404, f"<!DOCTYPE html><html><body><pre>{what}</pre></body></html>\n"))
        return handler(req, match.group(1))

    def authorize(self, req, header, setting):
        token, wanted = req.headers.get(header), str(self.settings.get(setting, ""))
        # Compared as text, as up to 1.26: a hash written in upper case never matches.
        if token is None or not hmac.compare_digest(hashlib.sha512(token.encode()).hexdigest(), wanted):
            raise Refused(UNAUTHORIZED)

    # The stand-in for Intel's own service, for who asks it about an ApiKey

    def pcs(self, req):
        """pckcerts of a platform that does not exist: 401 or, with a good key, 404."""
        if req.path != PCS_PREFIX + "pckcerts" or req.method != "GET":
            return text((404, "no such resource (simulated PCS)"))
        if not is_good_key(req.headers.get("Ocp-Apim-Subscription-Key", "")):
            return text((401, "Access denied due to invalid subscription key (simulated PCS)"))
        if not re.fullmatch(_HEX["encrypted_ppid"], req.arg("encrypted_ppid", "")) or \
                not re.fullmatch(_HEX["pceid"], req.arg("pceid", "")):
            return text((400, "Bad Request (simulated PCS)"))
        return text((404, "Not Found (simulated PCS)"))

    # PCK certificates: the only thing the ApiKey is for

    def reach_pcs(self):
        """Through the proxy, where one is set: that at least must be there."""
        proxy = urllib.parse.urlsplit(str(self.settings.get("proxy") or ""))
        if not proxy.hostname:
            return
        try:
            socket.create_connection((proxy.hostname, proxy.port or 80), PROXY_TIMEOUT).close()
        except OSError as error:
            self.log("error", f"Error while accessing the simulated PCS through its proxy: {error}")
            raise Refused(PCS_FAILURE) from error

    def pcs_pckcerts(self):
        """The simulated Intel PCS: 200 or 401. The key itself is never logged."""
        self.reach_pcs()
        # A rehearsal needs no subscription: its unit lends a key to a host that has none.
        key = str(self.settings.get("ApiKey", "")) or os.environ.get("DSTACK_SIM_API_KEY", "")
        status = 200 if is_good_key(key) else 401
        self.log("info" if status == 200 else "error",
                 f"[URL={self.settings['uri']}pckcerts?...] -> [Status={status}] (simulated PCS)")
        return status

    def pckcert(self, req, _tee):
        args = need(req, "qeid", "cpusvn", "pcesvn", "pceid", optional=("encrypted_ppid",))
        name = (args["qeid"] + args["pceid"]).lower()
        if not self.store.get("platforms", name):
            if self.settings["CachingFillMode"] != "LAZY":
                raise Refused(UNKNOWN_PLATFORM)
            ppid = args.get("encrypted_ppid", "")
            if ppid and not ppid.strip("0"):
                self.log("error", "Encrypted ppid is all zeros.")
                raise Refused(NO_CACHE)
            if not ppid or self.pcs_pckcerts() != 200:
                raise Refused(NO_CACHE)
            self.store.put("platforms", name, {"qe_id": args["qeid"], "pce_id": args["pceid"]})
        return base.reply(200, self.pki.pem(PCK), "application/x-pem-file", {
            "SGX-PCK-Certificate-Issuer-Chain": self.chain(PLATFORM, ROOT),
            "SGX-TCBm": args["cpusvn"] + args["pcesvn"], "SGX-FMSPC": FMSPC, "SGX-PCK-Certificate-CA-Type": PLATFORM})

    def chain(self, *names):
        return urllib.parse.quote(self.pki.pem(*names).decode())

    # Collateral: no key needed

    def pckcrl(self, req, _tee):
        args = need(req, "ca", optional=("encoding",))
        der = self.pki.crls[PLATFORM if args["ca"] == "platform" else PROCESSOR]
        headers = {"SGX-PCK-CRL-Issuer-Chain": self.chain(args["ca"], ROOT)}
        if args.get("encoding") == "der":
            return base.reply(200, der, "application/pkix-crl", headers)
        return base.reply(200, der.hex(), "application/x-pem-file", headers)

    def rootcacrl(self, _req, _tee):
        # The real one answers from its cache once it has fetched it; this one has nothing to cache.
        self.reach_pcs()
        return base.reply(200, self.pki.crls[ROOT].hex(), "text/html; charset=utf-8")

    def crl(self, req, _tee):
        uri = req.arg("uri")
        if not uri:
            raise Refused(INVALID)
        if "RootCA" not in uri:
            raise Refused(NO_CACHE)
        return base.reply(200, self.pki.crls[ROOT].hex(), "text/html; charset=utf-8")

    def signed(self, name, body, headers):
        raw = base.dump_json(body)
        signature = self.pki.sign(raw.encode())
        return base.reply(200, f'{{"{name}":{raw},"signature":"{signature}"}}', "application/json", headers)

    def tcb(self, req, tee):
        fmspc = need(req, "fmspc", optional=("update",))["fmspc"].lower()
        body = {"id": tee.upper(), "version": 3, **_dates(), "fmspc": fmspc, "pceId": "0000", "tcbType": 0,
                "tcbEvaluationDataNumber": 17, "simulated": True,
                "tcbLevels": [{"tcb": {"sgxtcbcomponents": [{"svn": 0}] * 16, "pcesvn": 0},
                               "tcbDate": "2024-01-01T00:00:00Z", "tcbStatus": "UpToDate"}]}
        return self.signed("tcbInfo", body, {"TCB-Info-Issuer-Chain": self.chain(SIGNER, ROOT)})

    def identity(self, req, tee):
        need(req, optional=("update",))
        name = "QVE" if "/qve/" in req.path else "TD_QE" if tee == "tdx" else "QE"
        body = {"id": name, "version": 2, **_dates(), "tcbEvaluationDataNumber": 17, "simulated": True,
                "miscselect": "00000000", "miscselectMask": "FFFFFFFF", "attributes": "0" * 32,
                "attributesMask": "F" * 32, "mrsigner": "5e" * 32, "isvprodid": 2,
                "tcbLevels": [{"tcb": {"isvsvn": 0}, "tcbDate": "2024-01-01T00:00:00Z", "tcbStatus": "UpToDate"}]}
        return self.signed("enclaveIdentity", body, {"SGX-Enclave-Identity-Issuer-Chain": self.chain(SIGNER, ROOT)})

    # What needs a token

    def body(self, req):
        try:
            value = json.loads(req.body)
        except ValueError as error:
            raise Refused(INVALID) from error
        if not isinstance(value, dict):
            raise Refused(INVALID)
        return value

    def post_platforms(self, req, _tee):
        self.authorize(req, "user-token", "UserTokenHash")
        body = self.body(req)
        for name, kind in (("qe_id", "qeid"), ("pce_id", "pceid")):
            if not re.fullmatch(_HEX[kind], str(body.get(name, ""))):
                raise Refused(INVALID)
        name = (body["qe_id"] + body["pce_id"]).lower()
        row = {"qe_id": body["qe_id"], "pce_id": body["pce_id"], "fmspc": FMSPC}
        if self.settings["CachingFillMode"] == "OFFLINE":
            self.store.put("registered", name, row)
        elif self.pcs_pckcerts() != 200:
            raise Refused(NO_CACHE)
        else:
            self.store.put("platforms", name, row)
        return text(OK)

    def get_platforms(self, req, _tee):
        self.authorize(req, "admin-token", "AdminTokenHash")
        source = req.arg("source", "")
        if source == "reg":
            rows = self.store.take_all("registered")  # asking consumes the queue, as on the real one
        elif source == "reg_na" or re.fullmatch(r"\[[0-9a-fA-F,]*\]", source):
            rows = []
        else:
            raise Refused(INVALID)
        return base.reply_json(rows, headers={"platform-count": str(len(rows))})

    def put_collateral(self, req, _tee):
        self.authorize(req, "admin-token", "AdminTokenHash")
        rows = self.body(req).get("platforms", [])
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and row.get("qe_id") and row.get("pce_id"):
                kept = {"qe_id": row["qe_id"], "pce_id": row["pce_id"]}
                self.store.put("platforms", f"{row['qe_id']}{row['pce_id']}".lower(), kept)
        return text(OK)

    def refresh(self, req, _tee):
        self.authorize(req, "admin-token", "AdminTokenHash")
        if req.arg("type") not in (None, "", "certs"):
            raise Refused(INVALID)
        return text(OK)

    def put_policy(self, req, _tee):
        self.authorize(req, "admin-token", "AdminTokenHash")
        body = self.body(req)
        if not re.fullmatch(_HEX["fmspc"], str(body.get("fmspc", ""))) or not body.get("policy"):
            raise Refused(INVALID)
        self.store.put("policies", body["fmspc"].lower(), body["policy"])
        return base.reply(200, uuid.uuid4().hex, "text/html; charset=utf-8")

    def get_policy(self, req, _tee):
        policy = self.store.get("policies", need(req, "fmspc")["fmspc"].lower())
        if policy is None:
            raise Refused(NO_CACHE)
        return base.reply(200, policy if isinstance(policy, str) else base.dump_json(policy), "application/json")


def _dates():
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    later = now + datetime.timedelta(days=30)
    return {"issueDate": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "nextUpdate": later.strftime("%Y-%m-%dT%H:%M:%SZ")}
