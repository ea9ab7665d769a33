// SPDX-License-Identifier: Apache-2.0
/* SHA-2 by libmd: small, and on every Debian, for dpkg needs it. */
#include "host/sha256.h"

#include <sha2.h>

void sha256_hex(const void *data, size_t len, char ret[SHA256_HEX + 1])
{
	SHA256Data(data, len, ret);
}

void sha512_hex(const void *data, size_t len, char ret[SHA512_HEX + 1])
{
	SHA512Data(data, len, ret);
}
