// SPDX-License-Identifier: Apache-2.0
/* Reads and writes artifacts.json. */
#include "host/image/image-manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "host/image/image-hash.h"
#include "host/image/image-tar.h"
#include "host/json.h"

enum { MANIFEST_MAX = 1 << 20, URLS_MAX = 16, SIZE_BITS = 40 };

static const char *const kinds[] = { "image", "binary", "container", "deb" };
static const char *const states[] = { "reference", "supported", "vulnerable" };

const char *artifact_state_name(enum artifact_state state)
{
	return states[state];
}

void artifact_free(struct artifact *a)
{
	for (size_t i = 0; i < a->n_urls; i++)
		free(a->urls[i]);
	free(a->urls);
	free(a->name);
	free(a->version);
	free(a->full);
	*a = (struct artifact){ 0 };
}

void manifest_free(struct manifest *m)
{
	for (size_t i = 0; i < m->n; i++)
		artifact_free(&m->items[i]);
	free(m->items);
	diag_free(&m->diag);
	*m = (struct manifest){ 0 };
}

void manifest_add(struct manifest *m, struct artifact *a)
{
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->items[i].full, a->full) == 0 && m->items[i].kind == a->kind) {
			artifact_free(&m->items[i]);
			m->items[i] = *a;
			return;
		}
	m->items = xrealloc(m->items, (m->n + 1) * sizeof(*m->items));
	m->items[m->n++] = *a;
}

static int index_of(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; name && i < n; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

static const char *take_size(json_t *doc, const char *key, uint64_t *ret)
{
	json_t *v = json_object_get(doc, key);

	if (!v)
		return NULL;
	if (!json_is_integer(v) || json_integer_value(v) <= 0 ||
	    json_integer_value(v) >> SIZE_BITS)
		return "is no number of bytes";
	*ret = (uint64_t)json_integer_value(v);
	return NULL;
}

static const char *take_hash(json_t *doc, const char *key, char ret[SHA256_HEX + 1])
{
	json_t *v = json_object_get(doc, key);
	const char *s = json_string_value(v);
	unsigned char hash[HASH_LEN];

	if (!v)
		return NULL;
	if (!s || hash_parse(s, hash) < 0)
		return "is no SHA-256 (64 digits, 0-9 and a-f)";
	memcpy(ret, s, SHA256_HEX + 1);
	return NULL;
}

static const char *take_urls(json_t *doc, struct artifact *a)
{
	json_t *list = json_object_get(doc, "urls");
	size_t n = json_array_size(list);

	if (list && (!json_is_array(list) || n > URLS_MAX))
		return "is no list of up to 16 URLs";
	a->urls = xcalloc(n + 1, sizeof(*a->urls));
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (!s || (strncmp(s, "file:///", 8) != 0 && check_url(s)))
			return "has what is no http, https or file URL";
		a->urls[a->n_urls++] = xstrdup(s);
	}
	return NULL;
}

/* The name of what is wrong, and why; NULL: nothing. */
static const char *take_artifact(json_t *doc, struct artifact *a, const char **key)
{
	const char *name = json_string_value(json_object_get(doc, *key = "name"));
	const char *version, *why;
	int i;

	if (!name || !tar_is_name(name))
		return "is no name";
	a->name = xstrdup(name);
	version = json_string_value(json_object_get(doc, *key = "version"));
	if (!version || check_version(version) || strlen(name) + strlen(version) >= TAR_NAME_MAX)
		return "is no version";
	a->version = xstrdup(version);
	a->full = xasprintf("%s-%s", name, version);
	i = index_of(kinds, ARRAY_SIZE(kinds), json_string_value(json_object_get(doc, *key = "kind")));
	if (i < 0)
		return "is none of image, binary, container, deb";
	a->kind = (enum artifact_kind)i;
	i = index_of(states, ARRAY_SIZE(states),
		     json_string_value(json_object_get(doc, *key = "state")));
	if (i < 0)
		return "is none of reference, supported, vulnerable";
	a->state = (enum artifact_state)i;
	why = take_size(doc, *key = "size", &a->size);
	if (!why)
		why = take_size(doc, *key = "unpacked", &a->unpacked);
	if (!why)
		why = take_hash(doc, *key = "sha256", a->sha256);
	if (!why)
		why = take_hash(json_object_get(doc, "inside"), *key = "digest", a->digest);
	if (why)
		return why;
	*key = "urls";
	why = take_urls(doc, a);
	if (why)
		return why;
	*key = a->kind == ARTIFACT_IMAGE ? "digest" : "sha256";
	if (!*(a->kind == ARTIFACT_IMAGE ? a->digest : a->sha256))
		return "is not there: nothing would tell that it is the right one";
	return NULL;
}

void manifest_read(struct manifest *m, const char *file, const char *text, size_t len)
{
	json_t *doc = json_read(text, len, JSON_REJECT_DUPLICATES);
	json_t *list = json_object_get(doc, "artifacts"), *item;
	size_t i;

	if (!json_is_array(list))
		diag_add(&m->diag, file, 0, NULL, "is no JSON object with a list \"artifacts\"");
	json_array_foreach(list, i, item) {
		struct artifact a = { 0 };
		const char *key = NULL, *why = take_artifact(item, &a, &key);

		if (!why) {
			manifest_add(m, &a);
			continue;
		}
		diag_add(&m->diag, file, 0, NULL, "artifact %zu: \"%s\" %s", i + 1, key, why);
		artifact_free(&a);
	}
	json_decref(doc);
}

static int read_file(const struct root *root, const char *path, struct manifest *m)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = file_read(root, path, MANIFEST_MAX, &text, &len);

	if (r == 0)
		manifest_read(m, path, text, len);
	return r == -ENOENT ? 0 : r;
}

static int is_json(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return len > 5 && e->d_name[0] != '.' && strcmp(e->d_name + len - 5, ".json") == 0;
}

int manifest_load(const struct root *root, struct manifest *ret)
{
	struct dirent **names = NULL;
	_cleanup_close_ int dir = -1;
	int r, n = 0;

	*ret = (struct manifest){ 0 };
	r = read_file(root, ARTIFACTS_FILE, ret);
	dir = r < 0 ? r : root_openat(root, ARTIFACTS_DIR, O_RDONLY | O_DIRECTORY, 0);
	if (dir >= 0)
		n = scandirat(dir, ".", &names, is_json, alphasort);
	else if (r == 0 && dir != -ENOENT)
		r = dir;
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *path = xasprintf(ARTIFACTS_DIR "/%s", names[i]->d_name);

		if (r == 0)
			r = read_file(root, path, ret);
		free(names[i]);
	}
	free(names);
	if (r < 0)
		manifest_free(ret);
	return r;
}

const struct artifact *manifest_find(const struct manifest *m, const char *what)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct artifact *a = &m->items[i];

		if (a->kind == ARTIFACT_IMAGE &&
		    (strcmp(a->full, what) == 0 ||
		     (strcmp(a->name, "dstack") == 0 && strcmp(a->version, what) == 0)))
			return a;
	}
	return NULL;
}

const char *manifest_base(const char *url)
{
	const char *slash = strrchr(url, '/');

	return slash ? slash + 1 : url;
}

const struct artifact *manifest_find_file(const struct manifest *m, const char *file)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct artifact *a = &m->items[i];

		for (size_t j = 0; a->kind == ARTIFACT_IMAGE && j < a->n_urls; j++)
			if (strcmp(manifest_base(a->urls[j]), file) == 0)
				return a;
	}
	return NULL;
}

int manifest_record(const struct root *root, const struct artifact *a)
{
	_cleanup_free_ char *path = xasprintf(ARTIFACTS_DIR "/%s.json", a->full);
	struct strbuf text = { 0 };
	json_t *urls = json_array(), *item;
	struct file_spec spec = { .mode = 0644, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int r;

	for (size_t i = 0; i < a->n_urls; i++)
		json_push(urls, json_string(a->urls[i]));
	item = json_pack("{ss ss ss ss sI sI ss s{ss} so}", "name", a->name, "version", a->version,
			 "kind", kinds[a->kind], "state", states[a->state], "size",
			 (json_int_t)a->size, "unpacked", (json_int_t)a->unpacked, "sha256",
			 a->sha256, "inside", "digest", a->digest, "urls", urls);
	json_write(&text, json_pack("{s[o]}", "artifacts", item));
	spec.data = text.data;
	spec.len = text.len;
	r = root_mkdirs(root, ARTIFACTS_DIR, 0755);
	if (r == 0)
		r = file_replace(root, path, &spec);
	sb_free(&text);
	return r;
}
