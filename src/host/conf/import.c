// SPDX-License-Identifier: Apache-2.0
/* Changes to host.conf, checked before anything is written. */
#include "host/conf/import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "host/kms/kms.h"
#include "host/conf/settings.h"

int import_begin(const struct root *root, struct import *im)
{
	_cleanup_settings_ struct settings s = { 0 };
	int r;

	*im = (struct import){ 0 };
	r = hostconf_load(root, HOSTCONF_PATH, &im->hc, &im->before);
	if (r == 0)
		r = settings_resolve(root, &im->hc, &s);
	for (size_t i = 0; r == 0 && i < s.diag.n; i++)
		diag_add(&im->before, NULL, 0, s.diag.items[i].key, "%s", s.diag.items[i].text);
	for (int id = 0; r == 0 && id < KEY_COUNT; id++)
		im->old[id] = im->hc.value[id] ? xstrdup(im->hc.value[id]) : NULL;
	return r;
}

static void touch(struct import *im, int id, char *value)
{
	free(im->value[id]);
	im->value[id] = value;
	im->touched[id] = 1;
}

static int known_key(struct import *im, const char *name)
{
	int id = key_find(name);

	if (id < 0) {
		_cleanup_free_ char *hint = key_hint(name);

		diag_add(&im->diag, NULL, 0, NULL, "unknown key \"%.64s\"; %s", name, hint);
	}
	return id;
}

static void complain_value(struct import *im, int id, const char *value, const char *reason)
{
	const struct key *k = &keys[id];

	if (k->flags & KEY_REDACT)
		diag_add(&im->diag, NULL, 0, k->name, "%s", reason);
	else
		diag_add(&im->diag, NULL, 0, k->name, "%s%s: \"%.100s\"",
			 k->choices && *value ? "not one of: " : "", reason, value);
}

static void take(struct import *im, int id, const char *value)
{
	const char *reason = key_check((enum key_id)id, value);

	if (reason)
		complain_value(im, id, value, reason);
	else if (im->touched[id])
		diag_add(&im->diag, NULL, 0, keys[id].name, "given twice");
	else
		touch(im, id, xstrdup(value));
}

void import_word(struct import *im, const char *word)
{
	const char *eq = strchr(word, '=');
	_cleanup_free_ char *name = NULL;
	int id;

	if (!eq || eq == word) {
		diag_add(&im->diag, NULL, 0, NULL,
			 "not KEY=VALUE, without blanks around the sign: \"%.64s\"", word);
		return;
	}
	name = xstrndup(word, (size_t)(eq - word));
	id = known_key(im, name);
	if (id >= 0)
		take(im, id, eq + 1);
}

void import_unset(struct import *im, const char *name)
{
	int id = known_key(im, name);

	if (id >= 0)
		touch(im, id, NULL);
}

static int differs(const struct import *im, int id)
{
	const char *old = im->old[id], *new = im->value[id];

	if (!im->touched[id] || !old || !new)
		return im->touched[id] && old != new;
	return strcmp(old, new) != 0;
}

/* Once there is a record of a deployment, a disk is sealed to what was measured: what its key
 * is made of stays as it is. */
static void refuse_measured(const struct root *root, struct import *im)
{
	if (!root_exists(root, KMS_RECORD))
		return;
	for (int id = 0; id < KEY_COUNT; id++) {
		if (!differs(im, id) || !(keys[id].flags & KEY_MEASURED))
			continue;
		diag_add(&im->diag, NULL, 0, keys[id].name,
			 "part of what the disk of the deployed KMS is sealed to; a KMS with "
			 "another value is a new one, to which the keys are replicated first");
		im->touched[id] = 0;
	}
}

static int is_in(const struct diag *list, const struct diag_item *item)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i].key ? list->items[i].key : "",
			   item->key ? item->key : "") == 0 &&
		    strcmp(list->items[i].text, item->text) == 0)
			return 1;
	return 0;
}

/* What would be wrong with the text as it is now and was not wrong before: a mistake that
 * was there already must not keep anybody from mending another. */
static int new_complaints(const struct root *root, const struct import *im, struct diag *ret)
{
	_cleanup_settings_ struct settings s = { 0 };
	int r = settings_resolve(root, &im->hc, &s);

	for (size_t i = 0; r == 0 && i < s.diag.n; i++)
		if (!is_in(&im->before, &s.diag.items[i]))
			diag_add(ret, NULL, 0, s.diag.items[i].key, "%s", s.diag.items[i].text);
	return r;
}

static void edit_all(struct import *im)
{
	for (int id = 0; id < KEY_COUNT; id++)
		if (im->touched[id])
			hostconf_edit(&im->hc, (enum key_id)id, im->value[id]);
}

static void take_back(struct import *im, int id)
{
	hostconf_edit(&im->hc, (enum key_id)id, im->old[id]);
	im->touched[id] = 0;
}

static int any_touched(const struct import *im)
{
	return memchr(im->touched, 1, sizeof(im->touched)) != NULL;
}

static int save(const struct root *root, struct import *im)
{
	int generated, r = hostconf_save(root, &im->hc);

	if (r < 0)
		return r;
	generated = secrets_generate(root);
	return generated < 0 ? generated : r;
}

/* Drops the reasons of keys that have been dealt with, adds the new ones. */
static int write_rejected(const struct root *root, const struct import *im)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	_cleanup_free_ char *old = NULL;
	struct file_spec spec = { .mode = 0644, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int r = file_read(root, REJECTED_PATH, IMPORT_MAX, &old, NULL);

	for (const char *p = r == 0 ? old : ""; *p;) {
		size_t n = strcspn(p, "\n");
		_cleanup_free_ char *name = xstrndup(p, strcspn(p, ":\n"));
		int id = key_find(name), secret = secret_find(name);

		if (id >= 0 ? !im->touched[id] : secret >= 0 && !im->secret_done[secret])
			sb_addf(&sb, "%.*s\n", (int)n, p);
		p += n + (p[n] == '\n');
	}
	for (size_t i = 0; i < im->diag.n; i++) {
		_cleanup_free_ char *line = diag_format(&im->diag.items[i]);

		if (!sb.data || !strstr(sb.data, line))
			sb_addf(&sb, "%s\n", line);
	}
	if (!sb.len)
		r = file_remove(root, REJECTED_PATH);
	else {
		spec.data = sb.data;
		spec.len = sb.len;
		r = root_mkdirs(root, "/var/lib/dstack", 0755);
		if (r == 0)
			r = file_replace(root, REJECTED_PATH, &spec);
	}
	return r < 0 ? r : 0;
}

int import_commit_all(const struct root *root, struct import *im)
{
	int changed, r;

	if (im->hc.unreadable)
		diag_add(&im->diag, im->hc.path, 0, NULL,
			 "cannot be read, see dstack-host config validate; it stays as it is");
	refuse_measured(root, im);
	edit_all(im);
	r = new_complaints(root, im, &im->diag);
	if (r < 0)
		return r;
	if (im->diag.n)
		return -EINVAL;
	changed = any_touched(im) ? save(root, im) : FILE_UNCHANGED;
	if (changed < 0)
		return changed;
	r = write_rejected(root, im);
	return r < 0 ? r : changed;
}

/* Never asked, always preseeded: what the file sets wins. */
static int settings_word(const char *word, void *arg)
{
	struct import *im = arg;
	size_t n = strcspn(word, "=");
	_cleanup_free_ char *name = xstrndup(word, n);
	int id = key_find(name);

	if (id < 0 || !word[n] || !im->old[id])
		import_word(im, word);
	else if (strcmp(im->old[id], word + n + 1) != 0)
		log_info("%s stays as it is in " HOSTCONF_PATH ", which wins over a preseed",
			 name);
	return 0;
}

int import_secret(const struct root *root, struct import *im, enum secret_id id,
		  const char *value)
{
	const char *reason = secrets[id].check(value);
	int r;

	if (reason) {
		diag_add(&im->diag, NULL, 0, secrets[id].name, "%s", reason);
		return 0;
	}
	r = secret_store(root, id, value);
	im->secret_done[id] = r >= 0;
	return r < 0 ? r : 0;
}

static int take_answer(const struct root *root, struct import *im, const char *name,
		       const char *value)
{
	int secret = secret_find(name);

	if (strcmp(name, "settings") == 0) {
		for_each_word(value, settings_word, im);
		return 0;
	}
	/* Empty: nothing was typed, the one that is stored stays. */
	if (secret >= 0)
		return *value ? import_secret(root, im, (enum secret_id)secret, value) : 0;
	for (int id = 0; id < KEY_COUNT; id++) {
		_cleanup_free_ char *question = key_debconf_name(keys[id].name);

		if (strcmp(question, name) != 0)
			continue;
		if (*value)
			take(im, id, value);
		else if (im->hc.value[id])
			touch(im, id, NULL);
		return 0;
	}
	diag_add(&im->diag, NULL, 0, NULL, "unknown answer \"%.64s\"", name);
	return 0;
}

static int next_answer(const char **p, const char *end, char **name, char **value)
{
	const char *record = memchr(*p, '\0', (size_t)(end - *p)), *eq;

	if (*p >= end || !record)
		return 0;
	eq = strchr(*p, '=');
	*name = xstrndup(*p, eq ? (size_t)(eq - *p) : strlen(*p));
	*value = xstrdup(eq ? eq + 1 : "");
	*p = record + 1;
	return 1;
}

/* A frontend without a terminal answers every question with nothing. Whoever sees the questions
 * finds the domain filled in: where it comes back empty nobody did, and nothing is unset. */
static void unset_nothing_unasked(struct import *im)
{
	if (!im->touched[KEY_DOMAIN] || im->value[KEY_DOMAIN] || !im->old[KEY_DOMAIN])
		return;
	for (int id = 0; id < KEY_COUNT; id++)
		if (im->touched[id] && !im->value[id])
			im->touched[id] = 0;
}

/* Good together, or each alone in the table's order, as far as they go. */
static int keep_good_answers(const struct root *root, struct import *im)
{
	_cleanup_diag_ struct diag together = { 0 };
	int r;

	refuse_measured(root, im);
	edit_all(im);
	r = new_complaints(root, im, &together);
	if (r < 0 || !together.n)
		return r;
	for (int id = 0; id < KEY_COUNT; id++)
		if (im->touched[id])
			hostconf_edit(&im->hc, (enum key_id)id, im->old[id]);
	for (int id = 0; r == 0 && id < KEY_COUNT; id++) {
		_cleanup_diag_ struct diag alone = { 0 };

		if (!im->touched[id])
			continue;
		hostconf_edit(&im->hc, (enum key_id)id, im->value[id]);
		r = new_complaints(root, im, &alone);
		if (r == 0 && alone.n) {
			diag_add(&im->diag, NULL, 0, keys[id].name, "%s: %s",
				 alone.items[0].key ? alone.items[0].key : "",
				 alone.items[0].text);
			take_back(im, id);
		}
	}
	return r;
}

int import_answers(const struct root *root, struct import *im, const char *text, size_t len)
{
	const char *p = text, *end = text + len + 1;
	int r = 0;

	while (r == 0) {
		_cleanup_free_ char *name = NULL;
		_cleanup_secret_ char *value = NULL;

		if (!next_answer(&p, end, &name, &value))
			break;
		if (*name)
			r = take_answer(root, im, name, value);
	}
	unset_nothing_unasked(im);
	if (r == 0)
		r = keep_good_answers(root, im);
	if (r == 0 && im->hc.unreadable)
		diag_add(&im->diag, im->hc.path, 0, NULL, "cannot be read; it stays as it is");
	else if (r == 0)
		r = save(root, im);
	return r < 0 ? r : write_rejected(root, im);
}

void import_free(struct import *im)
{
	hostconf_free(&im->hc);
	for (int id = 0; id < KEY_COUNT; id++) {
		free(im->value[id]);
		free(im->old[id]);
	}
	diag_free(&im->diag);
	diag_free(&im->before);
	*im = (struct import){ 0 };
}
