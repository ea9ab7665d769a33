// SPDX-License-Identifier: Apache-2.0
/* Any bytes as firmware. What is taken has its sections inside the file, in memory, and apart. */
#include "fuzz.h"

#include "host/measure/measure.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	require(sha384_load() == 0);
	return 0;
}

static void sections_are_sound(const struct tdvf *t, size_t len)
{
	require(t->n > 0 && t->n <= TDVF_SECTIONS_MAX);
	for (size_t i = 0; i < t->n; i++) {
		const struct tdvf_section *s = &t->sections[i];

		require(s->size == 0 || (s->offset <= len && s->size <= len - s->offset));
		require(s->size <= s->memory && s->memory % 4096 == 0 && s->address % 4096 == 0);
		require(s->address + s->memory > s->address);
		for (size_t j = 0; j < i; j++) {
			const struct tdvf_section *o = &t->sections[j];

			require(s->address >= o->address + o->memory ||
				o->address >= s->address + s->memory);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* At the end of its allocation: one byte further is caught. */
	_cleanup_free_ unsigned char *copy = xmalloc(size + 1);
	const struct bytes firmware = { copy, size };
	unsigned char digest[SHA384_LEN];
	uint64_t pages = 0;
	struct tdvf tdvf;
	struct why why = { "" };
	int r;

	memcpy(copy, data, size);
	r = tdvf_parse(&firmware, &tdvf, &why);
	require((r == 0) == !*why.text);
	if (r < 0)
		return 0;
	sections_are_sound(&tdvf, size);
	for (size_t i = 0; i < tdvf.n; i++)
		pages += tdvf.sections[i].memory / 4096;
	for (int one = 0; pages < 2048 && one < 2; one++)
		tdvf_mrtd(&firmware, &tdvf, one, digest);
	for (unsigned gib = 1; gib < 9; gib *= 2)
		r = tdvf_hob(&tdvf, (uint64_t)gib << 30, digest, &why);
	return 0;
}
