// SPDX-License-Identifier: Apache-2.0
/* Reading TOML: values. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/tomlread-in.h"

enum { DEPTH_MAX = 32 };

/* --- strings --- */

static int is_control(char c)
{
	unsigned char u = (unsigned char)c;

	return (u < 0x20 && u != '\t') || u == 0x7f;
}

static void add_utf8(struct strbuf *out, unsigned long c)
{
	if (c < 0x80) {
		sb_addc(out, (char)c);
		return;
	}
	if (c >= 0x10000) {
		sb_addc(out, (char)(0xf0 | c >> 18));
		sb_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
	} else if (c >= 0x800) {
		sb_addc(out, (char)(0xe0 | c >> 12));
	}
	if (c >= 0x800)
		sb_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
	else
		sb_addc(out, (char)(0xc0 | c >> 6));
	sb_addc(out, (char)(0x80 | (c & 0x3f)));
}

static int read_hex_escape(struct toml_reader *r, int digits, struct strbuf *out)
{
	unsigned long c = 0;

	for (int i = 0; i < digits; i++, r->p++) {
		if (!isxdigit((unsigned char)*r->p))
			return toml_fail(r, "not a hexadecimal escape");
		c = c * 16 + (unsigned long)(isdigit((unsigned char)*r->p) ?
						     *r->p - '0' :
						     tolower((unsigned char)*r->p) - 'a' + 10);
	}
	if (!c || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return toml_fail(r, "an escape that is no character");
	add_utf8(out, c);
	return 0;
}

/* Behind a backslash at the end of a line: blanks and line breaks up to the next text. */
static int skip_folded(struct toml_reader *r)
{
	toml_skip_blanks(r);
	if (*r->p != '\n')
		return toml_fail(r, "no escape");
	for (; *r->p == ' ' || *r->p == '\t' || *r->p == '\n'; r->p++)
		r->line += *r->p == '\n';
	return 0;
}

static int read_escape(struct toml_reader *r, int several_lines, struct strbuf *out)
{
	static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
	const char *at = r->p < r->end ? strchr(names, *r->p) : NULL;

	if (at) {
		sb_addc(out, values[at - names]);
		r->p++;
		return 0;
	}
	if (*r->p == 'u' || *r->p == 'U')
		return read_hex_escape(r, *r->p++ == 'u' ? 4 : 8, out);
	if (several_lines && r->p < r->end && strchr(" \t\n", *r->p))
		return skip_folded(r);
	return toml_fail(r, "no escape");
}

/* At the character behind the opening quote. */
static int read_line(struct toml_reader *r, char quote, struct strbuf *out)
{
	for (; *r->p != quote;) {
		if (r->p == r->end || *r->p == '\n' || is_control(*r->p))
			return toml_fail(r, "a string without end");
		if (*r->p == '\\' && quote == '"') {
			r->p++;
			if (read_escape(r, 0, out) < 0)
				return -EBADMSG;
		} else {
			sb_addc(out, *r->p++);
		}
	}
	r->p++;
	return 0;
}

static int is_triple(const char *p, char quote)
{
	return p[0] == quote && p[1] == quote && p[2] == quote;
}

/* At the character behind the three opening quotes. */
static int read_lines(struct toml_reader *r, char quote, struct strbuf *out)
{
	if (*r->p == '\n') {
		r->p++;
		r->line++;
	}
	while (!is_triple(r->p, quote)) {
		if (r->p == r->end || (*r->p != '\n' && is_control(*r->p)))
			return toml_fail(r, "a string without end");
		if (*r->p == '\\' && quote == '"') {
			r->p++;
			if (read_escape(r, 1, out) < 0)
				return -EBADMSG;
			continue;
		}
		r->line += *r->p == '\n';
		sb_addc(out, *r->p++);
	}
	r->p += 3;
	/* Up to two quotes may stand before the closing three. */
	for (int i = 0; i < 2 && *r->p == quote; i++)
		sb_addc(out, *r->p++);
	return 0;
}

int toml_read_string(struct toml_reader *r, char **ret)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	char quote = *r->p++;
	int e = read_line(r, quote, &out);

	if (e == 0)
		*ret = sb_steal(&out);
	return e;
}

static int read_string_value(struct toml_reader *r, struct toml *v)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	char quote = *r->p;
	int e;

	if (!is_triple(r->p, quote))
		return toml_read_string(r, &v->text);
	r->p += 3;
	e = read_lines(r, quote, &out);
	if (e == 0)
		v->text = sb_steal(&out);
	return e;
}

/* --- dates and times --- */

/* `n` digits at p as a number between the limits, or -1. */
static int digits(const char *p, int n, int min, int max)
{
	int v = 0;

	for (int i = 0; i < n; i++) {
		if (!isdigit((unsigned char)p[i]))
			return -1;
		v = v * 10 + p[i] - '0';
	}
	return v < min || v > max ? -1 : v;
}

/* Bytes of "07:32:00.5" at p, 0: there is none. */
static size_t time_length(const char *p)
{
	size_t n = 8;

	if (digits(p, 2, 0, 23) < 0 || p[2] != ':' || digits(p + 3, 2, 0, 59) < 0 ||
	    p[5] != ':' || digits(p + 6, 2, 0, 59) < 0)
		return 0;
	if (p[n] == '.' && isdigit((unsigned char)p[n + 1]))
		for (n++; isdigit((unsigned char)p[n]);)
			n++;
	return n;
}

static size_t offset_length(const char *p)
{
	if (*p == 'Z' || *p == 'z')
		return 1;
	return (*p == '+' || *p == '-') && digits(p + 1, 2, 0, 23) >= 0 && p[3] == ':' &&
			       digits(p + 4, 2, 0, 59) >= 0 ?
		       6 :
		       0;
}

static int days_of(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] +
	       (month == 2 && year % 4 == 0 && (year % 100 || year % 400 == 0));
}

/* Bytes of a date, a time or both at p; 0: there is none. *bad: it is no day. */
static size_t moment_length(const char *p, int *bad)
{
	size_t n = 10, time;
	int year, month, day;

	*bad = 0;
	year = digits(p, 4, 0, 9999);
	if (year < 0 || p[4] != '-')
		return time_length(p);
	month = digits(p + 5, 2, 1, 12);
	if (month < 0 || p[7] != '-')
		return 0;
	day = digits(p + 8, 2, 1, 31);
	if (day < 0)
		return 0;
	*bad = year == 0 || day > days_of(year, month);
	time = p[n] == 'T' || p[n] == 't' || p[n] == ' ' ? time_length(p + n + 1) : 0;
	if (time) {
		n += 1 + time;
		n += offset_length(p + n);
	}
	return n;
}

/* --- numbers --- */

/* Bytes of digits at p, in groups with single underscores between them; 0: none. */
static size_t digits_length(const char *p, const char *set)
{
	size_t n = 0;

	while (p[n] && strchr(set, p[n])) {
		n++;
		if (p[n] == '_' && p[n + 1] && strchr(set, p[n + 1]))
			n++;
	}
	return n;
}

#define DECIMAL "0123456789"

static size_t exponent_length(const char *p)
{
	size_t sign = p[0] == 'e' || p[0] == 'E' ? 1 : 0, n;

	if (!sign)
		return 0;
	sign += p[1] == '+' || p[1] == '-';
	n = digits_length(p + sign, DECIMAL);
	return n ? sign + n : 0;
}

static int take_integer(struct toml_reader *r, struct toml *v, const char *text, int base)
{
	char *end;

	errno = 0;
	v->type = TOML_INTEGER;
	v->integer = strtoll(text, &end, base);
	return errno || *end ? toml_fail(r, "a number that is too large") : 0;
}

/* The text at the reader's place without underscores; the caller's. */
static char *take_plain(struct toml_reader *r, size_t n)
{
	struct strbuf sb = { 0 };

	for (size_t i = 0; i < n; i++)
		if (r->p[i] != '_')
			sb_addc(&sb, r->p[i]);
	r->p += n;
	return sb_steal(&sb);
}

static int read_prefixed(struct toml_reader *r, struct toml *v, int base, const char *set)
{
	size_t n = digits_length(r->p + 2, set);
	_cleanup_free_ char *text = NULL;

	if (!n)
		return toml_fail(r, "not a number");
	r->p += 2;
	text = take_plain(r, n);
	return take_integer(r, v, text, base);
}

static int read_decimal(struct toml_reader *r, struct toml *v)
{
	size_t sign = *r->p == '+' || *r->p == '-', fraction = 0, whole, n;
	_cleanup_free_ char *text = NULL;

	whole = r->p[sign] == '0' ? 1 : digits_length(r->p + sign, DECIMAL);
	if (!whole)
		return toml_fail(r, "no value that TOML knows");
	n = sign + whole;
	if (r->p[n] == '.')
		fraction = digits_length(r->p + n + 1, DECIMAL);
	n += fraction ? 1 + fraction : 0;
	whole = n;
	n += exponent_length(r->p + n);
	if (fraction || n > whole) {
		text = take_plain(r, n);
		v->type = TOML_FLOAT;
		v->real = strtod(text, NULL);
		return 0;
	}
	text = take_plain(r, n);
	return take_integer(r, v, text, 10);
}

static int read_number(struct toml_reader *r, struct toml *v)
{
	size_t sign = *r->p == '+' || *r->p == '-';

	if (strncmp(r->p, "0x", 2) == 0)
		return read_prefixed(r, v, 16, "0123456789abcdefABCDEF");
	if (strncmp(r->p, "0o", 2) == 0)
		return read_prefixed(r, v, 8, "01234567");
	if (strncmp(r->p, "0b", 2) == 0)
		return read_prefixed(r, v, 2, "01");
	if (strncmp(r->p + sign, "inf", 3) != 0 && strncmp(r->p + sign, "nan", 3) != 0)
		return read_decimal(r, v);
	v->type = TOML_FLOAT;
	v->real = r->p[sign] == 'i' ? __builtin_inf() : __builtin_nan("");
	if (*r->p == '-')
		v->real = -v->real;
	r->p += sign + 3;
	return 0;
}

/* --- arrays and inline tables --- */

static int read_array(struct toml_reader *r, struct toml *v)
{
	r->p++;
	for (;;) {
		struct toml *item = NULL;
		int e = toml_skip_lines(r);

		if (e == 0 && *r->p == ']')
			break;
		if (e == 0)
			e = toml_read_value(r, &item);
		if (e < 0)
			return e;
		toml_append(v, item);
		e = toml_skip_lines(r);
		if (e < 0)
			return e;
		if (*r->p == ']')
			break;
		if (*r->p != ',')
			return toml_fail(r, "an array without end");
		r->p++;
	}
	r->p++;
	return 0;
}

/* Puts `value` where the path leads from `at`. It has no tables but those of its own keys. */
static int put(struct toml_reader *r, struct toml *at, const struct toml_path *path,
	       struct toml **value)
{
	const char *last = path->names[path->n - 1];

	for (size_t i = 0; i + 1 < path->n; i++) {
		struct toml *v = toml_member(at, path->names[i]);

		if (!v) {
			v = toml_new(r, TOML_TABLE);
			v->key = xstrdup(path->names[i]);
			toml_append(at, v);
		}
		if (v->type != TOML_TABLE || (v->flags & TOML_FROZEN))
			return toml_fail(r, "a key that already has a value");
		at = v;
	}
	if (toml_member(at, last))
		return toml_fail(r, "a key that already has a value");
	(*value)->key = xstrdup(last);
	if ((*value)->type == TOML_TABLE || (*value)->type == TOML_ARRAY)
		(*value)->flags |= TOML_FROZEN;
	toml_append(at, steal_ptr(*value));
	return 0;
}

static int read_member(struct toml_reader *r, struct toml *table)
{
	_cleanup_(toml_path_free) struct toml_path path = { 0 };
	_cleanup_toml_ struct toml *value = NULL;
	int e = toml_read_path(r, &path);

	if (e == 0)
		e = toml_read_assigned(r, &value);
	return e < 0 ? e : put(r, table, &path, &value);
}

static int read_inline_table(struct toml_reader *r, struct toml *v)
{
	r->p++;
	toml_skip_blanks(r);
	if (*r->p == '}') {
		r->p++;
		return 0;
	}
	for (;;) {
		int e = read_member(r, v);

		if (e < 0)
			return e;
		toml_skip_blanks(r);
		if (*r->p == '}')
			break;
		if (*r->p != ',')
			return toml_fail(r, "an inline table without end");
		r->p++;
		toml_skip_blanks(r);
	}
	r->p++;
	return 0;
}

/* --- any value --- */

static int read_moment(struct toml_reader *r, struct toml *v, size_t n, int bad)
{
	if (bad)
		return toml_fail(r, "a day that no calendar has");
	v->type = TOML_TIME;
	v->text = xstrndup(r->p, n);
	r->p += n;
	return 0;
}

static int read_scalar(struct toml_reader *r, struct toml *v)
{
	int bad;
	size_t n;

	if (strncmp(r->p, "true", 4) == 0 || strncmp(r->p, "false", 5) == 0) {
		v->type = TOML_BOOL;
		v->integer = *r->p == 't';
		r->p += v->integer ? 4 : 5;
		return 0;
	}
	n = moment_length(r->p, &bad);
	return n ? read_moment(r, v, n, bad) : read_number(r, v);
}

int toml_read_value(struct toml_reader *r, struct toml **ret)
{
	_cleanup_toml_ struct toml *v = toml_new(r, TOML_STRING);
	int e;

	if (r->depth == DEPTH_MAX)
		return toml_fail(r, "nested too deep");
	if (r->values > TOML_VALUES_MAX)
		return toml_fail(r, "too many values");
	r->depth++;
	if (*r->p == '"' || *r->p == '\'') {
		e = read_string_value(r, v);
	} else if (*r->p == '[') {
		v->type = TOML_ARRAY;
		e = read_array(r, v);
	} else if (*r->p == '{') {
		v->type = TOML_TABLE;
		e = read_inline_table(r, v);
	} else {
		e = read_scalar(r, v);
	}
	r->depth--;
	if (e == 0)
		*ret = steal_ptr(v);
	return e;
}
