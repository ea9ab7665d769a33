// SPDX-License-Identifier: Apache-2.0
/* Loads libcurl. */
#include "host/lib/lib-curl.h"

LIBCURL_FUNCTIONS(DL_DEFINE)

int libcurl_load(void)
{
	static const struct dl_symbol symbols[] = { LIBCURL_FUNCTIONS(DL_SYMBOL) };
	static struct dl lib = { "libcurl.so.4", symbols, ARRAY_SIZE(symbols), 0 };

	return dl_load(&lib);
}
