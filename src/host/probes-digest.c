// SPDX-License-Identifier: Apache-2.0
/* Runs in the network half: JSON to facts. */
#include "host/probes-digest.h"

#include <jansson.h>
#include <string.h>

#include "host/parts.h"

static json_t *parse(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_loadb(reply->body, reply->len, JSON_REJECT_DUPLICATES, NULL);

	if (!doc)
		peer_fact(emit, "bad", "the answer is no JSON");
	return doc;
}

/* The daemons' own way to say no: {"error": "text"}. */
static int refused(json_t *doc, struct peer_emit *emit)
{
	const char *text = json_string_value(json_object_get(doc, "error"));

	if (text)
		peer_fact(emit, "bad", text);
	return text != NULL;
}

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
	json_t *doc = parse(reply, emit), *item;
	size_t i;

	if (doc && !json_is_array(doc))
		peer_fact(emit, "bad", "the answer is no list of containers");
	json_array_foreach(doc, i, item)
		one_container(item, emit);
	json_decref(doc);
}

static void one_process(json_t *item, struct peer_emit *emit)
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
}

void digest_processes(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = parse(reply, emit), *item;
	json_t *list = json_object_get(doc, "data");
	size_t i;

	if (doc && !refused(doc, emit) && !json_is_array(list))
		peer_fact(emit, "bad", "the answer is no list of processes");
	json_array_foreach(list, i, item)
		one_process(item, emit);
	json_decref(doc);
}

void digest_vmm(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = parse(reply, emit), *item;
	json_t *vms = json_object_get(doc, "vms");
	size_t i;

	if (doc && !refused(doc, emit) && !json_is_array(vms))
		peer_fact(emit, "bad", "the answer is no list of virtual machines");
	json_array_foreach(vms, i, item) {
		const char *id = word(json_object_get(item, "id"));
		const char *status = word(json_object_get(item, "status"));
		const char *name = json_string_value(json_object_get(item, "name"));

		if (id)
			peer_factf(emit, "vm", "%s %s %s", status ? status : "-", id,
				   name ? name : "");
	}
	json_decref(doc);
}

void digest_kms(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = parse(reply, emit);
	const char *ca = json_string_value(json_object_get(doc, "ca_cert"));
	const char *contract = json_string_value(json_object_get(doc, "kms_contract_address"));
	json_t *chain = json_object_get(doc, "chain_id");

	if (doc && !refused(doc, emit) && (!ca || !*ca))
		peer_fact(emit, "bad", "the answer has no CA certificate");
	if (contract)
		peer_fact(emit, "contract", contract);
	if (json_is_integer(chain))
		peer_factf(emit, "chain", "%lld", (long long)json_integer_value(chain));
	json_decref(doc);
}
