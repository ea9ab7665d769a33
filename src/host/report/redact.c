// SPDX-License-Identifier: Apache-2.0
/* Finding and replacing what must not be shown. */
#include "host/report/redact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "host/kms/kms.h"
#include "host/conf/secrets.h"
#include "host/report/redact-shape.h"
#include "host/sha256.h"
#include "host/conf/shown.h"

enum {
	SHORTEST = 6, /* of a password: anything shorter stands in every text */
	SEGMENT = 12, /* of a URL's path: "rpc" and "v2" are no keys */
	FILE_MAX = 1 << 20,
};

struct entry {
	char *what, *with;
	size_t len;
};

struct redactor {
	struct entry *entries; /* the longest first */
	size_t n;
};

void redact_add(struct redactor *r, const char *what, const char *with)
{
	size_t len = strlen(what), at = 0;

	if (len < SHORTEST)
		return;
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->entries[i].what, what) == 0)
			return;
	while (at < r->n && r->entries[at].len >= len)
		at++;
	r->entries = xrealloc(r->entries, (r->n + 1) * sizeof(*r->entries));
	memmove(r->entries + at + 1, r->entries + at, (r->n - at) * sizeof(*r->entries));
	r->entries[at] = (struct entry){ xstrdup(what), xstrdup(with), len };
	r->n++;
}

static void add_part(struct redactor *r, const char *from, size_t len, size_t shortest,
		     const char *with)
{
	_cleanup_free_ char *part = xstrndup(from, len);

	if (len >= shortest)
		redact_add(r, part, with);
}

/* user:password, and what of the path or the query may be a key. */
static void add_url(struct redactor *r, const char *url)
{
	const char *host = strstr(url, "://"), *at, *path;
	_cleanup_free_ char *whole = NULL;

	host = host ? host + 3 : url;
	path = host + strcspn(host, "/?");
	at = memrchr(host, '@', (size_t)(path - host));
	if (at) {
		const char *colon = memchr(host, ':', (size_t)(at - host));

		add_part(r, host, (size_t)(at - host), SHORTEST, "(credentials)");
		if (colon)
			add_part(r, colon + 1, (size_t)(at - colon - 1), SHORTEST, "(credentials)");
		host = at + 1;
	}
	whole = xasprintf("%.*s/...", (int)(path - host), host);
	if (strlen(path) > 1)
		add_part(r, host, strlen(host), SHORTEST, whole);
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/?&=");

		add_part(r, p, n, SEGMENT, "...");
		p += n + (p[n] != '\0');
	}
}

static int add_word(const char *word, void *arg)
{
	add_url(arg, word);
	return 0;
}

/* The deployed KMS keeps the endpoint it was made with, also after the settings have another. */
static int add_frozen(const struct root *root, struct redactor *r, const char *path)
{
	static const char name[] = "ETH_RPC_URL=";
	_cleanup_free_ char *text = NULL;
	int e = file_read(root, path, FILE_MAX, &text, NULL);

	if (e < 0)
		return e == -ENOENT || e == -EACCES ? 0 : e;
	for (const char *p = text; (p = strstr(p, name));) {
		_cleanup_free_ char *url = NULL;

		p += strlen(name);
		url = xstrndup(p, strcspn(p, " \t\r\n\"'\\#"));
		add_url(r, url);
	}
	return 0;
}

/* Its digests are what PCCS and front are given; those of a word of a person can be guessed. */
static int add_secret(const struct root *root, struct redactor *r, enum secret_id id)
{
	_cleanup_secret_ char *value = NULL;
	_cleanup_free_ char *with = xasprintf("(secret %s)", secrets[id].name);
	_cleanup_free_ char *digest = xasprintf("(digest of %s)", secrets[id].name);
	char hex[SHA512_HEX + 1];
	int e = secret_read(root, id, &value);

	if (e < 0 || !value)
		return e == -EACCES || e == -EPERM ? 0 : e;
	redact_add(r, value, with);
	sha256_hex(value, strlen(value), hex);
	redact_add(r, hex, digest);
	sha512_hex(value, strlen(value), hex);
	redact_add(r, hex, digest);
	return 0;
}

int redact_load(const struct root *root, const struct settings *s, struct redactor **ret)
{
	static const char *const frozen[] = { KMS_DIR "/auth-eth.env",
					      KMS_DIR "/docker-compose.yaml" };
	_cleanup_redactor_ struct redactor *r = xcalloc(1, sizeof(*r));
	int e = 0;

	for (int id = 0; e == 0 && id < SECRET_COUNT; id++)
		e = add_secret(root, r, (enum secret_id)id);
	for (size_t i = 0; e == 0 && i < ARRAY_SIZE(frozen); i++)
		e = add_frozen(root, r, frozen[i]);
	for (int id = 0; id < KEY_COUNT; id++)
		if (keys[id].flags & KEY_REDACT)
			for_each_word(setting(s, (enum key_id)id), add_word, r);
	if (e < 0)
		return e;
	*ret = steal_ptr(r);
	return 0;
}

static const struct entry *known(const struct redactor *r, const char *s)
{
	for (size_t i = 0; i < r->n; i++)
		if (strncmp(s, r->entries[i].what, r->entries[i].len) == 0)
			return &r->entries[i];
	return NULL;
}

char *redact_text(const struct redactor *r, const char *text)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	const char *start = text;

	while (*text) {
		const struct entry *e = known(r, text);
		size_t keep = 0, n = e ? 0 : redact_shape(start, text, &keep);

		/* What is known has a name of its own. */
		if (n && (e = known(r, text + keep)) && e->len < n)
			e = NULL;
		if (e) {
			sb_addn(&out, text, keep);
			sb_add(&out, e->with);
			text += keep + e->len;
		} else if (n) {
			sb_addn(&out, text, keep);
			sb_add(&out, strncmp(text, "-----", 5) == 0 ? "(private key not shown)" :
								       "(not shown)");
			text += keep + n;
		} else {
			sb_addc(&out, *text++);
		}
	}
	return sb_steal(&out);
}

void redact_json(const struct redactor *r, json_t *value)
{
	const char *key;
	json_t *item;
	size_t i;

	if (json_is_string(value)) {
		_cleanup_free_ char *text = redact_text(r, json_string_value(value));

		if (strcmp(text, json_string_value(value)) != 0 &&
		    json_string_set(value, text) < 0)
			out_of_memory();
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item)
			redact_json(r, item);
	} else if (json_is_object(value)) {
		json_object_foreach(value, key, item)
			redact_json(r, item);
	}
}

void redact_free(struct redactor **r)
{
	if (!*r)
		return;
	for (size_t i = 0; i < (*r)->n; i++) {
		secret_free(&(*r)->entries[i].what);
		free((*r)->entries[i].with);
	}
	free((*r)->entries);
	free(*r);
	*r = NULL;
}
