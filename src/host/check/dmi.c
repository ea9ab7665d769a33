// SPDX-License-Identifier: Apache-2.0
/* Structures of type 17 (memory device), as DMTF's DSP0134 has them. */
#include "host/check/dmi.h"

#include <errno.h>
#include <string.h>

enum { HEADER = 4, MEMORY_DEVICE = 17, END_OF_TABLE = 127 };
enum { AT_HANDLE = 4, AT_SIZE = 0x0c, AT_EXTENDED_SIZE = 0x1c };
enum { SIZE_UNKNOWN = 0xffff, SIZE_EXTENDED = 0x7fff, SIZE_IN_KB = 0x8000 };

static unsigned word(const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

/* MiB; 0: empty. */
static uint64_t size_of(const uint8_t *s, unsigned len, int *known)
{
	unsigned size = word(s + AT_SIZE);

	*known = size != SIZE_UNKNOWN;
	if (size == SIZE_EXTENDED && len >= AT_EXTENDED_SIZE + 4)
		return (word(s + AT_EXTENDED_SIZE) |
			(uint64_t)word(s + AT_EXTENDED_SIZE + 2) << 16) & 0x7fffffff;
	if (!*known)
		return 0;
	return size & SIZE_IN_KB ? (size & ~(unsigned)SIZE_IN_KB) / 1024 : size;
}

static struct dmi_array *array_of(struct dmi_memory *m, uint16_t handle)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->array[i].handle == handle)
			return &m->array[i];
	if (m->n == DMI_ARRAYS_MAX)
		return NULL;
	m->array[m->n] = (struct dmi_array){ .handle = handle };
	return &m->array[m->n++];
}

static void take_device(const uint8_t *s, unsigned len, struct dmi_memory *m, uint64_t *first)
{
	struct dmi_array *a = array_of(m, (uint16_t)word(s + AT_HANDLE));
	int known;
	uint64_t mb = size_of(s, len, &known);

	if (!a)
		return;
	a->slots++;
	m->slots++;
	if (known && !mb)
		return;
	a->filled++;
	m->filled++;
	a->mb += mb;
	if (!*first)
		*first = mb;
	m->sizes_differ |= mb && mb != *first;
}

int dmi_read_memory(const void *table, size_t len, struct dmi_memory *ret)
{
	const uint8_t *p = table, *end = p + len;
	uint64_t first = 0;

	*ret = (struct dmi_memory){ 0 };
	while ((size_t)(end - p) >= HEADER && p[0] != END_OF_TABLE) {
		const uint8_t *s = p, *strings;
		unsigned n = s[1];

		if (n < HEADER || n > (size_t)(end - s))
			return -EBADMSG;
		if (s[0] == MEMORY_DEVICE && n >= AT_SIZE + 2)
			take_device(s, n, ret, &first);
		/* Its strings end in two NULs. */
		strings = memmem(s + n, (size_t)(end - s) - n, "\0", 2);
		if (!strings)
			return -EBADMSG;
		p = strings + 2;
	}
	return ret->slots ? 0 : -EBADMSG;
}
