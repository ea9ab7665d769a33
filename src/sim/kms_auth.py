# SPDX-License-Identifier: Apache-2.0
"""What the simulated KMS asks the chain at every GetMeta, with the patience of the real one: no timeout at all."""

import json
import threading
import urllib.error
import urllib.request

GATEWAY_APP_ID, APP_IMPLEMENTATION = "0x95f51931", "0x25a992da"  # selectors of gatewayAppId() and appImplementation()
_ATTEMPTS, _SLOT = 12, 0.25
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # auth-eth does not use proxies either


class AuthError(Exception):
    """The chain answered, with an error."""


class Chain:
    def __init__(self, url, contract, stopping=None):
        self.url, self.contract = url, contract
        self.stopping = stopping or threading.Event()

    def info(self):
        """Three calls, each of which may hang for ever: upstream's known misbehaviour, kept on purpose."""
        gateway = bytes.fromhex(self._call(GATEWAY_APP_ID)[2:])
        chain_id = int(self._rpc("eth_chainId", []), 16)
        implementation = bytes.fromhex(self._call(APP_IMPLEMENTATION)[2:])
        if len(gateway) < 64 or len(implementation) != 32:
            raise AuthError("could not decode result data (no such contract on this chain?)")
        size = int.from_bytes(gateway[32:64], "big")
        return {"gateway_app_id": gateway[64:64 + size].decode(), "chain_id": chain_id,
                "app_auth_implementation": "0x" + implementation[12:].hex()}

    def _call(self, data):
        return self._rpc("eth_call", [{"to": self.contract, "data": data}, "latest"])

    def _rpc(self, method, params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        for attempt in range(_ATTEMPTS):
            try:
                answer = self._post(body)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 429:
                    raise AuthError(f"chain answers HTTP {error.code}") from error
                self._wait(_SLOT * 2 ** attempt)
                continue
            if "error" in answer:
                raise AuthError(f"chain answers {answer['error']}")
            return answer["result"]
        raise AuthError("chain answers HTTP 429, retries are used up")

    def _post(self, body):
        """Retries for ever while nobody is there: the library of upstream's auth-eth does."""
        while True:
            request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
            try:
                with _OPENER.open(request) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError:
                raise
            except OSError:
                self._wait(1)
            except ValueError as error:
                raise AuthError("chain answers something that is not JSON") from error

    def _wait(self, seconds):
        if self.stopping.wait(seconds):
            raise AuthError("the KMS is going down")
