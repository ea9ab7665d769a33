// SPDX-License-Identifier: Apache-2.0
/* Runs in a half: the JSON of the VMM's directories and of guest images to facts. */
#include "host/peer/foreign.h"
#include "host/json.h"

static json_t *object_of(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, 0);

	if (json_is_object(doc))
		return doc;
	peer_fact(emit, "bad", "no JSON object");
	json_decref(doc);
	return NULL;
}

static void flag(const struct peer_reply *reply, const char *name, const char *fact,
		 struct peer_emit *emit)
{
	json_t *doc = object_of(reply, emit);

	if (json_is_true(json_object_get(doc, name)))
		peer_fact(emit, fact, "yes");
	json_decref(doc);
}

/* vm-state.json */
void foreign_digest_state(const struct peer_reply *reply, struct peer_emit *emit)
{
	flag(reply, "started", "started", emit);
}

/* app-compose.json */
void foreign_digest_compose(const struct peer_reply *reply, struct peer_emit *emit)
{
	flag(reply, "local_key_provider_enabled", "local-key", emit);
}

/* vm-manifest.json */
void foreign_digest_manifest(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = object_of(reply, emit);
	static const char *const members[] = { "name", "image" };

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *value = json_string_value(json_object_get(doc, members[i]));

		if (value)
			peer_fact(emit, members[i], value);
	}
	json_decref(doc);
}

/* metadata.json: the files that an image cannot boot without, and whether it has a command
 * line. */
void foreign_digest_image(const struct peer_reply *reply, struct peer_emit *emit)
{
	static const char *const members[] = { "bios", "kernel", "initrd", "rootfs" };
	json_t *doc = object_of(reply, emit);

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *name = json_string_value(json_object_get(doc, members[i]));

		if (name)
			peer_fact(emit, members[i], name);
	}
	if (json_object_get(doc, "cmdline"))
		peer_fact(emit, "cmdline", "yes");
	json_decref(doc);
}
