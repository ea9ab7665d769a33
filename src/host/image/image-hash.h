// SPDX-License-Identifier: Apache-2.0
/*
 * SHA-256 of what is larger than sha256.h is for: by libcrypto, which knows the processor's own
 * instructions, and by a state that is plain memory, so that it can be stored half-way.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "host/sha256.h"

enum { HASH_LEN = 32, HASH_STATE_LEN = 128 };

struct hash {
	_Alignas(8) unsigned char state[HASH_STATE_LEN]; /* SHA256_CTX */
};

/* Once, before any of the others and before a half is forked that wants them. 0 or -errno. */
int hash_load(void) _must_check_;
void hash_init(struct hash *h);
void hash_add(struct hash *h, const void *data, size_t len);
/* `h` may be used no more. */
void hash_end(struct hash *h, unsigned char ret[HASH_LEN]);
void hash_hex(const unsigned char hash[HASH_LEN], char ret[SHA256_HEX + 1]);
/* The other way round: 0, or -EINVAL unless `hex` is 64 lower-case digits and nothing more. */
int hash_parse(const char *hex, unsigned char ret[HASH_LEN]) _must_check_;
