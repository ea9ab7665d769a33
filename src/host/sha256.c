// SPDX-License-Identifier: Apache-2.0
/* SHA-2 by libmd: small, and on every Debian, for dpkg needs it. */
#include "host/sha256.h"

#include <sha2.h>

#include "base/alloc.h"
#include "base/fileio.h"

void sha256_hex(const void *data, size_t len, char ret[SHA256_HEX + 1])
{
	SHA256Data(data, len, ret);
}

void sha512_hex(const void *data, size_t len, char ret[SHA512_HEX + 1])
{
	SHA512Data(data, len, ret);
}

int sha256_file(const struct root *root, const char *path, size_t max, char ret[SHA256_HEX + 1])
{
	_cleanup_free_ char *data = NULL;
	size_t len;
	int r = file_read(root, path, max, &data, &len);

	if (r == 0)
		sha256_hex(data, len, ret);
	return r;
}
