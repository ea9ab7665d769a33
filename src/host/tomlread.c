// SPDX-License-Identifier: Apache-2.0
/* Reading TOML: lines, keys and tables. */
#include "host/tomlread.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "host/tomlwrite.h"
#include "host/tomlread-in.h"

enum { BYTES_MAX = 1 << 20 };

int toml_fail(struct toml_reader *r, const char *text)
{
	if (!r->error->text)
		*r->error = (struct toml_error){ r->line, text };
	return -EBADMSG;
}

struct toml *toml_new(struct toml_reader *r, enum toml_type type)
{
	struct toml *v = xcalloc(1, sizeof(*v));

	v->type = type;
	v->line = r->line;
	r->values++;
	return v;
}

void toml_append(struct toml *to, struct toml *value)
{
	if (to->last)
		to->last->next = value;
	else
		to->first = value;
	to->last = value;
}

struct toml *toml_member(const struct toml *table, const char *key)
{
	struct toml *v = table->first;

	while (v && strcmp(v->key, key) != 0)
		v = v->next;
	return v;
}

/* As deep as the reader's limit. */
void toml_free(struct toml **value)
{
	struct toml *v = *value;

	while (v && v->first) {
		struct toml *first = v->first;

		v->first = first->next;
		toml_free(&first);
	}
	if (v) {
		free(v->key);
		free(v->text);
	}
	free(v);
	*value = NULL;
}

void toml_skip_blanks(struct toml_reader *r)
{
	while (*r->p == ' ' || *r->p == '\t')
		r->p++;
}

static int skip_comment(struct toml_reader *r)
{
	if (*r->p != '#')
		return 0;
	for (; r->p < r->end && *r->p != '\n'; r->p++)
		if ((unsigned char)*r->p < 0x20 ? *r->p != '\t' : *r->p == 0x7f)
			return toml_fail(r, "control character in a comment");
	return 0;
}

int toml_skip_lines(struct toml_reader *r)
{
	for (;;) {
		toml_skip_blanks(r);
		if (skip_comment(r) < 0)
			return -EBADMSG;
		if (*r->p != '\n')
			return 0;
		r->p++;
		r->line++;
	}
}

/* --- keys --- */

static int is_bare(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-';
}

static int read_name(struct toml_reader *r, char **ret)
{
	const char *start = r->p;

	if (*r->p == '"' || *r->p == '\'')
		return toml_read_string(r, ret);
	while (is_bare(*r->p))
		r->p++;
	if (r->p == start)
		return toml_fail(r, "no key where one should be");
	*ret = xstrndup(start, (size_t)(r->p - start));
	return 0;
}

int toml_read_path(struct toml_reader *r, struct toml_path *ret)
{
	*ret = (struct toml_path){ 0 };
	for (;;) {
		int e;

		if (ret->n == ARRAY_SIZE(ret->names))
			return toml_fail(r, "a key of too many parts");
		e = read_name(r, &ret->names[ret->n]);
		if (e < 0)
			return e;
		ret->n++;
		toml_skip_blanks(r);
		if (*r->p != '.')
			return 0;
		r->p++;
		toml_skip_blanks(r);
	}
}

void toml_path_free(struct toml_path *path)
{
	for (size_t i = 0; i < path->n; i++)
		free(path->names[i]);
	path->n = 0;
}

int toml_read_assigned(struct toml_reader *r, struct toml **ret)
{
	if (*r->p != '=')
		return toml_fail(r, "no \"=\" after a key");
	r->p++;
	toml_skip_blanks(r);
	return toml_read_value(r, ret);
}

/* --- tables --- */

/* Where keys below this member go: the table itself, or the last of an array of tables. */
static struct toml *inside(struct toml *v)
{
	if (v->type == TOML_ARRAY && !(v->flags & TOML_FROZEN))
		v = v->last;
	return v->type == TOML_TABLE ? v : NULL;
}

static struct toml *add_table(struct toml_reader *r, struct toml *to, const char *key)
{
	struct toml *v = toml_new(r, TOML_TABLE);

	v->key = xstrdup(key);
	toml_append(to, v);
	return v;
}

/* The table that `n` names of the path lead to from `at`, made where it is missing. */
static int enter(struct toml_reader *r, struct toml *at, const struct toml_path *path, size_t n,
		 struct toml **ret)
{
	for (size_t i = 0; i < n; i++) {
		struct toml *v = toml_member(at, path->names[i]);

		if (!v)
			v = add_table(r, at, path->names[i]);
		if (v->flags & TOML_FROZEN)
			return toml_fail(r, "adds to a table that is complete");
		at = inside(v);
		if (!at)
			return toml_fail(r, "a key that already has a value");
	}
	*ret = at;
	return 0;
}

/* What dotted keys have made is closed by the next header. */
static void settle(struct toml *v)
{
	if (v->flags & TOML_PENDING)
		v->flags |= TOML_EXPLICIT;
	if (v->flags & TOML_FROZEN)
		return;
	for (struct toml *m = v->first; m; m = m->next)
		settle(m);
}

static int open_table(struct toml_reader *r, struct toml *parent, const char *key,
		      struct toml **ret)
{
	struct toml *v = toml_member(parent, key);

	if (v && (v->flags & (TOML_EXPLICIT | TOML_FROZEN)))
		return toml_fail(r, "a table that is there already");
	if (!v)
		v = add_table(r, parent, key);
	if (v->type != TOML_TABLE)
		return toml_fail(r, "a key that already has a value");
	v->flags |= TOML_EXPLICIT;
	*ret = v;
	return 0;
}

static int open_element(struct toml_reader *r, struct toml *parent, const char *key,
			struct toml **ret)
{
	struct toml *v = toml_member(parent, key);

	if (!v) {
		v = toml_new(r, TOML_ARRAY);
		v->key = xstrdup(key);
		toml_append(parent, v);
	}
	if (v->type != TOML_ARRAY || (v->flags & TOML_FROZEN))
		return toml_fail(r, "a key that already has a value");
	v->flags |= TOML_EXPLICIT;
	*ret = toml_new(r, TOML_TABLE);
	toml_append(v, *ret);
	return 0;
}

/* [a.b] and [[a.b]]: what follows goes to *table. */
static int read_header(struct toml_reader *r, struct toml *root, struct toml **table)
{
	_cleanup_(toml_path_free) struct toml_path path = { 0 };
	int element = r->p[1] == '[', e;
	struct toml *parent;

	r->p += 1 + element;
	toml_skip_blanks(r);
	e = toml_read_path(r, &path);
	if (e < 0)
		return e;
	if (*r->p != ']' || (element && r->p[1] != ']'))
		return toml_fail(r, "no \"]\" after a table's name");
	r->p += 1 + element;
	e = enter(r, root, &path, path.n - 1, &parent);
	if (e < 0)
		return e;
	return element ? open_element(r, parent, path.names[path.n - 1], table) :
			 open_table(r, parent, path.names[path.n - 1], table);
}

/* Dotted keys may not reopen a table that has had its header. */
static int claim(struct toml_reader *r, struct toml *at, const struct toml_path *path)
{
	for (size_t i = 0; at && i + 1 < path->n; i++) {
		struct toml *v = toml_member(at, path->names[i]);

		if (!v)
			v = add_table(r, at, path->names[i]);
		if (v->flags & TOML_EXPLICIT)
			return toml_fail(r, "a table that is there already");
		v->flags |= TOML_PENDING;
		at = inside(v);
	}
	return 0;
}

static int read_pair(struct toml_reader *r, struct toml *table)
{
	_cleanup_(toml_path_free) struct toml_path path = { 0 };
	_cleanup_toml_ struct toml *value = NULL;
	struct toml *parent;
	int e = toml_read_path(r, &path);

	if (e == 0)
		e = toml_read_assigned(r, &value);
	if (e == 0)
		e = claim(r, table, &path);
	if (e == 0)
		e = enter(r, table, &path, path.n - 1, &parent);
	if (e < 0)
		return e;
	if (toml_member(parent, path.names[path.n - 1]))
		return toml_fail(r, "a key that already has a value");
	value->key = xstrdup(path.names[path.n - 1]);
	if (value->type == TOML_TABLE || value->type == TOML_ARRAY)
		value->flags |= TOML_FROZEN;
	toml_append(parent, steal_ptr(value));
	return 0;
}

static int read_statement(struct toml_reader *r, struct toml *root, struct toml **table)
{
	int e;

	if (*r->p == '[') {
		settle(root);
		e = read_header(r, root, table);
	} else {
		e = read_pair(r, *table);
	}
	if (e < 0)
		return e;
	if (r->values > TOML_VALUES_MAX)
		return toml_fail(r, "too many values");
	toml_skip_blanks(r);
	if (skip_comment(r) < 0)
		return -EBADMSG;
	return r->p == r->end || *r->p == '\n' ? 0 : toml_fail(r, "something behind a value");
}

/* Line breaks are \n from here on, as the specification lets a reader do. */
static char *normalize(const char *data, size_t len)
{
	struct strbuf sb = { 0 };

	for (size_t i = 0; i < len; i++)
		if (data[i] != '\r' || i + 1 == len || data[i + 1] != '\n')
			sb_addc(&sb, data[i]);
	return sb_steal(&sb);
}

static int is_text(const char *data, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = data[i] ? utf8_sequence(data + i, len - i) : 0;
		if (!n)
			return 0;
	}
	return 1;
}

static int read_all(struct toml_reader *r, struct toml *root)
{
	struct toml *table = root;
	int e = toml_skip_lines(r);

	while (e == 0 && r->p < r->end) {
		e = read_statement(r, root, &table);
		if (e == 0)
			e = toml_skip_lines(r);
	}
	return e;
}

int toml_parse(const char *data, size_t len, struct toml **ret, struct toml_error *error)
{
	_cleanup_free_ char *text = normalize(data, len);
	_cleanup_toml_ struct toml *root = NULL;
	struct toml_reader r = { .p = text, .line = 1, .error = error };
	int e;

	*error = (struct toml_error){ 0 };
	*ret = NULL;
	if (len > BYTES_MAX)
		return toml_fail(&r, "too long");
	if (!is_text(data, len))
		return toml_fail(&r, "not UTF-8 text");
	r.end = text + strlen(text);
	root = toml_new(&r, TOML_TABLE);
	e = read_all(&r, root);
	if (e == 0)
		*ret = steal_ptr(root);
	return e;
}

const struct toml *toml_find(const struct toml *table, const char *path)
{
	while (table && table->type == TOML_TABLE) {
		size_t len = strcspn(path, ".");
		_cleanup_free_ char *name = xstrndup(path, len);

		table = toml_member(table, name);
		if (!path[len])
			return table;
		path += len + 1;
	}
	return NULL;
}

static void print_members(const struct toml *value, struct strbuf *out)
{
	sb_add(out, value->type == TOML_TABLE ? "{ " : "[");
	for (const struct toml *m = value->first; m; m = m->next) {
		if (value->type == TOML_TABLE) {
			toml_string(out, m->key);
			sb_add(out, " = ");
		}
		toml_print(m, out);
		sb_add(out, m->next ? ", " : "");
	}
	sb_add(out, value->type == TOML_TABLE ? " }" : "]");
}

/* A whole number that is a float keeps its point, or it reads as an integer. */
static void print_float(double real, struct strbuf *out)
{
	char text[32];

	snprintf(text, sizeof(text), "%.17g", real);
	sb_addf(out, "%s%s", text, text[strspn(text, "-0123456789")] ? "" : ".0");
}

void toml_print(const struct toml *value, struct strbuf *out)
{
	switch (value->type) {
	case TOML_TABLE:
	case TOML_ARRAY:
		print_members(value, out);
		break;
	case TOML_STRING:
		toml_string(out, value->text);
		break;
	case TOML_INTEGER:
		sb_addf(out, "%lld", (long long)value->integer);
		break;
	case TOML_FLOAT:
		print_float(value->real, out);
		break;
	case TOML_BOOL:
		sb_add(out, value->integer ? "true" : "false");
		break;
	case TOML_TIME:
		sb_add(out, value->text);
		break;
	}
}
