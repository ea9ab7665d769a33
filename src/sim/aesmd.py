# SPDX-License-Identifier: Apache-2.0
"""Simulated aesmd, for the container "aesmd": answers the simulated key provider on aesmd's socket.

The dialogue is the simulation's own (one line each way, not Intel's protobuf), the conditions are the real ones: the
SGX devices must be mapped in, and a quote needs the PCCS of the mounted QCNL file.
"""

import argparse
import os
import signal
import sys

import base
import qcnl

SOCKET = "/var/run/aesmd/aesm.socket"
# quote provider code -> AESM code
AESM = {0xe011: 44, 0xe019: 12, 0xe047: 31, 0xe049: 44}


class Aesmd:
    def __init__(self, dev="/dev", environ=None):
        self.dev = dev
        self.config = qcnl.QuoteConfig(base.log, environ)

    def status(self, request):
        """-> AESM code, 0 is success."""
        for name in ("sgx_enclave", "sgx_provision"):
            if not os.path.exists(os.path.join(self.dev, name)):
                base.log("error", f"no {name} in this container")
                return 2
        if request == b"ping":
            return 0
        if request != b"quote":
            return 1
        try:
            self.config.obtain()
        except qcnl.QuoteConfigError as error:
            return AESM.get(error.code, 30)
        return 0

    def serve(self, sock, _peer):
        sock.settimeout(90)
        with sock.makefile("rb") as stream:
            request = stream.readline(64).strip()
        code = self.status(request)
        if code:
            base.log("error", f"{request.decode(errors='replace')}: AESM error {code} (simulated)")
        sock.sendall(b"simulated %d\n" % code)


def main(argv=None):
    parser = argparse.ArgumentParser(description="simulated aesmd")
    parser.add_argument("--socket", default=SOCKET)
    parser.add_argument("--dev", default="/dev")
    args = parser.parse_args(argv)
    # As PID 1 of a container there is no default action for SIGTERM; docker stop would wait its ten seconds.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.makedirs(os.path.dirname(args.socket), exist_ok=True)
    aesmd = Aesmd(args.dev)
    server = base.StreamServer("unix:" + args.socket, aesmd.serve)
    os.chmod(args.socket, 0o777)
    base.log("info", f"simulated aesmd on {args.socket}, PCCS {aesmd.config.settings['pccs_url']}")
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
