// SPDX-License-Identifier: Apache-2.0
/* Tables of a firmware: counts add up, and no structure is read beyond the table. */
#include "fuzz.h"

#include "host/check/dmi.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Its own allocation: one byte further is caught. */
	_cleanup_free_ uint8_t *table = xmalloc(size + 1);
	uint8_t *end = table + 1;
	struct dmi_memory m;
	unsigned slots = 0, filled = 0;

	if (size)
		memcpy(end, data, size);
	if (dmi_read_memory(end, size, &m) < 0)
		return 0;
	require(m.n <= DMI_ARRAYS_MAX && m.slots > 0);
	for (size_t i = 0; i < m.n; i++) {
		slots += m.array[i].slots;
		filled += m.array[i].filled;
		require(m.array[i].filled <= m.array[i].slots);
	}
	require(slots == m.slots && filled == m.filled);
	return 0;
}
