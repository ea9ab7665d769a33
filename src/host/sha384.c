// SPDX-License-Identifier: Apache-2.0
/* SHA-384 by libcrypto. */
#include "host/sha384.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "host/lib/lib-crypto.h"

enum { CHUNK = 256 << 10 };

int sha384_load(void)
{
	return libcrypto_load();
}

_noreturn_ static void fail(void)
{
	log_error("libcrypto cannot compute a SHA-384");
	exit(1);
}

void sha384_start(struct sha384 *h)
{
	if (!h->state)
		h->state = sym_EVP_MD_CTX_new();
	if (!h->state || sym_EVP_DigestInit_ex(h->state, sym_EVP_sha384(), NULL) != 1)
		fail();
}

void sha384_add(struct sha384 *h, const void *data, size_t len)
{
	if (sym_EVP_DigestUpdate(h->state, data, len) != 1)
		fail();
}

void sha384_end(struct sha384 *h, unsigned char ret[SHA384_LEN])
{
	if (sym_EVP_DigestFinal_ex(h->state, ret, NULL) != 1)
		fail();
}

void sha384_free(struct sha384 *h)
{
	if (h->state)
		sym_EVP_MD_CTX_free(h->state);
	h->state = NULL;
}

void sha384(const void *data, size_t len, unsigned char ret[SHA384_LEN])
{
	_cleanup_sha384_ struct sha384 h = { 0 };

	sha384_start(&h);
	sha384_add(&h, data, len);
	sha384_end(&h, ret);
}

int file_hash(int fd, enum file_hash kind, unsigned char *ret, uint64_t *size)
{
	_cleanup_free_ char *chunk = xmalloc(CHUNK);
	EVP_MD_CTX *ctx = sym_EVP_MD_CTX_new();
	ssize_t n;

	*size = 0;
	if (!ctx || sym_EVP_DigestInit_ex(ctx, kind == FILE_SHA256 ? sym_EVP_sha256() :
								     sym_EVP_sha384(), NULL) != 1)
		fail();
	while ((n = pread(fd, chunk, CHUNK, (off_t)*size)) > 0) {
		if (sym_EVP_DigestUpdate(ctx, chunk, (size_t)n) != 1)
			fail();
		*size += (uint64_t)n;
	}
	n = n < 0 ? -errno : 0;
	if (sym_EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
		fail();
	sym_EVP_MD_CTX_free(ctx);
	return (int)n;
}
