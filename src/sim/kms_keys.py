# SPDX-License-Identifier: Apache-2.0
"""The root keys of the simulated KMS and the files upstream's KMS keeps them in."""

import hashlib
import hmac
import json
import os
import re
import threading

import k256
import simpki
import tdquote

_X25519_DER = bytes.fromhex("302e020100300506032b656e04220420")  # PKCS #8 up to the 32 secret bytes


def simulated_quote(report_data):
    """A quote of a CVM that measures nothing; the stand-in CVM may give run() a better one."""
    return tdquote.quote_from_report(tdquote.make_report(bytes(48), [bytes(48)] * 4, report_data))


class Keys:
    """state_dir with tmp-ca, root-ca, rpc (.crt and .key), rpc-domain, root-k256.key, bootstrap-info.json."""

    def __init__(self, state_dir):
        self.state_dir = state_dir
        self.lock = threading.Lock()
        os.makedirs(state_dir, mode=0o700, exist_ok=True)

    def path(self, name):
        return os.path.join(self.state_dir, name)

    def present(self):
        return os.path.exists(self.path("root-k256.key"))  # written last

    def bootstrap(self, domain, quote=None):
        """New root keys. quote: makes a quote of report data; None (automatic bootstrap) leaves no bootstrap-info."""
        if not isinstance(domain, str) or not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", domain):
            raise ValueError("domain is missing or not a host name")
        with self.lock:
            self._new_ca("tmp-ca", "Dstack Client Temp CA (simulated)")
            self._new_ca("root-ca", "Dstack KMS CA (simulated)")
            simpki.write_private(self.path("rpc-domain"), domain.encode())
            secret = k256.new_secret(os.urandom(64))
            info = self._bootstrap_info(k256.public_key(secret), quote) if quote else None
            if info:
                simpki.write_private(self.path("bootstrap-info.json"), json.dumps(info).encode())
            simpki.write_private(self.path("root-k256.key"), secret)
        return info

    def _new_ca(self, name, common_name):
        simpki.new_key(self.path(name + ".key"))
        simpki.new_cert(self.path(name + ".crt"), self.path(name + ".key"),
                        f"/O=dstack-host simulation/CN={common_name}", simpki.CA)

    def _bootstrap_info(self, k256_pubkey, quote):
        ca_pubkey = simpki.openssl("pkey", "-in", self.path("root-ca.key"), "-pubout", "-outform", "DER")
        report_data = hashlib.sha256(b"dstack-kms-genereted-keys:" + ca_pubkey + k256_pubkey).digest()
        eventlog = json.dumps([{"imr": 3, "event": "simulated"}]).encode()
        return {"ca_pubkey": ca_pubkey.hex(), "k256_pubkey": k256_pubkey.hex(), "quote": quote(report_data).hex(),
                "eventlog": eventlog.hex()}

    def issue_rpc_cert(self):
        """A new certificate for the bootstrap domain, as upstream at every start; an IP address becomes a DNS name."""
        domain = simpki.read(self.path("rpc-domain")).decode()
        simpki.new_key(self.path("rpc.key"))
        simpki.new_cert(self.path("rpc.crt"), self.path("rpc.key"), "/O=dstack-host simulation/CN=KMS (simulated)",
                        f"{simpki.LEAF}extendedKeyUsage=serverAuth\nsubjectAltName=DNS:{domain}\n",
                        (self.path("root-ca.crt"), self.path("root-ca.key")))

    def secret(self):
        return simpki.read(self.path("root-k256.key"))

    def public_key(self):
        return k256.public_key(self.secret())

    def text(self, name):
        return simpki.read(self.path(name)).decode()

    def bootstrap_info(self):
        try:
            return json.loads(simpki.read(self.path("bootstrap-info.json")))
        except (OSError, ValueError):
            return None

    def env_encrypt_key(self, app_id):
        """-> (X25519 public key, signature over it by the root key) for this application."""
        secret = hmac.new(self.secret(), app_id + b"env-encrypt-key", hashlib.sha256).digest()
        public = simpki.openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", data=_X25519_DER + secret)[-32:]
        digest = k256.keccak256(b"dstack-env-encrypt-pubkey:" + app_id + public)
        return public, k256.sign(self.secret(), digest)
