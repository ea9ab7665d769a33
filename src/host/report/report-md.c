// SPDX-License-Identifier: Apache-2.0
/* The document as Markdown (tables as GitHub has them). Nothing of a value is taken for markup. */
#include <ctype.h>
#include <string.h>

#include "host/report/report-walk.h"
#include "host/report/report.h"

static int is_word(char c)
{
	return isalnum((unsigned char)c) || (c & 0x80);
}

/* What could begin markup within a line; a line break would end a row. An underscore between
 * letters begins none, and settings are full of them. */
static void escaped(struct strbuf *out, const char *s)
{
	for (char before = ' '; *s; before = *s++) {
		if (*s == '<')
			sb_add(out, "&lt;");
		else if (*s == '>')
			sb_add(out, "&gt;");
		else if (*s == '&')
			sb_add(out, "&amp;");
		else if (strchr("\\`*[]|~", *s) ||
			 (*s == '_' && !(is_word(before) && is_word(s[1]))))
			sb_addf(out, "\\%c", *s);
		else
			sb_addc(out, strchr("\n\r\t", *s) ? ' ' : *s);
	}
}

static const char *text_of(const json_t *doc, const char *key)
{
	const char *s = json_string_value(json_object_get(doc, key));

	return s ? s : "-";
}

static void begin(struct strbuf *out, const json_t *doc)
{
	const char *domain = json_string_value(
		json_object_get(json_object_get(doc, "network"), "domain"));

	sb_add(out, "# dstack host ");
	escaped(out, domain ? domain : "without a domain");
	sb_add(out, "\n\nTaken ");
	escaped(out, text_of(doc, "taken"));
	sb_add(out, ", dstack ");
	escaped(out, text_of(doc, "dstack_version"));
	sb_addf(out, ". Checks: %u ok, %u warned, %u failed, %u skipped.\n",
		report_count(doc, "ok"), report_count(doc, "warn"), report_count(doc, "fail"),
		report_count(doc, "skip"));
	if (json_is_true(json_object_get(doc, "simulated")))
		sb_add(out, "\n**Simulated**: nothing here protects anything.\n");
	if (!json_is_true(json_object_get(doc, "complete")))
		sb_add(out, "\nNot made as root: what only root may see is missing.\n");
}

static void chapter(struct strbuf *out, unsigned number, const char *id _unused_,
		    const char *title)
{
	sb_addf(out, "\n## %u. %s\n", number, title);
}

static void heading(struct strbuf *out, const char *title)
{
	sb_add(out, "\n### ");
	escaped(out, title);
	sb_addc(out, '\n');
}

static void table_begin(struct strbuf *out, const char *const *columns, size_t n)
{
	sb_add(out, "\n|");
	for (size_t i = 0; i < n; i++)
		sb_addf(out, " %s |", columns[i]);
	sb_add(out, "\n|");
	for (size_t i = 0; i < n; i++)
		sb_add(out, "---|");
	sb_addc(out, '\n');
}

static void table_row(struct strbuf *out, const char *const *columns _unused_,
		      const struct report_cell *cells, size_t n)
{
	sb_addc(out, '|');
	for (size_t i = 0; i < n; i++) {
		sb_addc(out, ' ');
		escaped(out, cells[i].text);
		sb_add(out, " |");
	}
	sb_addc(out, '\n');
}

static void table_end(struct strbuf *out _unused_)
{
}

/* Longer than any run of backticks in it. */
static size_t fence_of(const char *text)
{
	size_t longest = 2;

	for (const char *p = text; *p; p++) {
		size_t n = strspn(p, "`");

		if (n > longest)
			longest = n;
		p += n ? n - 1 : 0;
	}
	return longest + 1;
}

static void text(struct strbuf *out, const char *title, const char *contents)
{
	size_t n = fence_of(contents), len = strlen(contents);

	sb_addc(out, '\n');
	escaped(out, title);
	sb_add(out, ":\n\n");
	for (size_t i = 0; i < n; i++)
		sb_addc(out, '`');
	sb_addf(out, "\n%s%s", contents, len && contents[len - 1] == '\n' ? "" : "\n");
	for (size_t i = 0; i < n; i++)
		sb_addc(out, '`');
	sb_addc(out, '\n');
}

static void note(struct strbuf *out, const char *s)
{
	sb_addc(out, '\n');
	escaped(out, s);
	sb_addc(out, '\n');
}

static void chapter_end(struct strbuf *out _unused_)
{
}

static void end(struct strbuf *out, const json_t *doc _unused_)
{
	sb_add(out, "\nMade by dstack-host report. Secrets are named by their location only.\n");
}

void report_md(const json_t *doc, struct strbuf *out)
{
	static const struct report_print print = {
		.begin = begin, .chapter = chapter, .heading = heading,
		.table_begin = table_begin, .table_row = table_row, .table_end = table_end,
		.text = text, .note = note, .chapter_end = chapter_end, .end = end,
	};

	report_walk(doc, &print, out);
}
