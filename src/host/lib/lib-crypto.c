// SPDX-License-Identifier: Apache-2.0
/* Loads libcrypto. */
#include "host/lib/lib-crypto.h"

#include <stdlib.h>

#include "base/alloc.h"

LIBCRYPTO_FUNCTIONS(DL_DEFINE)

static void *crypto_malloc(size_t size, const char *file _unused_, int line _unused_)
{
	return xmalloc(size);
}

static void *crypto_realloc(void *p, size_t size, const char *file _unused_,
			    int line _unused_)
{
	return xrealloc(p, size);
}

static void crypto_free(void *p, const char *file _unused_, int line _unused_)
{
	free(p);
}

int libcrypto_load(void)
{
	static const struct dl_symbol symbols[] = { LIBCRYPTO_FUNCTIONS(DL_SYMBOL) };
	static struct dl lib = { "libcrypto.so.3", symbols, ARRAY_SIZE(symbols), 0 };
	int loaded = lib.loaded, r = dl_load(&lib);

	/* To a library an allocation that failed is one error among others, and a key that
	 * could not be parsed for it would look like no key at all. Here it ends the
	 * program. */
	if (r == 0 && !loaded)
		sym_CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free);
	return r;
}
