// SPDX-License-Identifier: Apache-2.0
/* Strict UTF-8. */
#include "utf8.h"

#include <string.h>

static int is_tail(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/* Lowest and highest second byte after a first byte that starts a longer sequence. */
static int second_is_good(unsigned char first, unsigned char second)
{
	switch (first) {
	case 0xe0:
		return second >= 0xa0 && second <= 0xbf;
	case 0xed:
		return second >= 0x80 && second <= 0x9f;
	case 0xf0:
		return second >= 0x90 && second <= 0xbf;
	case 0xf4:
		return second >= 0x80 && second <= 0x8f;
	default:
		return is_tail(second);
	}
}

size_t utf8_sequence(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t len;

	if (n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n < len || !second_is_good(p[0], p[1]))
		return 0;
	for (size_t i = 2; i < len; i++)
		if (!is_tail(p[i]))
			return 0;
	return len;
}

size_t utf8_printable(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t len = utf8_sequence(s, n);

	if (len == 1 && (p[0] < 0x20 || p[0] == 0x7f))
		return 0;
	return len == 2 && p[0] == 0xc2 && p[1] < 0xa0 ? 0 : len;
}

void utf8_clean(char *text)
{
	size_t left = text ? strlen(text) : 0;

	while (left) {
		size_t n = utf8_printable(text, left);

		if (!n) {
			*text = '?';
			n = 1;
		}
		text += n;
		left -= n;
	}
}
