// SPDX-License-Identifier: Apache-2.0
/* SHA-256 and SHA-512 as lower-case hex. */
#pragma once

#include <stddef.h>

enum { SHA256_HEX = 64, SHA512_HEX = 128 };

void sha256_hex(const void *data, size_t len, char ret[SHA256_HEX + 1]);
void sha512_hex(const void *data, size_t len, char ret[SHA512_HEX + 1]);
