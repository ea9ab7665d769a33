# SPDX-License-Identifier: Apache-2.0
"""MRCONFIGID of a CVM, with the Keccak-256 that hashlib lacks."""

import hashlib

MASK = (1 << 64) - 1
KINDS = {"none": 0, "local": 1, "kms": 2}


def rotate(value, count):
    count %= 64
    return (value << count | value >> (64 - count)) & MASK if count else value


def keccak_f(lanes):
    lfsr = 1
    for _ in range(24):
        parity = [lanes[x][0] ^ lanes[x][1] ^ lanes[x][2] ^ lanes[x][3] ^ lanes[x][4] for x in range(5)]
        mix = [parity[(x + 4) % 5] ^ rotate(parity[(x + 1) % 5], 1) for x in range(5)]
        lanes = [[lanes[x][y] ^ mix[x] for y in range(5)] for x in range(5)]
        x, y, current = 1, 0, lanes[1][0]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x][y] = lanes[x][y], rotate(current, (step + 1) * (step + 2) // 2)
        for y in range(5):
            row = [lanes[x][y] for x in range(5)]
            for x in range(5):
                lanes[x][y] = row[x] ^ (~row[(x + 1) % 5] & MASK & row[(x + 2) % 5])
        for bit in range(7):
            lfsr = (lfsr << 1 ^ (lfsr >> 7) * 0x71) % 256
            if lfsr & 2:
                lanes[0][0] ^= 1 << (1 << bit) - 1
    return lanes


def keccak256(data):
    rate = 136
    padded = bytearray(data) + b"\x01" + bytes(-(len(data) + 1) % rate)
    padded[-1] |= 0x80
    lanes = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), rate):
        for index in range(rate // 8):
            word = padded[start + 8 * index:start + 8 * index + 8]
            lanes[index % 5][index // 5] ^= int.from_bytes(word, "little")
        lanes = keccak_f(lanes)
    return b"".join(lanes[index % 5][index // 5].to_bytes(8, "little") for index in range(4))


def mr_config_id(compose, key_provider, key_provider_id, app_id):
    """48 bytes: form 1 is the compose hash, form 2 (with a key provider's id) a hash over all that names the app."""
    digest = hashlib.sha256(compose).digest()
    if not key_provider_id:
        return (b"\x01" + digest).ljust(48, b"\0")
    body = digest + (app_id or digest[:20]) + bytes([KINDS[key_provider]]) + key_provider_id
    return (b"\x02" + keccak256(body)).ljust(48, b"\0")
