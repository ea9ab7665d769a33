// SPDX-License-Identifier: Apache-2.0
/* SHA-256 and SHA-512 as lower-case hex. */
#pragma once

#include <stddef.h>

#include "base/root.h"

enum { SHA256_HEX = 64, SHA512_HEX = 128 };

void sha256_hex(const void *data, size_t len, char ret[SHA256_HEX + 1]);
/* Of a file of at most `max` bytes. 0 or -errno. */
int sha256_file(const struct root *root, const char *path, size_t max,
		char ret[SHA256_HEX + 1]) _must_check_;
void sha512_hex(const void *data, size_t len, char ret[SHA512_HEX + 1]);
