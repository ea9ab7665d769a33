// SPDX-License-Identifier: Apache-2.0
/* Loads ISA-L. */
#include "host/lib/lib-isal.h"

LIBISAL_FUNCTIONS(DL_DEFINE)

int libisal_load(void)
{
	static const struct dl_symbol symbols[] = { LIBISAL_FUNCTIONS(DL_SYMBOL) };
	static struct dl lib = { "libisal.so.2", symbols, ARRAY_SIZE(symbols), 0 };

	return dl_load(&lib);
}
