// SPDX-License-Identifier: Apache-2.0
/*
 * Keccak-256: FIPS 202's sponge with the padding of the original submission (0x01, where SHA3
 * has 0x06). Our own because libcrypto has it from 3.2 only, and Debian 12 has 3.0. It checks
 * for mistyped digits, so speed and side channels are no matter.
 */
#include "keccak.h"

#include <stdint.h>
#include <string.h>

enum { LANES = 25, ROUNDS = 24, RATE = 136 }; /* bytes: 1600 bits less twice 256 */

static uint64_t rotate(uint64_t v, unsigned n)
{
	return n ? v << n | v >> (64 - n) : v;
}

static void theta(uint64_t a[LANES])
{
	uint64_t c[5];

	for (int x = 0; x < 5; x++)
		c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
	for (int i = 0; i < LANES; i++)
		a[i] ^= c[(i + 4) % 5] ^ rotate(c[(i + 1) % 5], 1);
}

static void rho_pi(uint64_t a[LANES])
{
	uint64_t moved = a[1];
	int x = 1, y = 0;

	for (unsigned t = 0; t < 24; t++) {
		int next = (2 * x + 3 * y) % 5;
		uint64_t old;

		x = y;
		y = next;
		old = a[x + 5 * y];
		a[x + 5 * y] = rotate(moved, (t + 1) * (t + 2) / 2 % 64);
		moved = old;
	}
}

static void chi(uint64_t a[LANES])
{
	for (int y = 0; y < LANES; y += 5) {
		uint64_t row[5];

		memcpy(row, a + y, sizeof(row));
		for (int x = 0; x < 5; x++)
			a[y + x] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
	}
}

/* The round constant, bit by bit from the shift register of FIPS 202, algorithm 5. */
static uint64_t iota(unsigned *lfsr)
{
	uint64_t constant = 0;

	for (unsigned j = 0; j < 7; j++) {
		if (*lfsr & 1)
			constant |= 1ull << ((1u << j) - 1);
		*lfsr = *lfsr << 1 ^ (*lfsr & 0x80 ? 0x171 : 0);
	}
	return constant;
}

static void permute(uint64_t a[LANES])
{
	unsigned lfsr = 1;

	for (int round = 0; round < ROUNDS; round++) {
		theta(a);
		rho_pi(a);
		chi(a);
		a[0] ^= iota(&lfsr);
	}
}

static void absorb(uint64_t a[LANES], unsigned at, unsigned char byte)
{
	a[at / 8] ^= (uint64_t)byte << at % 8 * 8;
}

void keccak256(const void *data, size_t len, unsigned char ret[KECCAK256_LEN])
{
	const unsigned char *p = data;
	uint64_t a[LANES] = { 0 };
	unsigned at = 0;

	for (size_t i = 0; i < len; i++) {
		absorb(a, at++, p[i]);
		if (at == RATE) {
			permute(a);
			at = 0;
		}
	}
	absorb(a, at, 0x01);
	absorb(a, RATE - 1, 0x80);
	permute(a);
	for (unsigned i = 0; i < KECCAK256_LEN; i++)
		ret[i] = (unsigned char)(a[i / 8] >> i % 8 * 8);
}
