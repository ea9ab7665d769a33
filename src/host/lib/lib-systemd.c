// SPDX-License-Identifier: Apache-2.0
/* Loads libsystemd. */
#include "host/lib/lib-systemd.h"

LIBSYSTEMD_FUNCTIONS(DL_DEFINE)

int libsystemd_load(void)
{
	static const struct dl_symbol symbols[] = { LIBSYSTEMD_FUNCTIONS(DL_SYMBOL) };
	static struct dl lib = { "libsystemd.so.0", symbols, ARRAY_SIZE(symbols), 0 };

	return dl_load(&lib);
}
