// SPDX-License-Identifier: Apache-2.0
/*
 * The document as one HTML file: no script, nothing from elsewhere (its own policy forbids
 * both), readable from 360 pixels on, where each row of a table becomes a card.
 */
#include <string.h>

#include "host/report/report-walk.h"
#include "host/report/report.h"

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
	"style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<meta name=\"color-scheme\" content=\"light dark\">\n"
	"<meta name=\"referrer\" content=\"no-referrer\">\n";

static const char style[] =
	"<style>\n"
	":root{--bg:#fff;--fg:#1c2128;--dim:#59636e;--line:#d5dae0;--card:#f6f8fa;--link:#0757ba;"
	"--ok:#116329;--okb:#dafbe1;--warn:#7d4e00;--warnb:#fff3c4;--fail:#a40e26;--failb:#ffe2e0;"
	"--skip:#59636e;--skipb:#eaeef2}\n"
	"@media (prefers-color-scheme:dark){:root{--bg:#0f1419;--fg:#dfe4ea;--dim:#98a3af;"
	"--line:#333c47;--card:#182028;--link:#79b8ff;--ok:#7ee2a0;--okb:#12331f;--warn:#f2cc60;"
	"--warnb:#3a2d0a;--fail:#ff9a92;--failb:#48171a;--skip:#98a3af;--skipb:#242c35}}\n"
	"*{box-sizing:border-box}\n"
	"html{-webkit-text-size-adjust:100%;text-size-adjust:100%}\n"
	"body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif;"
	"overflow-wrap:anywhere}\n"
	"header,main,footer{max-width:72rem;margin:0 auto;padding:0 1rem}\n"
	"h1{font-size:1.6rem;line-height:1.25;margin:1.5rem 0 .5rem}\n"
	"h2{font-size:1.25rem;margin:2.5rem 0 .75rem;padding-top:.75rem;"
	"border-top:1px solid var(--line)}\n"
	"h3{font-size:1rem;margin:1.5rem 0 .5rem}\n"
	"p{margin:.5rem 0}a{color:var(--link)}.dim,footer{color:var(--dim)}\n"
	"nav ol{margin:.75rem 0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.5rem}\n"
	"nav a{display:block;padding:.4rem .7rem;border:1px solid var(--line);border-radius:.4rem;"
	"text-decoration:none}\n"
	".sum{display:flex;flex-wrap:wrap;gap:.5rem;padding:0;list-style:none;margin:.75rem 0}\n"
	".v{display:inline-block;padding:0 .5rem;border-radius:.4rem;font-weight:600;"
	"white-space:nowrap}\n"
	".ok{color:var(--ok);background:var(--okb)}.warn{color:var(--warn);"
	"background:var(--warnb)}.fail{color:var(--fail);background:var(--failb)}"
	".skip{color:var(--skip);background:var(--skipb)}\n"
	".bad{padding:0;list-style:none}.bad li{margin:.5rem 0;padding:.6rem .8rem;"
	"border-left:.3rem solid var(--fail);background:var(--card)}"
	".bad li.w{border-color:var(--warn)}\n"
	"table{width:100%;border-collapse:collapse;font-size:.925rem}\n"
	"th,td{text-align:left;vertical-align:top;padding:.4rem .6rem .4rem 0;"
	"border-bottom:1px solid var(--line);min-width:3rem}\n"
	"thead th{color:var(--dim);font-weight:600;overflow-wrap:normal}\n"
	"tbody th{font-weight:600;min-width:9rem;max-width:22rem;overflow-wrap:break-word}\n"
	"pre,code{font:.875rem/1.45 ui-monospace,monospace}\n"
	"pre{margin:.5rem 0;padding:.75rem;background:var(--card);border:1px solid var(--line);"
	"border-radius:.4rem;white-space:pre-wrap}\n"
	"summary{cursor:pointer;padding:.4rem 0;color:var(--link)}\n"
	"@media (max-width:44rem){table,tbody,tr,th,td{display:block;width:auto;min-width:0;"
	"max-width:none}"
	"thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}"
	"tr{border-bottom:1px solid var(--line);padding:.6rem 0}.facts tr{padding:.3rem 0}"
	"td,tbody th{border:0;padding:.1rem 0}"
	"table:not(.facts) td{display:grid;grid-template-columns:6.5rem minmax(0,1fr);gap:.5rem}"
	"table:not(.facts) td::before{content:attr(data-label);color:var(--dim)}"
	"td.v0{display:none!important}}\n"
	"@media print{nav{display:none}details>pre{display:block}}\n"
	"</style>\n";

/* For text between tags and for attributes in double quotes alike. */
static void escaped(struct strbuf *out, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			sb_add(out, "&lt;");
			break;
		case '>':
			sb_add(out, "&gt;");
			break;
		case '&':
			sb_add(out, "&amp;");
			break;
		case '"':
			sb_add(out, "&quot;");
			break;
		case '\'':
			sb_add(out, "&#39;");
			break;
		default:
			sb_addc(out, *s);
		}
	}
}

static const char *text_of(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "-";
}

static void element(struct strbuf *out, const char *name, const char *s)
{
	sb_addf(out, "<%s>", name);
	escaped(out, s);
	sb_addf(out, "</%s>\n", name);
}

static void add_summary(struct strbuf *out, const json_t *doc)
{
	static const char *const shown[][2] = { { "ok", "ok" }, { "warn", "warned" },
						{ "fail", "failed" }, { "skip", "skipped" } };

	sb_add(out, "<ul class=\"sum\" aria-label=\"Checks\">\n");
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		sb_addf(out, "<li class=\"v %s\">%u %s</li>\n", shown[i][0],
			report_count(doc, shown[i][0]), shown[i][1]);
	sb_add(out, "</ul>\n");
}

/* What a reader is here for. */
static void add_troubles(struct strbuf *out, const json_t *doc, const char *status)
{
	const json_t *list = json_object_get(doc, "checks");
	json_t *item;
	size_t i;

	if (!report_count(doc, status))
		return;
	sb_add(out, "<ul class=\"bad\">\n");
	json_array_foreach((json_t *)(uintptr_t)list, i, item) {
		const char *fix = json_string_value(json_object_get(item, "fix"));

		if (strcmp(text_of(item, "status"), status) != 0)
			continue;
		sb_addf(out, "<li%s><span class=\"v %s\">%s</span> <b>",
			strcmp(status, "warn") == 0 ? " class=\"w\"" : "", status, status);
		escaped(out, text_of(item, "id"));
		sb_add(out, "</b> ");
		escaped(out, text_of(item, "cause"));
		if (fix) {
			sb_add(out, "<br><code>");
			escaped(out, fix);
			sb_add(out, "</code>");
		}
		sb_add(out, "</li>\n");
	}
	sb_add(out, "</ul>\n");
}

static void add_navigation(struct strbuf *out)
{
	sb_add(out, "<nav aria-label=\"Sections\"><ol>\n");
	for (size_t i = 0; i < n_report_chapters; i++)
		sb_addf(out, "<li><a href=\"#%s\">%s</a></li>\n", report_chapters[i].id,
			report_chapters[i].title);
	sb_add(out, "</ol></nav>\n");
}

static void begin(struct strbuf *out, const json_t *doc)
{
	const char *domain = json_string_value(
		json_object_get(json_object_get(doc, "network"), "domain"));

	sb_add(out, head);
	sb_add(out, "<title>dstack host ");
	escaped(out, domain ? domain : "");
	sb_add(out, "</title>\n");
	sb_add(out, style);
	sb_add(out, "</head>\n<body>\n<header>\n<h1>dstack host ");
	escaped(out, domain ? domain : "without a domain");
	sb_add(out, "</h1>\n<p class=\"dim\">Taken ");
	escaped(out, text_of(doc, "taken"));
	sb_add(out, ", dstack ");
	escaped(out, text_of(doc, "dstack_version"));
	sb_add(out, "</p>\n");
	if (json_is_true(json_object_get(doc, "simulated")))
		sb_add(out, "<p><b>Simulated</b>: nothing here protects anything.</p>\n");
	if (!json_is_true(json_object_get(doc, "complete")))
		sb_add(out, "<p>Not made as root: what only root may see is missing.</p>\n");
	add_summary(out, doc);
	add_troubles(out, doc, "fail");
	add_troubles(out, doc, "warn");
	add_navigation(out);
	sb_add(out, "</header>\n<main>\n");
}

static void chapter(struct strbuf *out, unsigned number, const char *id, const char *title)
{
	sb_addf(out, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">%u. %s</h2>\n", id, id,
		number, title);
}

static void heading(struct strbuf *out, const char *title)
{
	element(out, "h3", title);
}

static int is_facts(const char *const *columns, size_t n)
{
	return n == 2 && strcmp(columns[0], "item") == 0;
}

static void table_begin(struct strbuf *out, const char *const *columns, size_t n)
{
	sb_addf(out, "<table%s>\n<thead><tr>", is_facts(columns, n) ? " class=\"facts\"" : "");
	for (size_t i = 0; i < n; i++)
		sb_addf(out, "<th scope=\"col\">%s</th>", columns[i]);
	sb_add(out, "</tr></thead>\n<tbody>\n");
}

static void table_row(struct strbuf *out, const char *const *columns,
		      const struct report_cell *cells, size_t n)
{
	sb_add(out, "<tr><th scope=\"row\">");
	escaped(out, cells[0].text);
	sb_add(out, "</th>");
	for (size_t i = 1; i < n; i++) {
		/* On a phone an empty cell is no line of its own. */
		sb_addf(out, "<td%s data-label=\"%s\">",
			strcmp(cells[i].text, "-") == 0 ? " class=\"v0\"" : "", columns[i]);
		if (cells[i].verdict)
			sb_addf(out, "<span><span class=\"v %s\">%s</span></span>", cells[i].text,
				cells[i].text);
		else {
			sb_add(out, "<span>");
			escaped(out, cells[i].text);
			sb_add(out, "</span>");
		}
		sb_add(out, "</td>");
	}
	sb_add(out, "</tr>\n");
}

static void table_end(struct strbuf *out)
{
	sb_add(out, "</tbody>\n</table>\n");
}

/* A line break right after <pre> belongs to the tag: one is given away for it. */
static void text(struct strbuf *out, const char *title, const char *contents)
{
	sb_add(out, "<details>\n<summary>");
	escaped(out, title);
	sb_add(out, "</summary>\n<pre>\n");
	escaped(out, contents);
	sb_add(out, "</pre>\n</details>\n");
}

static void note(struct strbuf *out, const char *s)
{
	element(out, "p", s);
}

static void chapter_end(struct strbuf *out)
{
	sb_add(out, "</section>\n");
}

static void end(struct strbuf *out, const json_t *doc _unused_)
{
	sb_add(out, "</main>\n<footer><p>Made by dstack-host report. Secrets are named by their "
		    "location only.</p></footer>\n</body>\n</html>\n");
}

void report_html(const json_t *doc, struct strbuf *out)
{
	static const struct report_print print = {
		.begin = begin, .chapter = chapter, .heading = heading,
		.table_begin = table_begin, .table_row = table_row, .table_end = table_end,
		.text = text, .note = note, .chapter_end = chapter_end, .end = end,
	};

	report_walk(doc, &print, out);
}
