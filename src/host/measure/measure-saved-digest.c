// SPDX-License-Identifier: Apache-2.0
/* A result that was saved: a half reads the file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/peer/foreign.h"
#include "host/json.h"
#include "host/measure/measure-baseline.h"
#include "host/measure/measure-print.h"

static int is_digest(const char *s)
{
	return s && strlen(s) == SHA384_HEX && strspn(s, "0123456789abcdef") == SHA384_HEX;
}

static void saved_events(json_t *list, size_t into, struct peer_emit *emit)
{
	size_t at = 0;

	for (size_t e = 0; e < MEASURE_EVENTS; e++) {
		json_t *item = json_array_get(list, at);
		const char *name = json_string_value(json_object_get(item, "name"));
		const char *digest = json_string_value(json_object_get(item, "digest"));

		if (measure_events[e].into != into || !name ||
		    strcmp(name, measure_events[e].name) != 0)
			continue;
		at++;
		if (is_digest(digest))
			peer_factf(emit, "event", "%zu %s", e, digest);
	}
}

/* Of a record: the machine, as measure_digest_list() tells one. */
static void saved_machine(json_t *machine, struct peer_emit *emit)
{
	static const char *const texts[] = { "id", "name", "qemu", "firmware", "kernel", "initrd",
					     "cmdline" };
	json_t *item;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *value = json_string_value(json_object_get(machine, texts[i]));

		if (value)
			peer_fact(emit, texts[i], value);
	}
	if (json_is_true(json_object_get(machine, "normalized")))
		peer_fact(emit, "normalized", "");
	peer_factf(emit, "memory", "%lld",
		   (long long)json_integer_value(json_object_get(machine, "memory")));
	json_array_foreach(json_object_get(machine, "args"), i, item)
		if (json_is_string(item))
			peer_fact(emit, "arg", json_string_value(item));
}

static void saved_text(json_t *of, const char *name, const char *fact, struct peer_emit *emit)
{
	const char *value = json_string_value(json_object_get(of, name));

	if (value)
		peer_fact(emit, fact, value);
}

void measure_digest_saved(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, 0);
	const char *schema = json_string_value(json_object_get(doc, "schema"));
	json_t *machine = json_object_get(doc, "machine");

	if (!schema || strcmp(schema, MEASURE_SCHEMA) != 0)
		peer_fact(emit, "bad", "no saved result");
	saved_text(json_object_get(doc, "qemu"), "version", "version", emit);
	saved_text(json_object_get(doc, "qemu"), "sha256", "sha256", emit);
	saved_text(doc, "pages", "pages", emit);
	saved_text(doc, "kernel_header", "header", emit);
	saved_text(doc, "command_line", "command_line", emit);
	saved_text(doc, "key", "key", emit);
	if (json_is_true(json_object_get(doc, "tdx")))
		peer_fact(emit, "td", json_is_true(json_object_get(doc, "simulated")) ?
					      "simulated" : "real");
	if (json_is_object(machine))
		saved_machine(machine, emit);
	for (size_t i = 0; i < MEASURE_REGISTERS; i++) {
		const char *digest = json_string_value(json_object_get(
			json_object_get(doc, "registers"), measure_registers[i]));

		if (is_digest(digest))
			peer_fact(emit, measure_registers[i], digest);
		saved_events(json_object_get(json_object_get(doc, "events"),
					     measure_registers[i]), i, emit);
	}
	json_decref(doc);
}

static void take_result(const struct peer_answer *a, struct measure_result *ret)
{
	ret->version = measure_fact(a, "version");
	ret->sha256 = measure_fact(a, "sha256");
	ret->pages = measure_fact(a, "pages");
	ret->header = measure_fact(a, "header");
	ret->command_line = measure_fact(a, "command_line");
	ret->td = measure_fact(a, "td");
	for (size_t i = 0; i < MEASURE_REGISTERS; i++)
		ret->registers[i] = measure_fact(a, measure_registers[i]);
	for (size_t i = 0; i < a->n_facts; i++) {
		char *rest;
		size_t e;

		if (strcmp(a->facts[i].key, "event") != 0)
			continue;
		e = strtoul(a->facts[i].value, &rest, 10);
		if (e < MEASURE_EVENTS && *rest == ' ' && !ret->events[e])
			ret->events[e] = xstrdup(rest + 1);
	}
}

int measure_take_saved(const struct peer_answer *a, struct measure_result *ret,
		       struct measure_vm *vm)
{
	const char *id = vm ? peer_get(a, "id") : NULL;
	int r = 0;

	take_result(a, ret);
	if (id)
		vm->id = xstrdup(id);
	for (size_t i = 0; r == 0 && id && i < a->n_facts; i++)
		r = measure_vm_take(vm, &a->facts[i]);
	if (r == 0 && (!ret->registers[MEASURE_MRTD] || !ret->events[EVENT_INITRD]))
		r = -EBADMSG;
	return r;
}

int measure_load(const struct root *root, const char *path, struct measure_result *ret,
		 char **trouble)
{
	struct foreign_file file = { .path = xstrdup(path), .digest = measure_digest_saved };
	int r = foreign_read(root, &file, 1);

	*ret = (struct measure_result){ 0 };
	if (r == 0)
		r = file.error;
	if (r == 0)
		r = measure_take_saved(&file.answer, ret, NULL);
	foreign_free(&file, 1);
	if (r == 0)
		return 0;
	*trouble = xasprintf("%s: %s", path, r == -EBADMSG ?
				     "not what `dstack-host measure --save` writes" : strerror(-r));
	measure_result_free(ret);
	return -EBADMSG;
}
