// SPDX-License-Identifier: Apache-2.0
/* A result that was saved: a half reads the file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/peer/foreign.h"
#include "host/json.h"
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

void measure_digest_saved(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, 0);
	const char *schema = json_string_value(json_object_get(doc, "schema"));
	const char *version =
		json_string_value(json_object_get(json_object_get(doc, "qemu"), "version"));

	if (!schema || strcmp(schema, MEASURE_SCHEMA) != 0)
		peer_fact(emit, "bad", "no saved result");
	if (version)
		peer_fact(emit, "version", version);
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

static void take_saved(const struct peer_answer *a, struct measure_result *ret)
{
	const char *version = peer_get(a, "version");

	ret->version = version ? xstrdup(version) : NULL;
	for (size_t i = 0; i < MEASURE_REGISTERS; i++) {
		const char *digest = peer_get(a, measure_registers[i]);

		ret->registers[i] = digest ? xstrdup(digest) : NULL;
	}
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

int measure_load(const struct root *root, const char *path, struct measure_result *ret,
		 char **trouble)
{
	struct foreign_file file = { .path = xstrdup(path), .digest = measure_digest_saved };
	int r = foreign_read(root, &file, 1);

	*ret = (struct measure_result){ 0 };
	if (r == 0)
		r = file.error;
	if (r == 0)
		take_saved(&file.answer, ret);
	if (r == 0 && (!ret->registers[MEASURE_MRTD] || !ret->events[EVENT_INITRD]))
		r = -EBADMSG;
	foreign_free(&file, 1);
	if (r == 0)
		return 0;
	*trouble = xasprintf("%s: %s", path, r == -EBADMSG ?
				     "not what `dstack-host measure --save` writes" : strerror(-r));
	measure_result_free(ret);
	return -EBADMSG;
}
