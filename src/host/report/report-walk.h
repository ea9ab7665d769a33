// SPDX-License-Identifier: Apache-2.0
/*
 * The document as people read it: chapters, and in them tables, lists of facts and texts of
 * files. report_walk() decides what is where, a print only how it looks.
 */
#pragma once

#include <jansson.h>

#include "base/strbuf.h"

struct report_cell {
	char *text;  /* never NULL */
	int verdict; /* it is one of ok, warn, fail, skip */
};

struct report_print {
	void (*begin)(struct strbuf *out, const json_t *doc);
	/* id: for links, made of letters and dashes */
	void (*chapter)(struct strbuf *out, unsigned number, const char *id, const char *title);
	void (*heading)(struct strbuf *out, const char *title);
	void (*table_begin)(struct strbuf *out, const char *const *columns, size_t n);
	void (*table_row)(struct strbuf *out, const char *const *columns,
			  const struct report_cell *cells, size_t n);
	void (*table_end)(struct strbuf *out);
	/* A whole file, or a note. */
	void (*text)(struct strbuf *out, const char *title, const char *text);
	void (*note)(struct strbuf *out, const char *text);
	void (*chapter_end)(struct strbuf *out);
	void (*end)(struct strbuf *out, const json_t *doc);
};

struct report_chapter {
	const char *id, *title;
	const char *keys; /* of the document, by blanks */
};

extern const struct report_chapter report_chapters[];
extern const size_t n_report_chapters;

void report_walk(const json_t *doc, const struct report_print *print, struct strbuf *out);
/* How many verdicts of this status the document has. */
unsigned report_count(const json_t *doc, const char *status);
