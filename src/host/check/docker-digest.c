// SPDX-License-Identifier: Apache-2.0
/* Runs in a half: where Docker keeps what it has. */
#include "host/check/docker-digest.h"

#include <jansson.h>

#include "host/json.h"

void docker_digest_root(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, 0);
	const char *path = json_string_value(json_object_get(doc, "data-root"));

	if (!json_is_object(doc))
		peer_fact(emit, "bad", "no JSON object");
	if (path && *path == '/')
		peer_fact(emit, "root", path);
	json_decref(doc);
}
