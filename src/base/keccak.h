// SPDX-License-Identifier: Apache-2.0
/* Keccak-256 as Ethereum has it. */
#pragma once

#include <stddef.h>

enum { KECCAK256_LEN = 32 };

void keccak256(const void *data, size_t len, unsigned char ret[KECCAK256_LEN]);
