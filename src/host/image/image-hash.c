// SPDX-License-Identifier: Apache-2.0
/* SHA-256 by libcrypto's functions of old: their state, unlike EVP's, may be copied. */
#include "host/image/image-hash.h"

#include <errno.h>
#include <string.h>

#include "host/lib/lib-crypto.h"

_Static_assert(sizeof(SHA256_CTX) <= HASH_STATE_LEN, "the state has room");

int hash_load(void)
{
	return libcrypto_load();
}

void hash_init(struct hash *h)
{
	memset(h, 0, sizeof(*h));
	sym_SHA256_Init((SHA256_CTX *)(void *)h->state);
}

void hash_add(struct hash *h, const void *data, size_t len)
{
	sym_SHA256_Update((SHA256_CTX *)(void *)h->state, data, len);
}

void hash_end(struct hash *h, unsigned char ret[HASH_LEN])
{
	sym_SHA256_Final(ret, (SHA256_CTX *)(void *)h->state);
}

void hash_hex(const unsigned char hash[HASH_LEN], char ret[SHA256_HEX + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < HASH_LEN; i++) {
		ret[2 * i] = digits[hash[i] >> 4];
		ret[2 * i + 1] = digits[hash[i] & 15];
	}
	ret[SHA256_HEX] = '\0';
}

int hash_parse(const char *hex, unsigned char ret[HASH_LEN])
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(hex) != SHA256_HEX || strspn(hex, digits) != SHA256_HEX)
		return -EINVAL;
	for (size_t i = 0; i < HASH_LEN; i++)
		ret[i] = (unsigned char)((strchr(digits, hex[2 * i]) - digits) << 4 |
					 (strchr(digits, hex[2 * i + 1]) - digits));
	return 0;
}
