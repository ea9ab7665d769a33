// SPDX-License-Identifier: Apache-2.0
/* Names, paths and identifiers: is the value well-formed? */
#include <ctype.h>
#include <string.h>

#include "keccak.h"
#include "parse.h"

static int all_of(const char *s, size_t n, const char *more)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr(more, s[i]))
			return 0;
	return 1;
}

static int all_hex(const char *s)
{
	for (; *s; s++)
		if (!isxdigit((unsigned char)*s))
			return 0;
	return 1;
}

/* RFC 1123 labels; underscores are refused because certificates cannot carry them. */
static int label_ok(const char *s, size_t n)
{
	return n >= 1 && n <= 63 && s[0] != '-' && s[n - 1] != '-' && all_of(s, n, "-");
}

const char *check_domain(const char *s)
{
	size_t labels = 0, len = strlen(s);

	if (len > 253)
		return "domain name longer than 253 characters";
	for (const char *p = s;;) {
		size_t n = strcspn(p, ".");

		if (!label_ok(p, n))
			return "not a domain name (like example.org)";
		labels++;
		if (!p[n]) {
			if (isdigit((unsigned char)p[n - 1]) && all_of(p, n, "") &&
			    strspn(p, "0123456789") == n)
				return "not a domain name (it ends in a number)";
			break;
		}
		p += n + 1;
	}
	return labels < 2 ? "not a full domain name (like example.org)" : NULL;
}

const char *check_path(const char *s)
{
	static const char bad[] = "not an absolute path without \"..\"";

	if (s[0] != '/' || strstr(s, "//") || strstr(s, "/../") || !s[1])
		return bad;
	if (!all_of(s, strlen(s), "/._-+@:"))
		return "path has characters other than letters, digits and /._-+@:";
	return strlen(s) >= 3 && strcmp(s + strlen(s) - 3, "/..") == 0 ? bad : NULL;
}

/* EIP-55: a letter is upper case where the hash of the lower-case digits says so. One case
 * throughout is an address without a checksum. */
static int checksum_is_wrong(const char digits[40])
{
	unsigned char hash[KECCAK256_LEN];
	int upper = 0, lower = 0, wrong = 0;
	char text[40];

	for (int i = 0; i < 40; i++)
		text[i] = (char)tolower((unsigned char)digits[i]);
	keccak256(text, sizeof(text), hash);
	for (int i = 0; i < 40; i++) {
		int is_upper = isupper((unsigned char)digits[i]) != 0;

		if (isdigit((unsigned char)digits[i]))
			continue;
		upper |= is_upper;
		lower |= !is_upper;
		wrong |= is_upper != (hash[i / 2] >> (i % 2 ? 3 : 7) & 1);
	}
	return upper && lower && wrong;
}

const char *check_eth_address(const char *s)
{
	if (strncmp(s, "0x", 2) != 0 || strlen(s) != 42 || !all_hex(s + 2))
		return "not an Ethereum address (0x and 40 hexadecimal digits)";
	if (strspn(s + 2, "0") == 40)
		return "the zero address is nobody's contract";
	if (checksum_is_wrong(s + 2))
		return "checksum of the address is wrong: a digit may be mistyped";
	return NULL;
}

const char *check_version(const char *s)
{
	if (!isdigit((unsigned char)s[0]) || strlen(s) > 32 || strstr(s, "..") ||
	    !all_of(s, strlen(s), ".-+~"))
		return "not a version (like 0.5.5)";
	return NULL;
}

const char *check_name(const char *s)
{
	if (!*s || strlen(s) > 64 || !all_of(s, strlen(s), "-_"))
		return "not a name (letters, digits, - and _, at most 64)";
	return NULL;
}

const char *check_image_ref(const char *s)
{
	if (!isalnum((unsigned char)s[0]) || strlen(s) > 512 ||
	    !all_of(s, strlen(s), "._-/:@"))
		return "not a container image name";
	return NULL;
}

const char *check_image_digest_ref(const char *s)
{
	const char *at = strstr(s, "@sha256:");

	if (check_image_ref(s))
		return check_image_ref(s);
	if (!at || strlen(at + 8) != 64 || !all_hex(at + 8))
		return "not an image by digest (NAME@sha256:64 hexadecimal digits); a tag "
		       "could later name other contents, and the sealed disk with it";
	return NULL;
}

const char *check_host_list(const char *s)
{
	return all_of(s, strlen(s), ".-_,:/*[] ") ? NULL : "not a list of host names";
}
