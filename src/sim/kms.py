# SPDX-License-Identifier: Apache-2.0
"""Simulated KMS, run inside the stand-in CVM: onboarding over plain HTTP, then HTTPS on the same port.

run() is the whole interface. Only JSON is spoken, and what needs a remote-attestation client certificate is refused.
"""

import json
import re
import threading

import base
from kms_auth import AuthError, Chain
from kms_keys import Keys, simulated_quote

_RA_TLS = ("GetAppKey", "GetKmsKey", "SignCert", "ClearImageCache")
_PAGE = """<!DOCTYPE html>
<html><head><title>dstack KMS onboarding (simulated)</title></head><body><h1>Simulated dstack KMS: onboarding</h1>
<p>No root keys yet. POST /prpc/Onboard.Bootstrap?json {"domain": "..."}, then GET /finish.</p></body></html>
"""


class RpcError(Exception):
    """Becomes HTTP 400 with this text."""


def error_reply(message):
    return base.reply(400, json.dumps({"error": message}, indent=2), "application/json")


def rpc(req, prefix, methods):
    """Dispatches /prpc/[prefix.]Method to methods[Method](arguments); None when the path is not below /prpc/."""
    match = re.fullmatch(r"/prpc/(?:%s\.)?(\w+)" % prefix, req.path)
    if not match:
        return None
    if req.method != "GET" and "json" not in req.query and "json" not in req.headers.get("Content-Type", ""):
        return base.reply(400, "simulated KMS: JSON only, add ?json\n")
    method = methods.get(match.group(1))
    if method is None:
        return error_reply(f"Service not found: {match.group(1)}")
    try:
        args = {key: values[-1] for key, values in req.query.items()} if req.method == "GET" else req.json()
        if not isinstance(args, dict):
            raise RpcError("invalid type: expected an object")
        return base.reply_json(method(args))
    except (RpcError, AuthError) as error:
        return error_reply(str(error))
    except ValueError as error:
        return error_reply(f"invalid request: {error}")


class Onboarding:
    """The plain HTTP phase; finished is set when somebody ends it."""

    def __init__(self, keys, domain, quote, finished):
        self.keys, self.domain, self.quote, self.finished = keys, domain, quote, finished
        self.methods = {"Bootstrap": self.bootstrap, "Finish": self.finish, "Onboard": self.onboard}

    def __call__(self, req):
        if req.path == "/":
            answer = base.reply(200, _PAGE, "text/html; charset=utf-8")
        elif req.path == "/finish" and req.method == "GET":
            self.finish({})
            answer = base.reply(200, "OK")
        else:
            answer = rpc(req, "Onboard", self.methods) or base.reply(404, "not found (simulated KMS, onboarding)\n")
        answer.headers["Connection"] = "close"  # nobody may keep talking to this phase after the next has begun
        return answer

    def bootstrap(self, args):
        return self.keys.bootstrap(args.get("domain") or self.domain, self.quote)

    def finish(self, _args):
        self.finished.set()
        return {}

    def onboard(self, _args):
        raise RpcError("replication from another KMS is not part of the simulation")


class Service:
    """The HTTPS phase."""

    def __init__(self, keys, env, stopping):
        self.keys = keys
        self.contract = env.get("KMS_CONTRACT_ADDR")
        url = env.get("ETH_RPC_URL") or env.get("ETH_RPC_URLS", "").split(",")[0].strip()
        self.chain = Chain(url, self.contract, stopping) if url else None
        self.methods = {"GetMeta": self.get_meta, "GetTempCaCert": self.get_temp_ca_cert,
                        "GetAppEnvEncryptPubKey": self.get_env_key,
                        **{name: self.refuse for name in _RA_TLS}}

    def __call__(self, req):
        return rpc(req, "KMS", self.methods) or base.reply(404, "not found (simulated KMS)\n")

    def get_meta(self, _args):
        without = {"gateway_app_id": "any", "chain_id": None, "app_auth_implementation": None}
        info = self.chain.info() if self.chain else without
        boot = self.keys.bootstrap_info()
        return {"ca_cert": self.keys.text("root-ca.crt"), "allow_any_upgrade": self.chain is None,
                "k256_pubkey": self.keys.public_key().hex(), "bootstrap_info": boot, "is_dev": False,
                "gateway_app_id": info["gateway_app_id"], "kms_contract_address": self.contract if self.chain else None,
                "chain_id": info["chain_id"], "app_auth_implementation": info["app_auth_implementation"]}

    def get_temp_ca_cert(self, _args):
        return {"temp_ca_cert": self.keys.text("tmp-ca.crt"), "temp_ca_key": self.keys.text("tmp-ca.key"),
                "ca_cert": self.keys.text("root-ca.crt")}

    def get_env_key(self, args):
        public, signature = self.keys.env_encrypt_key(bytes.fromhex(str(args.get("app_id", "")).removeprefix("0x")))
        return {"public_key": public.hex(), "signature": signature.hex()}

    def refuse(self, _args):
        raise RpcError("needs a client certificate from remote attestation, which the simulation does not make")


def _serve(listen, app, tls, wake, listening):
    """All addresses until wake is set; listening() is called once they are open."""
    servers = []
    try:
        for ip, port in listen:
            where = f"tcp:[{ip}]:{port}" if ":" in ip else f"tcp:{ip}:{port}"
            servers.append(base.HttpServer(where, app, ident="simulated dstack-kms", tls=tls).start())
        listening()
        wake.wait()
    finally:
        for server in servers:
            server.stop()


def run(listen, state_dir, domain, env, progress, stop=None, quote=simulated_quote):
    """Blocks until stop (a threading.Event) is set, for ever without one. OSError when an address is taken.

    listen: [(ip, port)]; domain: used when a bootstrap names none; env: the compose's environment (ETH_RPC_URL,
    KMS_CONTRACT_ADDR, AUTO_BOOTSTRAP_DOMAIN); progress: called with each boot stage, "done" once something listens;
    quote: makes the CVM's quote of 32 bytes of report data.
    """
    stop = stop or threading.Event()
    keys = Keys(state_dir)
    progress("starting containers")
    automatic = env.get("AUTO_BOOTSTRAP_DOMAIN") or env.get("auto_bootstrap_domain")
    if automatic and not keys.present():
        keys.bootstrap(automatic)
        base.log("info", f"simulated KMS: bootstrapped by itself for {automatic}")
    while not keys.present() and not stop.is_set():
        finished = _either(stop)
        _serve(listen, Onboarding(keys, domain, quote, finished), None, finished, lambda: progress("done"))
        if not keys.present():
            base.log("error", "Failed to onboard: no keys (simulated KMS starts again)")
    if stop.is_set():
        return
    keys.issue_rpc_cert()
    tls = base.server_tls(keys.path("rpc.crt"), keys.path("rpc.key"))
    _serve(listen, Service(keys, env, stop), tls, stop, lambda: progress("done"))


def _either(stop):
    """An event of its own that is also set when stop is."""
    event = threading.Event()
    threading.Thread(target=lambda: (stop.wait(), event.set()), daemon=True).start()
    return event
