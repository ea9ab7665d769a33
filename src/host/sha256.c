// SPDX-License-Identifier: Apache-2.0
/* SHA-256 by libcrypto. */
#include "host/sha256.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "base/alloc.h"

void sha256_hex(const void *data, size_t len, char ret[SHA256_HEX + 1])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	/* Memory is all that it can lack. */
	if (!EVP_Digest(data, len, md, &n, EVP_sha256(), NULL) || n != SHA256_HEX / 2)
		out_of_memory();
	for (unsigned i = 0; i < n; i++)
		snprintf(ret + 2 * i, 3, "%02x", md[i]);
}
