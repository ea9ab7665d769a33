# SPDX-License-Identifier: Apache-2.0
"""Simulated QGS: Intel's quote generation service, with its framing on a unix socket and, when asked, on vsock.

Like the real one it needs the SGX devices for everything, and the PCCS (found through the QCNL file) for quotes only;
a guest learns no more than 0x12001, the cause is in the log.
"""

import argparse
import os
import signal
import socket
import struct
import sys

import base
import qcnl
import tdquote

SOCKET = "/var/run/tdx-qgs/qgs.socket"
HEADER = struct.Struct("<HHIII")
GET_QUOTE, GET_COLLATERAL, GET_PLATFORM_INFO = 0, 2, 4
UNEXPECTED = 0x12001
TIMEOUT = 30
FRAME_LIMIT = 1 << 20
TDQE_ISVSVN, PCE_ISVSVN = 4, 13


def log(_level, text):
    print(text, flush=True)


def encode(kind, payload=b"", error=0):
    """A whole answer: length, header, payload."""
    size = HEADER.size + len(payload)
    return struct.pack(">I", size) + HEADER.pack(1, 1, kind, size, error) + payload


class Qgs:
    def __init__(self, dev="/dev", environ=None):
        self.dev = dev
        self.config = qcnl.QuoteConfig(log, environ)

    def enclave_error(self):
        """0, or the code of the library when the devices are not there for us."""
        enclave, provision = (os.path.join(self.dev, name) for name in ("sgx_enclave", "sgx_provision"))
        if not os.path.exists(enclave):
            log("error", f"[load_qe ../td_ql_logic.cpp] {enclave} is not there. 0x2006")
            return 0x1103f
        if not os.access(enclave, os.R_OK | os.W_OK):
            log("error", f"[load_qe ../td_ql_logic.cpp] no access to {enclave}. 0x4004")
            return 0x11016
        if not os.access(provision, os.R_OK | os.W_OK):
            log("error", f"[load_pce ../td_ql_logic.cpp] no access to {provision}. 0x4004 -> 0xe035")
            return 0x11035
        return 0

    def platform_info(self):
        code = self.enclave_error()
        if code:
            log("error", f"tee_att_get_platform_info return 0x{code:x}")
            return encode(GET_PLATFORM_INFO + 1, error=UNEXPECTED)
        sizes = struct.pack("<HHII", TDQE_ISVSVN, PCE_ISVSVN, len(qcnl.QE_ID), len(qcnl.CPUSVN))
        return encode(GET_PLATFORM_INFO + 1, sizes + qcnl.QE_ID + qcnl.CPUSVN)

    def quote(self, report):
        """The quote, or b"" with the reason in the log."""
        code = self.enclave_error()
        if not code:
            try:
                self.config.obtain()
                return tdquote.quote_from_report(report)
            except qcnl.QuoteConfigError as error:
                log("error", "[get_platform_quote_cert_data ../td_ql_logic.cpp] "
                             f"Error returned from the p_sgx_get_quote_config API. {error}")
                code = 0x11001
            except tdquote.QuoteError as error:
                log("error", f"tee_att_get_quote return 0x11002 ({error})")
                return b""
        log("error", f"tee_att_init_quote return 0x{code:x}")
        return b""

    def answer(self, message):
        """One framed request (without its length) -> the framed answer; b"" means close without one."""
        major, _minor, kind, _size, _error = HEADER.unpack_from(message)
        payload = message[HEADER.size:]
        if major != 1:
            log("error", "Cannot get msg type")
            return b""
        if kind == GET_PLATFORM_INFO:
            return self.platform_info()
        if kind == GET_QUOTE:
            return self.framed_quote(payload)
        if kind == GET_COLLATERAL:
            log("error", "tdx_ql_get_quote_verification_collateral: not part of the simulation")
            return encode(GET_COLLATERAL + 1, error=UNEXPECTED)
        log("error", "Whoops, bad request!")
        return b""

    def framed_quote(self, payload):
        report_size, id_size = struct.unpack_from("<II", payload) if len(payload) >= 8 else (0, 0)
        if not report_size or len(payload) != 8 + report_size + id_size:
            log("error", "qgs_msg_inflate_get_quote_req return error")
            return encode(GET_QUOTE + 1, error=UNEXPECTED)
        quote = self.quote(payload[8:8 + report_size])
        if not quote:
            return encode(GET_QUOTE + 1, error=UNEXPECTED)
        log("info", "tee_att_get_quote return Success")
        return encode(GET_QUOTE + 1, struct.pack("<II", 0, len(quote)) + quote)

    def serve(self, sock, _peer):
        """One connection: a framed message, or a bare TD report when the first bytes are no frame."""
        sock.settimeout(TIMEOUT)
        try:
            first = base.recv_exact(sock, 4 + HEADER.size)
            length, = struct.unpack_from(">I", first)
            if HEADER.unpack_from(first, 4)[3] == length and HEADER.size <= length <= FRAME_LIMIT:
                answer = self.answer(first[4:] + base.recv_exact(sock, length - HEADER.size))
            else:
                answer = self.quote(first + base.recv_exact(sock, tdquote.REPORT_SIZE - len(first)))
        except TimeoutError:
            log("error", "timeout")
            return
        if not answer:
            log("error", "resp_size is 0")
            return
        sock.sendall(answer)


def ready():
    """Tells systemd; nothing happens where there is none."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + where[1:] if where[0] == "@" else where)
            sock.send(b"READY=1")


def main(argv=None):
    parser = argparse.ArgumentParser(description="simulated QGS")
    parser.add_argument("--unix", default=SOCKET, help="socket to listen on")
    parser.add_argument("--vsock", metavar="CID:PORT", help="listen there as well")
    parser.add_argument("--dev", default="/dev", help="where the SGX devices are")
    args = parser.parse_args(argv)
    qgs = Qgs(args.dev)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the real one reloads; its settings need a restart all the same
    stop = base.StopSignal()
    try:
        servers = [base.StreamServer("unix:" + args.unix, qgs.serve)]
        os.chmod(args.unix, 0o660)
        if args.vsock:
            servers.append(base.StreamServer("vsock:" + args.vsock, qgs.serve))
    except (OSError, ValueError) as error:
        log("error", f"cannot listen: {error}")
        return 1
    log("info", f"About to start main loop (simulated QGS), PCCS {qgs.config.settings['pccs_url']}")
    ready()
    code = base.run_until_signal(*servers, stop=stop)
    qgs.config.stopping.set()
    return code


if __name__ == "__main__":
    sys.exit(main())
