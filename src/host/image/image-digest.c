// SPDX-License-Identifier: Apache-2.0
/* Runs in a half: what a guest image's files say beyond what `status` wants to know. */
#include "host/image/image-digest.h"

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

/* The value of a word KEY=VALUE. */
static void emit_word(const char *cmdline, const char *key, const char *fact,
		      struct peer_emit *emit)
{
	size_t len = strlen(key);

	for (const char *at = cmdline; *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");
		_cleanup_free_ char *value = n > len ? xstrndup(at + len, n - len) : NULL;

		if (value && strncmp(at, key, len) == 0)
			peer_fact(emit, fact, value);
		at += n;
	}
}

void image_digest_metadata(const struct peer_reply *reply, struct peer_emit *emit)
{
	static const char *const members[] = { "bios", "kernel", "initrd", "rootfs" };
	json_t *doc = json_read(reply->body, reply->len, JSON_REJECT_DUPLICATES);
	const char *cmdline = json_string_value(json_object_get(doc, "cmdline"));
	const char *made_by = json_string_value(json_object_get(doc, "git_revision"));

	if (!json_is_object(doc))
		peer_fact(emit, "bad", "no JSON object");
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *name = json_string_value(json_object_get(doc, members[i]));

		if (name && is_name(name, strlen(name)))
			peer_fact(emit, members[i], name);
	}
	if (cmdline) {
		peer_fact(emit, "cmdline", "yes");
		emit_word(cmdline, "dstack.rootfs_hash=", "rootfs_hash", emit);
		emit_word(cmdline, "dstack.rootfs_size=", "rootfs_size", emit);
	}
	if (json_is_true(json_object_get(doc, "shared_ro")))
		peer_fact(emit, "shared_ro", "yes");
	if (made_by && strcmp(made_by, "simulated") == 0)
		peer_fact(emit, "simulated", "yes");
	json_decref(doc);
}

void image_digest_digest(const struct peer_reply *reply, struct peer_emit *emit)
{
	_cleanup_free_ char *text = xstrndup(reply->body, reply->len);
	size_t n = strspn(text, "0123456789abcdef");

	if (n != SHA256_HEX || text[n + strspn(text + n, " \r\n")]) {
		peer_fact(emit, "bad", "no digest");
		return;
	}
	text[n] = '\0';
	peer_fact(emit, "digest", text);
}
