// SPDX-License-Identifier: Apache-2.0
/* Runs in the network half: JSON to facts. */
#include "host/probe/probes-digest.h"

#include <jansson.h>
#include <string.h>

#include "host/peer/answer.h"
#include "host/probe/probes.h"

/* A word of a fact: no blank may come from outside. */
static const char *word(json_t *value)
{
	const char *s = json_string_value(value);

	return s && *s && !strpbrk(s, " \t\r\n") ? s : NULL;
}

static void one_container(json_t *item, struct peer_emit *emit)
{
	const char *state = word(json_object_get(item, "State"));
	const char *status = json_string_value(json_object_get(item, "Status"));
	json_t *name;
	size_t i;

	json_array_foreach(json_object_get(item, "Names"), i, name) {
		const char *s = word(name);

		if (!s || !state)
			continue;
		s += *s == '/';
		if (strcmp(s, CONTAINER_AESMD) == 0 || strcmp(s, CONTAINER_KEY_PROVIDER) == 0)
			peer_factf(emit, "container", "%s %s %s", s, state,
				   status ? status : "");
	}
}

void digest_containers(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit), *item;
	size_t i;

	if (doc && !json_is_array(doc))
		peer_fact(emit, "bad", "the answer is no list of containers");
	json_array_foreach(doc, i, item)
		one_container(item, emit);
	json_decref(doc);
}

/* 0: that is none. */
static int one_process(json_t *item, struct peer_emit *emit)
{
	json_t *config = json_object_get(item, "config"), *state = json_object_get(item, "state");
	const char *id = word(json_object_get(config, "id"));
	const char *name = json_string_value(json_object_get(config, "name"));
	const char *status = json_string_value(json_object_get(state, "status"));
	const char *note = json_string_value(json_object_get(config, "note"));
	json_t *kind = note ? json_loads(note, 0, NULL) : NULL;
	const char *what = word(json_object_get(kind, "kind"));

	if (id && status && strcmp(status, "running") == 0)
		peer_factf(emit, "process", "%lld %s %s %s",
			   (long long)json_integer_value(json_object_get(state, "pid")),
			   what ? what : "-", id, name ? name : "");
	json_decref(kind);
	/* {"exited": 9} is a status too. */
	return json_is_string(json_object_get(config, "id")) && json_object_get(state, "status");
}

void digest_processes(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit), *item;
	json_t *list = json_object_get(doc, "data");
	int good = json_is_array(list);
	size_t i;

	json_array_foreach(list, i, item)
		good &= one_process(item, emit);
	if (doc && !good)
		peer_fact(emit, "bad", "the answer is no list of processes");
	json_decref(doc);
}
