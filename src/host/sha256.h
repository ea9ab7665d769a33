// SPDX-License-Identifier: Apache-2.0
/* SHA-256 as lower-case hex. */
#pragma once

#include <stddef.h>

enum { SHA256_HEX = 64 };

void sha256_hex(const void *data, size_t len, char ret[SHA256_HEX + 1]);
