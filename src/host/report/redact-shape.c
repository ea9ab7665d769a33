// SPDX-License-Identifier: Apache-2.0
/*
 * Names that announce a secret ("api_key=", "--token ", "\"password\": \""), headers, credentials
 * in URLs, private keys, JSON web tokens. Where it is not certain, something harmless is hidden
 * rather than something secret shown.
 */
#include "host/report/redact-shape.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/macro.h"

enum { RANDOM_MIN = 16, KEY_HEX = 64 };

#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
#define BASE64 WORD "+/=.~"

enum name {
	NAME_NONE,
	NAME_PASSWORD, /* whatever follows */
	NAME_KEY,      /* what looks like one */
	NAME_HEADER,   /* the rest of the line */
	NAME_QUERY,    /* of a URL's query alone */
};

static int ends_with(const char *word, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && strncasecmp(word + len - n, end, n) == 0;
}

static enum name name_of(const char *word, size_t len)
{
	static const struct {
		const char *end;
		enum name name;
	} ends[] = {
		{ "pubkey", NAME_NONE },       { "public-key", NAME_NONE },
		{ "public_key", NAME_NONE },   { "publickey", NAME_NONE },
		{ "password", NAME_PASSWORD }, { "passwd", NAME_PASSWORD },
		{ "passphrase", NAME_PASSWORD }, { "pwd", NAME_PASSWORD },
		{ "authorization", NAME_HEADER }, { "cookie", NAME_HEADER },
		{ "token", NAME_KEY },	       { "tokens", NAME_KEY },
		{ "key", NAME_KEY },	       { "secret", NAME_KEY },
		{ "credential", NAME_KEY },    { "credentials", NAME_KEY },
		{ "seed", NAME_KEY },	       { "mnemonic", NAME_KEY },
		{ "sig", NAME_QUERY },	       { "signature", NAME_QUERY },
		{ "auth", NAME_QUERY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (ends_with(word, len, ends[i].end))
			return ends[i].name;
	return NAME_NONE;
}

/* Digits and letters, long, and nothing else. */
static int looks_random(const char *s, size_t n)
{
	int digits = 0, letters = 0;

	if (n < RANDOM_MIN || strspn(s, BASE64) < n)
		return 0;
	for (size_t i = 0; i < n; i++) {
		digits |= isdigit((unsigned char)s[i]) != 0;
		letters |= isalpha((unsigned char)s[i]) != 0;
	}
	return digits && letters;
}

static int is_hex_key(const char *s)
{
	size_t prefix = strncasecmp(s, "0x", 2) == 0 ? 2 : 0;

	return strspn(s + prefix, "0123456789abcdefABCDEF") == KEY_HEX &&
	       strspn(s + prefix, WORD) == KEY_HEX;
}

/* A quote as it is, or as JSON has it within a string. */
static size_t quote(const char *s)
{
	return *s == '"' || *s == '\'' ? 1 : *s == '\\' && (s[1] == '"' || s[1] == '\'') ? 2 : 0;
}

static size_t blanks(const char *s)
{
	return strspn(s, " \t");
}

/* Of a header: the scheme is shown, what follows is not. */
static size_t header(const char *value, size_t *skip)
{
	static const char *const schemes[] = { "basic", "bearer", "token", "negotiate" };

	*skip = 0;
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		size_t n = strlen(schemes[i]);

		if (strncasecmp(value, schemes[i], n) != 0 || value[n] != ' ')
			continue;
		*skip = n + blanks(value + n);
		return strcspn(value + *skip, " \t\r\n\"',;&<>)\\");
	}
	return strcspn(value, "\r\n\"'<>\\");
}

/* `at` is the start of a word of `len` bytes. */
static size_t named(const char *start, const char *at, size_t len, size_t *keep)
{
	enum name name = name_of(at, len);
	const char *p = at + len;
	int option = len > 2 && strncmp(at, "--", 2) == 0, quoted, tight;
	size_t n, skip = 0;
	char sep;

	if (name == NAME_NONE ||
	    (name == NAME_QUERY && (at == start || !strchr("?&", at[-1]) || *p != '=')))
		return 0;
	p += quote(p);
	p += blanks(p);
	sep = *p == '=' || *p == ':' ? *p : 0;
	if (!sep && p == at + len)
		return 0;
	tight = p == at + len && sep == '=';
	p += sep != 0;
	p += blanks(p);
	if (*p == '[')
		p += 1 + blanks(p + 1);
	quoted = quote(p) != 0;
	p += quote(p);
	n = name == NAME_HEADER ? header(p, &skip) :
	    quoted		? strcspn(p, "\"'\\\r\n") :
				  strcspn(p, " \t\r\n\"'\\,;&<>)]}");
	p += skip;
	*keep = (size_t)(p - at);
	if (!n || *p == '(')
		return 0;
	if (tight || (option && *p != '-') || (sep && name <= NAME_PASSWORD))
		return *p == '/' && name == NAME_KEY ? 0 : n;
	if (name == NAME_HEADER)
		return sep || quoted || skip ? n : 0;
	return name == NAME_KEY && (is_hex_key(p) ||
				    (sep && *p != '/' && (quoted || looks_random(p, n)))) ? n : 0;
}

/* "Bearer x" anywhere; curl's "-u name:password". */
static size_t by_word(const char *at, size_t len, size_t *keep)
{
	size_t n;

	*keep = len + blanks(at + len);
	if (*keep == len || at[*keep] == '(')
		return 0;
	n = strcspn(at + *keep, " \t\r\n\"',;&<>)\\");
	if (len == 6 && strncasecmp(at, "bearer", len) == 0)
		return strspn(at + *keep, BASE64) >= n ? n : 0;
	return len == 2 && strncmp(at, "-u", len) == 0 && memchr(at + *keep, ':', n) ? n : 0;
}

/* A header, a payload and a signature, each of them JSON in base64. */
static size_t web_token(const char *at, size_t len)
{
	size_t n = len;

	if (len < RANDOM_MIN || strncmp(at, "eyJ", 3) != 0)
		return 0;
	for (unsigned dots = 0; dots < 2; dots++) {
		if (at[n] != '.')
			return 0;
		n++;
		n += strspn(at + n, WORD);
	}
	return n;
}

/* Up to the last '@' before the path. */
static size_t url_credentials(const char *s)
{
	size_t n = strcspn(s, "/?# \t\r\n\"'<>\\");

	while (n && s[n - 1] != '@')
		n--;
	return n && s[0] != '(' ? n - 1 : 0;
}

/* Through the end of a PEM block that is a private key; also where each line of it has
 * something before it. */
static size_t private_key(const char *s)
{
	static const char begin[] = "-----BEGIN ", end[] = "-----END ", what[] = "PRIVATE KEY";
	size_t line = strcspn(s, "\n");
	const char *last;

	if (strncmp(s, begin, strlen(begin)) != 0 || !memmem(s, line, what, strlen(what)))
		return 0;
	last = strstr(s, end);
	last = last ? strstr(last, what) : NULL;
	last = last ? strstr(last, "-----") : NULL;
	return last ? (size_t)(last - s) + strlen("-----") : strlen(s);
}

size_t redact_shape(const char *start, const char *at, size_t *keep)
{
	size_t len, n;

	*keep = 0;
	if (strncmp(at, "://", 3) == 0) {
		*keep = 3;
		return url_credentials(at + 3);
	}
	n = private_key(at);
	if (n || (at > start && strchr(WORD, at[-1])))
		return n;
	len = strspn(at, WORD);
	if (!len)
		return 0;
	n = named(start, at, len, keep);
	if (!n)
		n = by_word(at, len, keep);
	if (!n) {
		*keep = 0;
		n = web_token(at, len);
	}
	return n;
}
