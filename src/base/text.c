// SPDX-License-Identifier: Apache-2.0
/* Wrapping. */
#include "text.h"

#include <string.h>

enum { COLUMNS = 80 };

/* Columns of n bytes of UTF-8 without wide characters. */
static size_t width(const char *s, size_t n)
{
	size_t w = 0;

	for (size_t i = 0; i < n; i++)
		w += ((unsigned char)s[i] & 0xc0) != 0x80;
	return w;
}

void text_wrap(struct strbuf *out, const char *text, size_t at)
{
	size_t column = at;

	while (*text) {
		size_t n = strcspn(text, " "), w = width(text, n);

		if (column > at && column + 1 + w > COLUMNS) {
			sb_addf(out, "\n%*s", (int)at, "");
			column = at;
		} else if (column > at) {
			sb_addc(out, ' ');
			column++;
		}
		sb_addn(out, text, n);
		column += w;
		text += n;
		text += strspn(text, " ");
	}
	sb_addc(out, '\n');
}
