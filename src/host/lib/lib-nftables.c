// SPDX-License-Identifier: Apache-2.0
/* Loads libnftables. */
#include "host/lib/lib-nftables.h"

LIBNFTABLES_FUNCTIONS(DL_DEFINE)

int libnftables_load(void)
{
	static const struct dl_symbol symbols[] = { LIBNFTABLES_FUNCTIONS(DL_SYMBOL) };
	static struct dl lib = { "libnftables.so.1", symbols, ARRAY_SIZE(symbols), 0 };

	return dl_load(&lib);
}
