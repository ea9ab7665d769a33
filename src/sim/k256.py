# SPDX-License-Identifier: Apache-2.0
"""Keccak-256 and recoverable secp256k1 signatures for the simulated KMS. Not constant-time: for simulated keys only."""

import hashlib
import hmac

_P = 2**256 - 2**32 - 977
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
      0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8)
_MASK = (1 << 64) - 1


def _rotate(value, by):
    return ((value << by) | (value >> (64 - by))) & _MASK


def _round_constants():
    register, constants = 1, []
    for _ in range(24):
        constant = 0
        for bit in range(7):
            if register & 1:
                constant |= 1 << ((1 << bit) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants


_ROUNDS = _round_constants()


def _permute(lanes):
    """Keccak-f[1600] on 25 lanes, index x + 5 y."""
    for constant in _ROUNDS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        for x in range(5):
            mix = columns[x - 1] ^ _rotate(columns[(x + 1) % 5], 1)
            for y in range(0, 25, 5):
                lanes[x + y] ^= mix
        x, y, current = 1, 0, lanes[1]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x + 5 * y] = lanes[x + 5 * y], _rotate(current, (step + 1) * (step + 2) // 2 % 64)
        for y in range(0, 25, 5):
            row = lanes[y:y + 5]
            for x in range(5):
                lanes[x + y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5] & _MASK)
        lanes[0] ^= constant


def keccak256(data):
    rate = 136
    padded = bytearray(data) + b"\x01"
    padded += bytes(-len(padded) % rate)
    padded[-1] |= 0x80
    lanes = [0] * 25
    for at in range(0, len(padded), rate):
        for lane in range(rate // 8):
            lanes[lane] ^= int.from_bytes(padded[at + 8 * lane:at + 8 * lane + 8], "little")
        _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % _P == 0:
            return None
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, _P) % _P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, _P) % _P
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _multiply(scalar, point=_G):
    total = None
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _compress(point):
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")


def public_key(secret):
    """32-byte secret -> 33-byte compressed public key."""
    return _compress(_multiply(int.from_bytes(secret, "big")))


def new_secret(seed):
    """A valid secret key out of any bytes."""
    return (int.from_bytes(hashlib.sha512(seed).digest(), "big") % (ORDER - 1) + 1).to_bytes(32, "big")


def sign(secret, digest):
    """-> 65 bytes r, s, recovery id (0 or 1), s in the lower half."""
    key, z = int.from_bytes(secret, "big"), int.from_bytes(digest, "big")
    nonce = int.from_bytes(new_secret(hmac.new(secret, digest, hashlib.sha512).digest()), "big")
    point = _multiply(nonce)
    r = point[0] % ORDER
    s = (z + r * key) * pow(nonce, -1, ORDER) % ORDER
    parity = point[1] & 1
    if s > ORDER // 2:
        s, parity = ORDER - s, parity ^ 1
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])


def recover(signature, digest):
    """-> the compressed public key that made this signature."""
    r, s = (int.from_bytes(signature[at:at + 32], "big") for at in (0, 32))
    y = pow(r**3 + 7, (_P + 1) // 4, _P)
    point = (r, y if y & 1 == signature[64] else _P - y)
    inverse = pow(r, -1, ORDER)
    z = int.from_bytes(digest, "big")
    return _compress(_add(_multiply(s * inverse % ORDER, point), _multiply(-z * inverse % ORDER)))
