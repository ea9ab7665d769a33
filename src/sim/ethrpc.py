# SPDX-License-Identifier: Apache-2.0
"""Simulated Ethereum node: JSON-RPC 2.0 with one chain (Sepolia's id) on which one simulated KMS contract lives.

For rehearsals a word in the fault file changes its behaviour at once: "hang" (no answer) or "429" (rate limited).
"""

import argparse
import hashlib
import sys
import threading
import time

import base
import k256
from qgs import ready

CHAIN_ID = 11155111
KMS_CONTRACT = "0x" + "51" * 20
APP_IMPLEMENTATION = "0x" + "52" * 20
GATEWAY_APP_ID = "53" * 20
OWNER = "0x" + "54" * 20
CODE = "0x" + b"\x60\x80\x60\x40simulated contract".hex()
FAULT_FILE = "/run/dstack-sim/faults/ethrpc"
_GENESIS, _BLOCK_SECONDS = 1633267481, 12

_BOOT_INFO = "((address,bytes32,address,bytes32,bytes32,bytes32,bytes32,string,string[]))"


def word(value):
    return f"{value:064x}"


def abi_string(text):
    raw = text.encode()
    return word(32) + word(len(raw)) + raw.hex().ljust(-(-len(raw) // 32) * 64, "0")


def _selector(signature):
    return k256.keccak256(signature.encode())[:4].hex()


_ALLOWED = word(1) + word(64) + word(0)  # (true, "")
_KMS_ANSWERS = {_selector(name): answer for name, answer in (
    ("gatewayAppId()", abi_string(GATEWAY_APP_ID)),
    ("appImplementation()", word(int(APP_IMPLEMENTATION, 16))),
    ("appAuthImplementation()", word(int(APP_IMPLEMENTATION, 16))),
    ("owner()", word(int(OWNER, 16))),
    ("allowedOsImages(bytes32)", word(1)),
    ("kmsAllowedAggregatedMrs(bytes32)", word(1)),
    ("kmsAllowedDeviceIds(bytes32)", word(1)),
    ("registeredApps(address)", word(0)),
    ("isKmsAllowed" + _BOOT_INFO, _ALLOWED),
    ("isAppAllowed" + _BOOT_INFO, _ALLOWED),
)}


class RpcError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def height():
    return (int(time.time()) - _GENESIS) // _BLOCK_SECONDS


def _hash(kind, number):
    return "0x" + hashlib.sha256(f"simulated {kind} {number}".encode()).hexdigest()


def block(tag):
    """The block a tag or a hex number names, None when it is not there yet."""
    top = height()
    if tag in ("latest", "pending", "safe", "finalized"):
        number = top - {"safe": 32, "finalized": 64}.get(tag, 0)
    else:
        number = 0 if tag == "earliest" else quantity(tag)
    if number > top:
        return None
    return {"number": hex(number), "hash": _hash("block", number), "parentHash": _hash("block", number - 1),
            "timestamp": hex(_GENESIS + number * _BLOCK_SECONDS), "nonce": "0x0000000000000000", "difficulty": "0x0",
            "gasLimit": "0x3938700", "gasUsed": "0x0", "baseFeePerGas": "0x7", "miner": "0x" + "00" * 20,
            "extraData": "0x" + b"simulated".hex(), "stateRoot": _hash("state", number), "transactions": []}


def quantity(text):
    if not isinstance(text, str) or not text.startswith("0x"):
        raise RpcError(-32602, "invalid argument: hex string without 0x prefix")
    try:
        return int(text, 16)
    except ValueError as error:
        raise RpcError(-32602, "invalid argument: not a hex number") from error


def address(text):
    if not isinstance(text, str) or len(text) != 42:
        raise RpcError(-32602, "invalid argument: not an address")
    quantity(text)
    return text.lower()


def call(transaction, _tag="latest"):
    if not isinstance(transaction, dict):
        raise RpcError(-32602, "invalid argument 0: not an object")
    target = address(transaction.get("to"))
    data = transaction.get("data") or transaction.get("input") or "0x"
    if target != KMS_CONTRACT:
        return "0x"
    if data[2:10] not in _KMS_ANSWERS:
        raise RpcError(3, "execution reverted")
    return "0x" + _KMS_ANSWERS[data[2:10]]


METHODS = {
    "eth_chainId": lambda: hex(CHAIN_ID),
    "net_version": lambda: str(CHAIN_ID),
    "web3_clientVersion": lambda: "dstack-host-simulated",
    "eth_syncing": lambda: False,
    "eth_gasPrice": lambda: "0x7",
    "eth_blockNumber": lambda: hex(height()),
    "eth_getBlockByNumber": lambda tag, _full=False: block(tag),
    "eth_getCode": lambda where, _tag="latest": CODE if address(where) in (KMS_CONTRACT, APP_IMPLEMENTATION) else "0x",
    "eth_getBalance": lambda where, _tag="latest": address(where) and "0x0",
    "eth_call": call,
}


def answer_one(request):
    """One JSON-RPC request -> its response object, None for a notification."""
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str):
        return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "invalid request"}}
    response = {"jsonrpc": "2.0", "id": request.get("id")}
    try:
        method, params = METHODS.get(request["method"]), request.get("params", [])
        if method is None:
            raise RpcError(-32601, f"the method {request['method']} does not exist/is not available")
        if not isinstance(params, list):
            raise RpcError(-32602, "non-array args")
        try:
            response["result"] = method(*params)
        except TypeError as error:
            raise RpcError(-32602, "wrong number or type of arguments") from error
    except RpcError as error:
        response["error"] = {"code": error.code, "message": str(error)}
    return response if "id" in request else None


class EthRpc:
    def __init__(self, fault_file=FAULT_FILE):
        self.fault_file = fault_file
        self.stopping = threading.Event()

    def fault(self):
        try:
            with open(self.fault_file, encoding="ascii", errors="replace") as stream:
                return stream.read(16).strip()
        except OSError:
            return ""

    def __call__(self, req):
        while self.fault() == "hang" and not self.stopping.wait(0.2):
            pass
        if self.fault() == "429":
            error = {"code": 429, "message": "Too Many Requests"}
            return base.reply_json({"jsonrpc": "2.0", "id": None, "error": error}, 429)
        if req.method != "POST":
            return base.reply(405, "simulated Ethereum node: POST only\n")
        try:
            request = req.json()
        except ValueError:
            return base.reply_json({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}})
        if not isinstance(request, list) or not request:
            response = answer_one(request if not isinstance(request, list) else None)
            return base.reply_json(response) if response else base.reply(204)
        return base.reply_json([response for response in map(answer_one, request) if response])


def main(argv=None):
    parser = argparse.ArgumentParser(description="simulated Ethereum JSON-RPC")
    parser.add_argument("--listen", default="tcp:127.0.0.1:8545")
    parser.add_argument("--fault-file", default=FAULT_FILE)
    args = parser.parse_args(argv)
    app = EthRpc(args.fault_file)
    stop = base.StopSignal()
    try:
        server = base.HttpServer(args.listen, app, ident="simulated Ethereum node")
    except OSError as error:
        base.log("error", f"cannot listen on {args.listen}: {error}")
        return 1
    ready()
    code = base.run_until_signal(server, stop=stop)
    app.stopping.set()
    return code


if __name__ == "__main__":
    sys.exit(main())
