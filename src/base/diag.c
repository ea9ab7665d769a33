// SPDX-License-Identifier: Apache-2.0
/* A list of complaints about input. */
#include "diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc.h"
#include "log.h"
#include "strbuf.h"

void diag_add(struct diag *d, const char *file, unsigned line, const char *key,
	      const char *fmt, ...)
{
	struct diag_item *item;
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	d->items = xrealloc(d->items, (d->n + 1) * sizeof(*d->items));
	item = &d->items[d->n++];
	*item = (struct diag_item){
		.file = file ? xstrdup(file) : NULL,
		.line = line,
		.key = key ? xstrdup(key) : NULL,
		.text = text,
	};
}

char *diag_format(const struct diag_item *item)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	if (item->file)
		sb_addf(&sb, "%s:", item->file);
	if (item->file && item->line)
		sb_addf(&sb, "%u:", item->line);
	if (item->file)
		sb_addc(&sb, ' ');
	if (item->key)
		sb_addf(&sb, "%s: ", item->key);
	sb_add(&sb, item->text);
	return sb_steal(&sb);
}

/* Insertion sort: stable, and lists are short. */
void diag_sort(struct diag *d)
{
	for (size_t i = 1; i < d->n; i++) {
		struct diag_item item = d->items[i];
		size_t j = i;

		for (; j && d->items[j - 1].line > item.line; j--)
			d->items[j] = d->items[j - 1];
		d->items[j] = item;
	}
}

void diag_print(const struct diag *d)
{
	for (size_t i = 0; i < d->n; i++) {
		_cleanup_free_ char *line = diag_format(&d->items[i]);

		log_line("%s", line);
	}
}

void diag_free(struct diag *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->items[i].file);
		free(d->items[i].key);
		free(d->items[i].text);
	}
	free(d->items);
	*d = (struct diag){ 0 };
}
