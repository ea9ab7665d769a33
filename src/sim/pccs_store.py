# SPDX-License-Identifier: Apache-2.0
"""What the simulated PCCS keeps: its cache (one JSON file) and the simulated Intel authorities beside it."""

import json
import os
import tempfile
import threading

import simpki

ROOT, PLATFORM, PROCESSOR, PCK, SIGNER = "root", "platform", "processor", "pck", "tcb-signing"

_SUBJECTS = {
    ROOT: "Intel SGX Root CA (simulated)",
    PLATFORM: "Intel SGX PCK Platform CA (simulated)",
    PROCESSOR: "Intel SGX PCK Processor CA (simulated)",
    PCK: "Intel SGX PCK Certificate (simulated)",
    SIGNER: "Intel SGX TCB Signing (simulated)",
}


class Store:
    """A JSON object in a file; the real one is an SQLite database of the same name."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.lock = threading.Lock()
        self.data = {"simulated": True}
        if os.path.exists(self.path):
            with open(self.path, "rb") as stream:
                self.data = json.loads(stream.read())
            if not isinstance(self.data, dict) or self.data.get("simulated") is not True:
                raise ValueError(f"{self.path} is not the cache of a simulated PCCS")
        self.pki = Pki(os.path.join(os.path.dirname(self.path), "simulated-pki"))
        self._write()

    def _write(self):
        simpki.write_private(self.path, json.dumps(self.data, indent=1).encode())

    def remember(self, key, value):
        """Keeps the first value ever given for key; returns what is kept."""
        with self.lock:
            if key not in self.data:
                self.data[key] = value
                self._write()
            return self.data[key]

    def put(self, table, key, value):
        with self.lock:
            self.data.setdefault(table, {})[key] = value
            self._write()

    def get(self, table, key):
        with self.lock:
            return self.data.get(table, {}).get(key)

    def take_all(self, table):
        with self.lock:
            rows = self.data.pop(table, {})
            self._write()
            return list(rows.values())


class Pki:
    """The simulated authorities: made once, their CRLs anew at every start."""

    def __init__(self, folder):
        self.folder = folder
        if not os.path.isdir(folder):
            self._make()
        self.crls = {name: simpki.new_crl(self._cert(name), self._key(name)) for name in (ROOT, PLATFORM, PROCESSOR)}

    def _cert(self, name):
        return os.path.join(self.folder, name + ".crt")

    def _key(self, name):
        return os.path.join(self.folder, name + ".key")

    def _make(self):
        """In a directory beside the final one, so that a half-made set is never used."""
        parent, final = os.path.dirname(self.folder), self.folder
        self.folder = tempfile.mkdtemp(dir=parent, prefix=".pki-")
        for name, issuer in ((ROOT, None), (PLATFORM, ROOT), (PROCESSOR, ROOT), (SIGNER, ROOT), (PCK, PLATFORM)):
            simpki.new_key(self._key(name))
            simpki.new_cert(self._cert(name), self._key(name), f"/O=dstack-host simulation/CN={_SUBJECTS[name]}",
                            simpki.LEAF if name in (SIGNER, PCK) else simpki.CA,
                            issuer and (self._cert(issuer), self._key(issuer)))
        os.rename(self.folder, final)
        self.folder = final

    def pem(self, *names):
        return b"".join(simpki.read(self._cert(name)) for name in names)

    def sign(self, data):
        return simpki.sign_raw(self._key(SIGNER), data).hex()
