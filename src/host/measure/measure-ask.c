// SPDX-License-Identifier: Apache-2.0
/* One configuration, asked and compared in one call. */
#include "host/measure/measure-ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/measure/measure-print.h"

static int differs(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) != 0 : a != b;
}

const char *measure_first_difference(const struct measure_result *a,
				     const struct measure_result *b)
{
	for (size_t reg = 0; reg < MEASURE_REGISTERS; reg++) {
		if (!differs(a->registers[reg], b->registers[reg]))
			continue;
		for (size_t e = 0; e < MEASURE_EVENTS; e++)
			if (measure_events[e].into == reg && a->events[e] && b->events[e] &&
			    differs(a->events[e], b->events[e]))
				return measure_events[e].name;
		return measure_registers[reg];
	}
	return NULL;
}

int measure_ask(const struct root *root, const struct measure_config *config,
		const struct measure_qemu *qemu, const struct measure_options *options,
		const struct measure_result *before, struct measure_answer *ret, char **trouble)
{
	static const struct measure_options usual = { .window = MEASURE_WINDOW };
	struct measure_run run = { .config = config, .qemu = qemu };
	int r = measure_all(root, &run, 1, options ? options : &usual);

	*ret = (struct measure_answer){ .same = 1 };
	if (r < 0 || run.result.error) {
		*trouble = xstrdup(r < 0 ? strerror(-r) : run.result.error);
		measure_result_free(&run.result);
		return -EBADMSG;
	}
	ret->result = run.result;
	if (!before)
		return 0;
	ret->first = measure_first_difference(before, &ret->result);
	ret->same = !ret->first;
	ret->differences = measure_differences(before, &ret->result);
	return 0;
}

void measure_answer_free(struct measure_answer *answer)
{
	measure_result_free(&answer->result);
	free(answer->differences);
	*answer = (struct measure_answer){ 0 };
}
