// SPDX-License-Identifier: Apache-2.0
/* Loads libarchive. */
#include "host/lib/lib-archive.h"

LIBARCHIVE_FUNCTIONS(DL_DEFINE)

int libarchive_load(void)
{
	static const struct dl_symbol symbols[] = { LIBARCHIVE_FUNCTIONS(DL_SYMBOL) };
	static struct dl lib = { "libarchive.so.13", symbols, ARRAY_SIZE(symbols), 0 };

	return dl_load(&lib);
}
