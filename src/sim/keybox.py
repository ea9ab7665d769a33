# SPDX-License-Identifier: Apache-2.0
"""Key derivation and sealing of the simulated key provider. It hides nothing: whoever has the quote can open the box.

The real provider seals with libsodium to the X25519 key in the first half of the report data. Python's standard library
has no X25519, so the box here only has the same size (80 bytes) and the same inputs.
"""

import hashlib
import hmac
import os

# Stands for the SGX sealing key, which in reality depends on the CPU and on the provider's MRENCLAVE.
SEALING_SECRET = b"dstack-host simulation: sealing secret"


def derive(measured, enclave=b""):
    """measured: as of tdquote.parse_quote(). enclave: another build of the provider, which has another key."""
    return hashlib.sha256(SEALING_SECRET + enclave + measured["mrtd"] + b"".join(measured["rtmrs"])).digest()


def _stream(ephemeral, recipient):
    return hashlib.sha256(b"simulated box" + ephemeral + recipient).digest()


def _tag(ephemeral, recipient, cipher):
    return hmac.new(recipient, ephemeral + cipher, hashlib.sha256).digest()[:16]


def seal(key, recipient):
    """32-byte key, 32-byte public key -> 80 bytes."""
    ephemeral = os.urandom(32)
    cipher = bytes(a ^ b for a, b in zip(key, _stream(ephemeral, recipient)))
    return ephemeral + _tag(ephemeral, recipient, cipher) + cipher


def open_box(box, recipient):
    """What the stand-in CVM does with the answer. ValueError when the box is not for this recipient."""
    ephemeral, tag, cipher = box[:32], box[32:48], box[48:]
    if len(box) != 80 or not hmac.compare_digest(tag, _tag(ephemeral, recipient, cipher)):
        raise ValueError("sealed key cannot be opened")
    return bytes(a ^ b for a, b in zip(cipher, _stream(ephemeral, recipient)))
