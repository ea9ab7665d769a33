// SPDX-License-Identifier: Apache-2.0
/* Results: taken from the half's facts, copied, freed. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/measure/measure-run.h"

char *measure_fact(const struct peer_answer *a, const char *key)
{
	const char *value = peer_get(a, key);

	return value ? xstrdup(value) : NULL;
}

void measure_result_take(struct measure_result *r, const struct peer_answer *a)
{
	size_t e = 0;

	r->version = measure_fact(a, "version");
	r->pages = measure_fact(a, "pages");
	r->header = measure_fact(a, "header");
	r->note = measure_fact(a, "note");
	for (size_t i = 0; i < MEASURE_REGISTERS; i++)
		r->registers[i] = measure_fact(a, measure_registers[i]);
	for (size_t i = 0; i < a->n_facts && e < MEASURE_EVENTS; i++)
		if (strcmp(a->facts[i].key, "event") == 0 &&
		    strlen(a->facts[i].value) == SHA384_HEX)
			r->events[e++] = xstrdup(a->facts[i].value);
	if (e < MEASURE_EVENTS || !r->registers[MEASURE_MRTD] || !r->registers[MEASURE_RTMR1])
		r->error = xstrdup("the half that computes told only a part");
}

void measure_result_copy(const struct measure_result *from, struct measure_result *to)
{
	char *const *s = (char *const *)(const void *)from;
	char **d = (char **)(void *)to;

	measure_result_free(to);
	for (size_t i = 0; i < sizeof(*from) / sizeof(char *); i++)
		d[i] = s[i] ? xstrdup(s[i]) : NULL;
}

void measure_result_free(struct measure_result *result)
{
	char **s = (char **)(void *)result;

	for (size_t i = 0; i < sizeof(*result) / sizeof(char *); i++)
		free(s[i]);
	*result = (struct measure_result){ 0 };
}
