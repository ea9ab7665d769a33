# SPDX-License-Identifier: Apache-2.0
"""Byte layouts of TD reports, TDX quotes (version 4) and SGX quotes (version 3), for simulated ones.

A simulated quote has the right shape and sizes, but its QE vendor id reads "dstack-simulated" and where signatures
would be there are repeated digests: no verifier can take it for a real one.
"""

import hashlib
import struct

VENDOR = b"dstack-simulated"  # 16 bytes, where real quotes have Intel's id
REPORT_SIZE = 1024
PLATFORM_ID = hashlib.sha256(b"dstack-host simulation: platform").digest()[:16]
HEADER, TD_BODY, SGX_BODY = 48, 584, 384


class QuoteError(ValueError):
    """These bytes are no (simulated) quote."""


def make_report(mrtd, rtmrs, report_data, mrconfigid=bytes(48)):
    """A 1024-byte TD report. mrtd, rtmrs[0..3]: 48 bytes each; report_data: up to 64 bytes."""
    mac = struct.pack("<4s12x16s48s48s64s32x32s", b"\x81\0\0\0", bytes(16), bytes(48), bytes(48),
                      report_data.ljust(64, b"\0"), b"simulated".ljust(32, b"\0"))
    tee_tcb_info = bytes(239)
    td_info = struct.pack("<8s8s48s48s48s48s192s112x", bytes(8), bytes(8), mrtd, mrconfigid, bytes(48), bytes(48),
                          b"".join(rtmrs))
    return mac + tee_tcb_info + bytes(17) + td_info


def _report_parts(report):
    if len(report) != REPORT_SIZE or report[0] != 0x81:
        raise QuoteError("not a TD report")
    return report[128:192], report[512:512 + 400]  # report data; attributes .. rtmr3


def _header(version, tee_type):
    return struct.pack("<HHIHH16s20s", version, 2, tee_type, 0, 0, VENDOR, PLATFORM_ID + b"sim\0")


def _signature(signed):
    """What stands for signature, key and certification data: digests, and a text instead of a certificate chain."""
    digest = hashlib.sha512(signed).digest()
    chain = b"simulated: no certificate chain\n"
    qe = bytes(384) + digest + struct.pack("<H", 32) + bytes(32) + struct.pack("<HI", 5, len(chain)) + chain
    data = digest + digest + struct.pack("<HI", 6, len(qe)) + qe
    return struct.pack("<I", len(data)) + data


def quote_from_report(report):
    """TD report -> simulated TDX quote, version 4."""
    report_data, td_info = _report_parts(report)
    attributes, xfam, measured = td_info[:8], td_info[8:16], td_info[16:]
    body = bytes(16) + bytes(48) + bytes(48) + bytes(8) + attributes + xfam + measured + report_data
    signed = _header(4, 0x81) + body
    return signed + _signature(signed)


def parse_quote(quote):
    """-> {"mrtd", "rtmrs": [4], "mrconfigid", "report_data", "platform_id", "vendor"} of a TDX quote of version 4."""
    if len(quote) < HEADER + TD_BODY + 4:
        raise QuoteError(f"quote of {len(quote)} bytes is too short")
    version, _key_type, tee_type, _qe, _pce, vendor, user_data = struct.unpack_from("<HHIHH16s20s", quote)
    if version != 4 or tee_type != 0x81:
        raise QuoteError(f"not a TDX quote of version 4 (version {version}, TEE type 0x{tee_type:x})")
    size, = struct.unpack_from("<I", quote, HEADER + TD_BODY)
    if HEADER + TD_BODY + 4 + size > len(quote):
        raise QuoteError("quote is cut off")
    body = quote[HEADER:HEADER + TD_BODY]
    return {"vendor": vendor, "platform_id": user_data[:16], "mrtd": body[136:184], "mrconfigid": body[184:232],
            "rtmrs": [body[at:at + 48] for at in range(328, 520, 48)], "report_data": body[520:584]}


def sgx_quote(report_data):
    """A simulated SGX quote of version 3 with this report data (up to 64 bytes)."""
    signed = _header(3, 0) + bytes(320) + report_data.ljust(64, b"\0")
    return signed + _signature(signed)


def sgx_report_data(quote):
    if len(quote) < HEADER + SGX_BODY or struct.unpack_from("<H", quote)[0] != 3:
        raise QuoteError("not an SGX quote of version 3")
    return quote[HEADER + 320:HEADER + SGX_BODY]
