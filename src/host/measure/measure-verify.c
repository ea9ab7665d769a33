// SPDX-License-Identifier: Apache-2.0
/* Predicted against real: which register, and where a log is, which event first. */
#include "host/measure/measure-verify.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/bytes.h"

static void from_hex(const char *hex, unsigned char ret[SHA384_LEN])
{
	for (size_t i = 0; i < SHA384_LEN; i++) {
		const char two[] = { hex[2 * i], hex[2 * i + 1], '\0' };

		ret[i] = (unsigned char)strtoul(two, NULL, 16);
	}
}

/* Do the events of the log end in the register? */
static int replays(const struct measure_quote *q, size_t reg)
{
	unsigned char both[2 * SHA384_LEN] = { 0 }, wanted[SHA384_LEN];

	for (size_t i = 0; i < q->log[reg].n; i++) {
		from_hex(q->log[reg].digests[i], both + SHA384_LEN);
		sha384(both, sizeof(both), both);
	}
	from_hex(q->registers[reg], wanted);
	return memcmp(both, wanted, SHA384_LEN) == 0;
}

/* The first of our events that is another one there. */
static void compare_log(const struct measure_result *r, const struct measure_quote *q,
			size_t reg, struct measure_verdict *v)
{
	size_t at = 0;

	for (size_t e = 0; e < MEASURE_EVENTS; e++) {
		const char *there;

		if (measure_events[e].into != reg)
			continue;
		there = at < q->log[reg].n ? q->log[reg].digests[at] : NULL;
		at++;
		if (there && strcmp(there, r->events[e]) == 0)
			continue;
		v->event[reg] = (int)e;
		v->found[reg] = there;
		return;
	}
}

void measure_verify(const struct measure_result *r, const struct measure_quote *q,
		    struct measure_verdict *ret)
{
	*ret = (struct measure_verdict){ .all_equal = 1 };
	for (size_t reg = 0; reg < MEASURE_REGISTERS; reg++) {
		ret->event[reg] = -1;
		ret->equal[reg] = r->registers[reg] &&
				  strcmp(r->registers[reg], q->registers[reg]) == 0;
		ret->all_equal &= ret->equal[reg];
		ret->log_fits[reg] = reg == MEASURE_MRTD || !q->has_log || replays(q, reg);
		if (!ret->equal[reg] && q->has_log && reg != MEASURE_MRTD && ret->log_fits[reg])
			compare_log(r, q, reg, ret);
	}
}

static int without_tdx(const struct measure_verdict *v)
{
	int e = v->event[MEASURE_RTMR0];

	return !v->equal[MEASURE_RTMR0] &&
	       (e < 0 || e == EVENT_ACPI_LOADER || e == EVENT_ACPI_RSDP || e == EVENT_ACPI_TABLES);
}

void measure_print_verdict(struct strbuf *out, const char *what, const struct measure_result *r,
			   const struct measure_verdict *v)
{
	sb_addf(out, "%s, against its quote\n", what);
	for (size_t i = 0; i < MEASURE_REGISTERS; i++) {
		int e = v->event[i];

		sb_addf(out, "  %-5s %s\n", measure_registers[i],
			v->equal[i] ? "equal" : "different");
		if (!v->log_fits[i])
			sb_add(out, "    the event log does not give the quote's register\n");
		if (e < 0)
			continue;
		sb_addf(out, "    first difference: %s, from: %s\n      predicted %s\n",
			measure_events[e].name, measure_events[e].source, r->events[e]);
		sb_addf(out, "      found     %s\n", v->found[i] ? v->found[i] : "no such event");
	}
	if (r->td)
		sb_addf(out, "Read from a paused TD%s.\n",
			strcmp(r->td, "simulated") == 0 ? " (simulated)" : "");
	else if (without_tdx(v))
		sb_add(out, "The tables were read without TDX, and a TD's have more entries: RTMR0 "
			    "cannot be equal. On a TDX host --td reads a TD's.\n");
}

json_t *measure_verdict_json(const char *what, const struct measure_result *r,
			     const struct measure_verdict *v)
{
	json_t *doc = json_object(), *registers = json_object(), *first = json_object();

	json_object_set_new(doc, "schema", json_string("dstack-host.measure-verify/1"));
	json_object_set_new(doc, "what", json_string(what));
	json_object_set_new(doc, "equal", json_boolean(v->all_equal));
	for (size_t i = 0; i < MEASURE_REGISTERS; i++) {
		int e = v->event[i];

		json_object_set_new(registers, measure_registers[i],
				    json_string(!v->log_fits[i] ? "log does not fit" :
						v->equal[i]	? "equal" : "different"));
		if (e >= 0)
			json_object_set_new(first, measure_registers[i],
					    json_pack("{s:s, s:s, s:s*}", "name",
						      measure_events[e].name, "predicted",
						      r->events[e], "found", v->found[i]));
	}
	json_object_set_new(doc, "registers", registers);
	json_object_set_new(doc, "first_difference", first);
	json_object_set_new(doc, "tdx", json_boolean(r->td != NULL));
	if (r->td && strcmp(r->td, "simulated") == 0)
		json_object_set_new(doc, "simulated", json_true());
	return doc;
}
