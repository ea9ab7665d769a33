// SPDX-License-Identifier: Apache-2.0
/* Registers and events for people and programs. */
#include "host/measure/measure-print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/json.h"

#define SCHEMA_COMPARED "dstack-host.measure-compare/1"

static int has_event(const struct measure_result *r, size_t e)
{
	return r->events[e] && (r->registers[MEASURE_RTMR0] ||
				(e != EVENT_ACPI_LOADER && e != EVENT_ACPI_RSDP &&
				 e != EVENT_ACPI_TABLES));
}

static int is(const char *text, const char *value)
{
	return text && strcmp(text, value) == 0;
}

/* What limits that which was told. `side`: "A: ", or "". */
static void add_notes(struct strbuf *out, const char *side, const struct measure_result *r)
{
	if (is(r->command_line, "assumed"))
		sb_addf(out, "  note: %sit does not run: its command line is assumed, as dstack-vmm "
			     "0.5 and 0.6 make it without options of [cvm] in vmm.toml\n", side);
	if (is(r->command_line, "last"))
		sb_addf(out, "  note: %sit does not run: its command line is that of its last start\n",
			side);
	if (is(r->sandbox, "caller"))
		sb_addf(out, "  note: %sQEMU was read as your user, for want of root: what you may "
			     "read of its files, it may; as root it has a user of its own\n", side);
	if (r->td)
		sb_addf(out, "  note: %sread from a paused TD%s\n", side,
			is(r->td, "simulated") ? " (simulated)" : "");
	if (r->note)
		sb_addf(out, "  note: %s%s\n", side, r->note);
}

void measure_print(struct strbuf *out, const char *what, const struct measure_result *r,
		   int with_events)
{
	sb_addf(out, "%s\n", what);
	if (r->version)
		sb_addf(out, "  QEMU %s, pages added in %s, kernel with %s header\n", r->version,
			strcmp(r->pages, "two-pass") == 0 ? "two passes" : "one pass",
			strcmp(r->header, "qemu") == 0 ? "QEMU's" : "its own");
	else
		sb_add(out, "  without QEMU: no ACPI tables, so no RTMR0\n");
	for (size_t i = 0; i < MEASURE_REGISTERS; i++) {
		sb_addf(out, "  %-5s %s\n", measure_registers[i],
			r->registers[i] ? r->registers[i] : "not known");
		for (size_t e = 0; with_events && e < MEASURE_EVENTS; e++)
			if (measure_events[e].into == i && has_event(r, e))
				sb_addf(out, "    %-27s %s\n    %-27s %s\n",
					measure_events[e].name, r->events[e], "",
					measure_events[e].source);
	}
	add_notes(out, "", r);
}

static void set_text(json_t *object, const char *key, const char *value)
{
	json_object_set_new(object, key, value ? json_string(value) : json_null());
}

static json_t *events_json(const struct measure_result *r, size_t into)
{
	json_t *list = json_array();

	for (size_t e = 0; e < MEASURE_EVENTS; e++)
		if (measure_events[e].into == into && has_event(r, e))
			json_push(list, json_pack("{s:s, s:s, s:s}", "name",
						  measure_events[e].name, "digest", r->events[e],
						  "source", measure_events[e].source));
	return list;
}

json_t *measure_json(const char *what, const struct measure_result *r)
{
	json_t *doc = json_object(), *qemu = json_object(), *registers = json_object();
	json_t *events = json_object();

	set_text(doc, "schema", MEASURE_SCHEMA);
	set_text(doc, "what", what);
	set_text(qemu, "version", r->version);
	set_text(qemu, "sha256", r->sha256);
	if (!r->version) {
		json_decref(qemu);
		qemu = json_null();
	}
	json_object_set_new(doc, "qemu", qemu);
	set_text(doc, "pages", r->pages);
	set_text(doc, "kernel_header", r->header);
	for (size_t i = 0; i < MEASURE_REGISTERS; i++) {
		set_text(registers, measure_registers[i], r->registers[i]);
		if (i != MEASURE_MRTD)
			json_object_set_new(events, measure_registers[i], events_json(r, i));
	}
	json_object_set_new(doc, "registers", registers);
	json_object_set_new(doc, "events", events);
	set_text(doc, "command_line", r->command_line);
	set_text(doc, "sandbox", r->sandbox);
	if (r->note)
		set_text(doc, "note", r->note);
	json_object_set_new(doc, "tdx", json_boolean(r->td != NULL));
	if (is(r->td, "simulated"))
		json_object_set_new(doc, "simulated", json_true());
	return doc;
}

/* --- one against another --- */

/* For a sentence, where an event's name is none. */
static const struct {
	enum measure_event event;
	const char *words;
} words[] = {
	{ EVENT_TD_HOB, "the hand-off block (memory size)" },
	{ EVENT_ACPI_LOADER, "the ACPI table loader" },
	{ EVENT_ACPI_RSDP, "the RSDP" },
	{ EVENT_ACPI_TABLES, "the ACPI tables" },
	{ EVENT_KERNEL, "the kernel" },
	{ EVENT_CMDLINE, "the kernel's command line" },
	{ EVENT_INITRD, "the initrd" },
};

static const char *words_of(size_t e)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].event == e)
			return words[i].words;
	return measure_events[e].name;
}

static int same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/* Where one side does not know it, it is not compared. */
static int comparable(const struct measure_result *a, const struct measure_result *b, size_t e)
{
	return has_event(a, e) && has_event(b, e);
}

int measure_same(const struct measure_result *a, const struct measure_result *b)
{
	for (size_t i = 0; i < MEASURE_REGISTERS; i++)
		if (!same(a->registers[i], b->registers[i]))
			return 0;
	return 1;
}

static void add_difference(struct strbuf *out, const char *what, unsigned *n)
{
	if ((*n)++)
		sb_add(out, ", ");
	sb_add(out, what);
}

static int is_plural(const char *what)
{
	return strstr(what, "tables") || strstr(what, "pages");
}

char *measure_differences(const struct measure_result *a, const struct measure_result *b)
{
	struct strbuf out = { 0 };
	unsigned n = 0;

	if (!same(a->registers[MEASURE_MRTD], b->registers[MEASURE_MRTD]))
		add_difference(&out, "the firmware's pages (MRTD)", &n);
	for (size_t e = 0; e < MEASURE_EVENTS; e++)
		if (comparable(a, b, e) && !same(a->events[e], b->events[e]))
			add_difference(&out, words_of(e), &n);
	if (n)
		sb_add(&out, n == 1 && !is_plural(out.data) ? " differs" : " differ");
	return sb_steal(&out);
}

static const char *register_verdict(const struct measure_result *a,
				    const struct measure_result *b, size_t i)
{
	if (!a->registers[i] || !b->registers[i])
		return "not known";
	return same(a->registers[i], b->registers[i]) ? "same" : "different";
}

void measure_print_compared(struct strbuf *out, const struct measure_side *a,
			    const struct measure_side *b, const char *disk)
{
	_cleanup_free_ char *differences = measure_differences(a->result, b->result);

	sb_addf(out, "A  %s\nB  %s\n", a->what, b->what);
	for (size_t i = 0; i < MEASURE_REGISTERS; i++) {
		sb_addf(out, "  %-5s %s\n", measure_registers[i],
			register_verdict(a->result, b->result, i));
		for (size_t e = 0; e < MEASURE_EVENTS; e++)
			if (measure_events[e].into == i && comparable(a->result, b->result, e) &&
			    !same(a->result->events[e], b->result->events[e]))
				sb_addf(out, "    %s differs; comes from: %s\n",
					measure_events[e].name, measure_events[e].source);
	}
	add_notes(out, "A: ", a->result);
	add_notes(out, "B: ", b->result);
	if (measure_same(a->result, b->result) && disk)
		sb_addf(out, "Everything that was measured is the same: %s would open the disk of "
			     "%s.\n", b->noun, disk);
	else if (measure_same(a->result, b->result))
		sb_add(out, "Everything that was measured is the same.\n");
	else if (*differences)
		sb_addf(out, "%c%s: %s would not open the disk of %s.\n",
			*differences == 't' ? 'T' : *differences, differences + 1, b->noun,
			disk ? disk : "what was sealed with A");
	else
		sb_add(out, "Nothing differs, but not all is known of both.\n");
}

json_t *measure_compared_json(const struct measure_side *a, const struct measure_side *b)
{
	json_t *doc = json_object(), *registers = json_object(), *different = json_array();

	set_text(doc, "schema", SCHEMA_COMPARED);
	json_object_set_new(doc, "same", json_boolean(measure_same(a->result, b->result)));
	for (size_t i = 0; i < MEASURE_REGISTERS; i++)
		set_text(registers, measure_registers[i],
			 register_verdict(a->result, b->result, i));
	json_object_set_new(doc, "registers", registers);
	for (size_t e = 0; e < MEASURE_EVENTS; e++)
		if (comparable(a->result, b->result, e) &&
		    !same(a->result->events[e], b->result->events[e]))
			json_push(different,
				  json_pack("{s:s, s:s, s:s}", "register",
					    measure_registers[measure_events[e].into], "name",
					    measure_events[e].name, "source",
					    measure_events[e].source));
	json_object_set_new(doc, "different", different);
	json_object_set_new(doc, "a", measure_json(a->what, a->result));
	json_object_set_new(doc, "b", measure_json(b->what, b->result));
	return doc;
}
