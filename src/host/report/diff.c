// SPDX-License-Identifier: Apache-2.0
/* Differences: asked of the half, put in order, printed. */
#include "host/report/diff.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "base/utf8.h"
#include "host/json.h"

enum { REFERENCE_MAX = 16 << 20, TIMEOUT_MS = 10000, SHOWN_MAX = 80 };

static int class_of(const char *name)
{
	for (int c = 0; c < DIFF_CLASSES; c++)
		if (strcmp(diff_class_name((enum diff_class)c), name) == 0)
			return c;
	return -1;
}

/* Each begins with its class. A word that is none of ours ends it: the half was taken over. */
static int take(const struct peer_answer *answer, struct diff *ret)
{
	struct difference *d = NULL;

	for (size_t i = 0; i < answer->n_facts; i++) {
		const struct peer_fact *f = &answer->facts[i];
		char **to = NULL;

		if (strcmp(f->key, "class") == 0) {
			int class = class_of(f->value);

			if (class < 0)
				return -1;
			ret->items = xrealloc(ret->items, (ret->n + 1) * sizeof(*ret->items));
			d = &ret->items[ret->n++];
			*d = (struct difference){ .class = (enum diff_class)class };
			continue;
		}
		if (strcmp(f->key, "kind") == 0)
			to = &ret->kind;
		else if (strcmp(f->key, "taken") == 0)
			to = &ret->taken;
		else if (d && strcmp(f->key, "path") == 0)
			to = &d->path;
		else if (d && strcmp(f->key, "here") == 0)
			to = &d->here;
		else if (d && strcmp(f->key, "there") == 0)
			to = &d->there;
		else if (d && strcmp(f->key, "why") == 0)
			to = &d->why;
		if (!to || *to)
			return -1;
		*to = xstrdup(f->value);
	}
	for (size_t i = 0; i < ret->n; i++)
		if (!ret->items[i].path)
			return -1;
	return 0;
}

/* By class; within one, as they came. */
static void sort(struct diff *d)
{
	struct difference *sorted = xcalloc(d->n + 1, sizeof(*sorted));
	size_t n = 0;

	for (int c = 0; c < DIFF_CLASSES; c++)
		for (size_t i = 0; i < d->n; i++)
			if (d->items[i].class == (enum diff_class)c)
				sorted[n++] = d->items[i];
	free(d->items);
	d->items = sorted;
}

static char *trouble_of(const struct peer_answer *answer)
{
	const char *bad = peer_get(answer, "bad");

	if (answer->error == PEER_TOO_LARGE)
		return xasprintf("it is larger than %d MiB, or differs everywhere",
				 REFERENCE_MAX >> 20);
	if (answer->error != PEER_OK)
		return xstrdup(answer->text ? answer->text : "it could not be read");
	return bad ? xstrdup(bad) : NULL;
}

int diff_with_file(const json_t *own, int fd, struct diff *ret, char **trouble)
{
	struct peer_request request = {
		.kind = PEER_FILE,
		.fd = fd,
		.timeout_ms = TIMEOUT_MS,
		.max_body = REFERENCE_MAX,
		.digest = diff_digest,
	};
	struct peer_answer answer = { 0 };
	int r;

	*ret = (struct diff){ 0 };
	*trouble = NULL;
	diff_set_own(own);
	r = peer_ask(&request, 1, &answer);
	diff_set_own(NULL);
	if (r == 0) {
		*trouble = trouble_of(&answer);
		if (!*trouble && take(&answer, ret) < 0)
			*trouble = xstrdup("the comparison broke off");
		sort(ret);
	}
	peer_answers_free(&answer, 1);
	return r < 0 ? r : *trouble ? 1 : 0;
}

int diff_matters(const struct diff *d)
{
	return d->n && d->items[0].class == DIFF_MATTERS;
}

/* At most `max` bytes, whole characters. */
static size_t cut(const char *s, size_t max)
{
	size_t used = 0, n;

	while (s[used] && (n = utf8_sequence(s + used, strlen(s + used))) && used + n <= max)
		used += n;
	return used;
}

static size_t count(const struct diff *d, int class)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++)
		n += d->items[i].class == (enum diff_class)class;
	return n;
}

/* A file's text is for --json. */
static void add_value(struct strbuf *sb, const char *value, const char *where)
{
	if (!value)
		sb_addf(sb, "nothing %s", where);
	else if (strlen(value) <= SHOWN_MAX)
		sb_addf(sb, "%s %s", value, where);
	else
		sb_addf(sb, "%.*s... %s", (int)cut(value, SHOWN_MAX), value, where);
}

static void add_difference(struct strbuf *out, const struct difference *d,
			   const struct difference *next)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	sb_addf(&sb, "%s: ", d->path);
	add_value(&sb, d->here, "here");
	sb_add(&sb, ", ");
	add_value(&sb, d->there, "there");
	sb_add(out, "  ");
	text_wrap(out, sb.data, 4);
	/* Once for those that follow each other. */
	if (!d->why || (next && next->why && strcmp(next->why, d->why) == 0))
		return;
	sb_add(out, "      ");
	text_wrap(out, d->why, 6);
}

static void add_class(struct strbuf *out, const struct diff *d, enum diff_class class)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->items[i].class == class)
			add_difference(out, &d->items[i],
				       i + 1 < d->n && d->items[i + 1].class == class ?
					       &d->items[i + 1] : NULL);
}

void diff_text(const struct diff *d, struct strbuf *out)
{
	for (int c = 0; c < DIFF_CLASSES; c++) {
		size_t n = count(d, c);

		if (!n)
			continue;
		sb_addf(out, "%s (%zu)\n", diff_class_title((enum diff_class)c), n);
		add_class(out, d, (enum diff_class)c);
		sb_addc(out, '\n');
	}
	sb_addf(out, "Compared with the report of %s%s%s: %zu %s, %zu expected\n",
		d->taken ? d->taken : "?", d->kind && strcmp(d->kind, "host") != 0 ? ", " : "",
		d->kind && strcmp(d->kind, "host") != 0 ? d->kind : "", count(d, DIFF_MATTERS),
		count(d, DIFF_MATTERS) == 1 ? "difference matters" : "differences matter",
		d->n - count(d, DIFF_MATTERS));
}

void diff_json(const struct diff *d, struct strbuf *out)
{
	json_t *list = json_array(), *summary = json_object();

	for (size_t i = 0; i < d->n; i++) {
		const struct difference *x = &d->items[i];

		json_push(list, json_pack("{s:s, s:s, s:s?, s:s?, s:s?}", "path", x->path,
					  "class", diff_class_name(x->class), "here", x->here,
					  "there", x->there, "why", x->why));
	}
	for (int c = 0; c < DIFF_IGNORED; c++)
		json_object_set_new(summary, diff_class_name((enum diff_class)c),
				    json_integer((json_int_t)count(d, c)));
	json_write(out, json_pack("{s:s, s:s?, s:s?, s:o, s:o}", "schema", "dstack-host.diff/1",
				  "kind", d->kind, "taken", d->taken, "summary", summary,
				  "differences", list));
}

void diff_free(struct diff *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->items[i].path);
		free(d->items[i].here);
		free(d->items[i].there);
		free(d->items[i].why);
	}
	free(d->items);
	free(d->kind);
	free(d->taken);
	*d = (struct diff){ 0 };
}
