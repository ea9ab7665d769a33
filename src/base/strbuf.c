// SPDX-License-Identifier: Apache-2.0
/* A growable string. */
#include "strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

static void grow(struct strbuf *sb, size_t n)
{
	size_t size = sb->size ? sb->size : 64;

	if (n > (size_t)-1 / 4 - sb->len)
		out_of_memory();
	while (size < sb->len + n + 1)
		size *= 2;
	if (size != sb->size) {
		sb->data = xrealloc(sb->data, size);
		sb->size = size;
	}
}

void sb_addn(struct strbuf *sb, const void *data, size_t n)
{
	grow(sb, n);
	if (n)
		memcpy(sb->data + sb->len, data, n);
	sb->len += n;
	sb->data[sb->len] = '\0';
}

void sb_add(struct strbuf *sb, const char *s)
{
	sb_addn(sb, s, strlen(s));
}

void sb_addc(struct strbuf *sb, char c)
{
	sb_addn(sb, &c, 1);
}

void sb_addf(struct strbuf *sb, const char *fmt, ...)
{
	_cleanup_free_ char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory();
	sb_addn(sb, s, (size_t)n);
}

char *sb_steal(struct strbuf *sb)
{
	char *p = sb->data ? sb->data : xstrdup("");

	*sb = (struct strbuf){ 0 };
	return p;
}

void sb_free(struct strbuf *sb)
{
	free(sb->data);
	*sb = (struct strbuf){ 0 };
}
