// SPDX-License-Identifier: Apache-2.0
/* SHA-384 in pieces by libcrypto, which is more than twice as fast as libmd; sha384_load()
 * comes first, before a half is forked. A failure inside it would give a wrong register: it
 * ends the process. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

enum { SHA384_LEN = 48, SHA384_HEX = 96 };

struct sha384 {
	void *state;
};

int sha384_load(void) _must_check_;
void sha384_start(struct sha384 *h);
void sha384_add(struct sha384 *h, const void *data, size_t len);
/* The digest; `h` can be started again or freed. */
void sha384_end(struct sha384 *h, unsigned char ret[SHA384_LEN]);
void sha384_free(struct sha384 *h);
void sha384(const void *data, size_t len, unsigned char ret[SHA384_LEN]);

enum file_hash { FILE_SHA256, FILE_SHA384 };

/* A whole file and how long it is; its offset stays. 0 or -errno. */
int file_hash(int fd, enum file_hash kind, unsigned char *ret, uint64_t *size) _must_check_;

#define _cleanup_sha384_ _cleanup_(sha384_free)
