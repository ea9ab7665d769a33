// SPDX-License-Identifier: Apache-2.0
/* Python's json.dumps(), the part of it that is strings. */
#include "host/pyjson.h"

#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

const char *pyjson_unfit(const char *s, size_t n)
{
	if (memchr(s, '\0', n))
		return "holds a NUL byte";
	while (n) {
		size_t step = utf8_sequence(s, n);

		if (!step)
			return "is not UTF-8 text";
		s += step;
		n -= step;
	}
	return NULL;
}

static uint32_t code_point(const char *s, size_t len)
{
	static const unsigned char lead[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint32_t c = (unsigned char)s[0] & lead[len];

	for (size_t i = 1; i < len; i++)
		c = c << 6 | ((unsigned char)s[i] & 0x3f);
	return c;
}

static void add_escaped(struct strbuf *out, uint32_t c)
{
	static const char short_of[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (const char *p = short_of; *p; p += 2) {
		if (c != (unsigned char)p[0])
			continue;
		sb_addc(out, '\\');
		sb_addc(out, p[1]);
		return;
	}
	if (c >= 0x10000) {
		sb_addf(out, "\\u%04x", 0xd800 + ((c - 0x10000) >> 10));
		c = 0xdc00 + ((c - 0x10000) & 0x3ff);
	}
	sb_addf(out, "\\u%04x", c);
}

void pyjson_string(struct strbuf *out, const char *s, size_t n, int ascii)
{
	sb_addc(out, '"');
	while (n) {
		size_t step = utf8_sequence(s, n);
		uint32_t c;

		if (!step)
			break;
		c = code_point(s, step);
		if (c < 0x20 || c == '"' || c == '\\' || (ascii && c > 0x7e))
			add_escaped(out, c);
		else
			sb_addn(out, s, step);
		s += step;
		n -= step;
	}
	sb_addc(out, '"');
}
