// SPDX-License-Identifier: Apache-2.0
/* What of the document stands where. */
#include "host/report/report-walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"

enum { COLUMNS_MAX = 12, NESTED_MAX = 6 };

const struct report_chapter report_chapters[] = {
	{ "system", "System", "system" },
	{ "services", "Services, containers and ports", "services containers ports" },
	{ "devices", "Devices and groups", "devices groups" },
	{ "configuration", "Configuration files", "configuration" },
	{ "directories", "Directories", "directories" },
	{ "images", "Guest images", "images" },
	{ "key-provider", "Key provider", "key_provider" },
	{ "registry", "Registry", "registry" },
	{ "kms", "KMS", "kms" },
	{ "packages", "Packages", "packages" },
	{ "known-issues", "Known issues", "known_issues" },
	{ "verification", "Verification", "verification" },
	{ "contracts", "Contracts", "contracts" },
	{ "secrets", "Secrets, locations only", "secrets_locations" },
	{ "network", "Network", "network" },
	{ "checklist", "Checklist", "checklist" },
	{ "checks", "Checks", "checks" },
};
const size_t n_report_chapters = ARRAY_SIZE(report_chapters);

/* Columns of the tables, which are lists of objects; a key that is not here is left out. */
static const struct {
	const char *key;
	const char *columns[COLUMNS_MAX];
} tables[] = {
	{ "services", { "unit", "state", "enabled", "active", "address", "notes" } },
	{ "containers", { "name", "status", "image", "ports", "network" } },
	{ "ports", { "from", "address", "protocol", "process", "speaks", "purpose", "answers" } },
	{ "devices", { "path", "present", "group", "mode", "major", "minor" } },
	{ "groups", { "name", "gid", "members" } },
	{ "directories", { "path", "present", "mode", "disk", "entries" } },
	{ "images", { "name", "version", "digest", "bytes", "metadata" } },
	{ "packages", { "name", "version", "held" } },
	{ "known_issues", { "id", "title", "result", "see" } },
	{ "verification", { "id", "title", "result", "see", "command" } },
	{ "secrets_locations", { "secret", "location", "present", "mode" } },
	{ "checklist", { "id", "text", "result", "see" } },
	{ "checks", { "id", "status", "title", "found", "cause", "fix" } },
};

static const char *const *columns_of(const char *key, size_t *n)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		if (strcmp(tables[i].key, key) != 0)
			continue;
		for (*n = 0; *n < COLUMNS_MAX && tables[i].columns[*n];)
			(*n)++;
		return tables[i].columns;
	}
	return NULL;
}

/* One value in one cell. */
static void add_value(struct strbuf *sb, const json_t *v, unsigned depth)
{
	const char *key, *between = "";
	json_t *item;
	size_t i;

	if (depth > NESTED_MAX)
		return;
	if (json_is_string(v))
		sb_add(sb, json_string_value(v));
	else if (json_is_integer(v))
		sb_addf(sb, "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		sb_addf(sb, "%g", json_real_value(v));
	else if (json_is_boolean(v))
		sb_add(sb, json_is_true(v) ? "yes" : "no");
	json_array_foreach((json_t *)(uintptr_t)v, i, item) {
		sb_add(sb, between);
		add_value(sb, item, depth + 1);
		between = ", ";
	}
	json_object_foreach((json_t *)(uintptr_t)v, key, item) {
		sb_addf(sb, "%s%s ", between, key);
		add_value(sb, item, depth + 1);
		between = ", ";
	}
}

static struct report_cell cell_of(const char *column, const json_t *v)
{
	static const char *const verdicts[] = { "ok", "warn", "fail", "skip" };
	struct strbuf sb = { 0 };
	struct report_cell cell = { 0 };

	add_value(&sb, v, 0);
	cell.text = sb.len ? sb_steal(&sb) : (sb_free(&sb), xstrdup("-"));
	if (strcmp(column, "status") == 0 || strcmp(column, "result") == 0)
		for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++)
			cell.verdict |= strcmp(cell.text, verdicts[i]) == 0;
	return cell;
}

static void put_row(const struct report_print *p, struct strbuf *out,
		    const char *const *columns, struct report_cell *cells, size_t n)
{
	p->table_row(out, columns, cells, n);
	for (size_t i = 0; i < n; i++)
		free(cells[i].text);
}

static void put_table(const json_t *list, const char *key, const struct report_print *p,
		      struct strbuf *out)
{
	size_t n, i;
	const char *const *columns = columns_of(key, &n);
	json_t *row;

	if (!columns)
		return;
	if (!json_array_size(list)) {
		p->note(out, "None.");
		return;
	}
	p->table_begin(out, columns, n);
	json_array_foreach((json_t *)(uintptr_t)list, i, row) {
		struct report_cell cells[COLUMNS_MAX];

		for (size_t c = 0; c < n; c++)
			cells[c] = cell_of(columns[c], json_object_get(row, columns[c]));
		put_row(p, out, columns, cells, n);
	}
	p->table_end(out);
}

/* A file's text has a place of its own. */
static int is_text(const char *key, const json_t *v)
{
	return strcmp(key, "text") == 0 || (json_is_string(v) && strchr(json_string_value(v), '\n'));
}

static const char *const facts_columns[] = { "item", "value" };

static void put_facts(const json_t *obj, const char *prefix, const struct report_print *p,
		      struct strbuf *out, unsigned depth)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)obj, key, v) {
		/* What a file sets needs no word that says so. */
		_cleanup_free_ char *path = strcmp(key, "values") == 0 ?
			xstrdup(prefix) : xasprintf("%s%s%s", prefix, *prefix ? "." : "", key);
		struct report_cell cells[2];

		if (is_text(key, v))
			continue;
		if (json_is_object(v) && json_object_size(v) && depth < NESTED_MAX) {
			put_facts(v, path, p, out, depth + 1);
			continue;
		}
		cells[0] = (struct report_cell){ .text = steal_ptr(path) };
		cells[1] = cell_of("", v);
		put_row(p, out, facts_columns, cells, 2);
	}
}

static void put_texts(const json_t *obj, const char *title, const struct report_print *p,
		      struct strbuf *out, unsigned depth)
{
	const char *file = json_string_value(json_object_get(obj, "file"));
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)obj, key, v) {
		if (json_is_object(v) && depth < NESTED_MAX)
			put_texts(v, key, p, out, depth + 1);
		else if (is_text(key, v) && json_is_string(v))
			p->text(out, file ? file : title, json_string_value(v));
	}
}

static void put_object(const json_t *obj, const char *title, const struct report_print *p,
		       struct strbuf *out)
{
	p->table_begin(out, facts_columns, ARRAY_SIZE(facts_columns));
	put_facts(obj, "", p, out, 0);
	p->table_end(out);
	put_texts(obj, title, p, out, 0);
}

/* Files, each with what is known of it and its text. */
static void put_files(const json_t *list, const struct report_print *p, struct strbuf *out)
{
	json_t *file;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, file) {
		const char *path = json_string_value(json_object_get(file, "path"));
		json_t *rest = json_copy(file);

		json_object_del(rest, "path");
		p->heading(out, path ? path : "?");
		put_object(rest, "contents", p, out);
		json_decref(rest);
	}
}

struct place {
	const json_t *doc;
	const struct report_print *print;
	struct strbuf *out;
	int several;
};

static int put_key(const char *key, void *arg)
{
	struct place *at = arg;
	const json_t *v = json_object_get(at->doc, key);

	if (at->several)
		at->print->heading(at->out, key);
	if (strcmp(key, "configuration") == 0)
		put_files(v, at->print, at->out);
	else if (json_is_array(v))
		put_table(v, key, at->print, at->out);
	else if (json_is_object(v))
		put_object(v, "contents", at->print, at->out);
	return 0;
}

void report_walk(const json_t *doc, const struct report_print *print, struct strbuf *out)
{
	print->begin(out, doc);
	for (size_t i = 0; i < n_report_chapters; i++) {
		const struct report_chapter *c = &report_chapters[i];
		struct place at = { doc, print, out, strchr(c->keys, ' ') != NULL };

		print->chapter(out, (unsigned)i + 1, c->id, c->title);
		for_each_word(c->keys, put_key, &at);
		print->chapter_end(out);
	}
	print->end(out, doc);
}

unsigned report_count(const json_t *doc, const char *status)
{
	const json_t *list = json_object_get(doc, "checks");
	unsigned n = 0;
	json_t *item;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, item) {
		const char *s = json_string_value(json_object_get(item, "status"));

		n += s && strcmp(s, status) == 0;
	}
	return n;
}
