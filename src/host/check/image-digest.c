// SPDX-License-Identifier: Apache-2.0
/* Runs in a half: what a guest image's files say beyond what `status` wants to know. */
#include "host/check/image-digest.h"

#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "host/json.h"
#include "host/sha256.h"

enum { FILES_MAX = 64, NAME_BYTES_MAX = 64 };

static int is_name(const char *s, size_t n)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789._-";

	return n && n <= NAME_BYTES_MAX && s[0] != '.' && strspn(s, good) >= n;
}

void image_digest_sums(const struct peer_reply *reply, struct peer_emit *emit)
{
	_cleanup_free_ char *text = xstrndup(reply->body, reply->len);
	size_t files = 0, len;

	for (const char *line = text; *line; line += len, line += *line == '\n') {
		const char *name = line + SHA256_HEX + 2;

		len = strcspn(line, "\n");
		/* "HASH  NAME", or "HASH *NAME" of a binary one */
		if (len < SHA256_HEX + 3 || strspn(line, "0123456789abcdef") != SHA256_HEX ||
		    line[SHA256_HEX] != ' ' || !strchr(" *", name[-1]) ||
		    !is_name(name, (size_t)(line + len - name)) || ++files > FILES_MAX) {
			peer_fact(emit, "bad", "not a list of checksums");
			return;
		}
		peer_factf(emit, "sum", "%.*s %.*s", SHA256_HEX, line,
			   (int)(line + len - name), name);
	}
}

void image_digest_share(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, 0);

	if (json_is_true(json_object_get(doc, "shared_ro")))
		peer_fact(emit, "shared_ro", "yes");
	json_decref(doc);
}
