// SPDX-License-Identifier: Apache-2.0
/* One value, every parser of values: what is taken has the form that its readers rely on. */
#include "fuzz.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/parse.h"
#include "base/utf8.h"
#include "host/conf/keys.h"
#include "host/conf/secrets.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static int consists_of(const char *s, const char *more)
{
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr(more, *s))
			return 0;
	return 1;
}

static void numbers(const char *s)
{
	uint64_t v;
	char again[32];

	if (parse_uint(s, 0, UINT64_MAX, &v))
		return;
	snprintf(again, sizeof(again), "%llu", (unsigned long long)v);
	require(strcmp(again, s) == 0);
}

static void addresses(const char *s)
{
	struct hostport hp;
	struct vsock_addr va;
	char again[128];

	if (!parse_hostport(s, &hp)) {
		snprintf(again, sizeof(again), *s == '[' ? "[%s]:%u" : "%s:%u", hp.host, hp.port);
		require(strcmp(again, s) == 0);
		require(!check_ip(hp.host));
	}
	if (!parse_vsock(s, 1, &va))
		require(strncmp(s, "vsock:", 6) == 0 && va.port);
	if (!check_qgs_address(s))
		require(consists_of(s, ":/._-+@"));
}

static void urls(const char *s)
{
	struct url u;

	if (parse_url(s, &u))
		return;
	require(*u.host && u.port);
	require(u.path >= s && u.path <= s + strlen(s));
	require(!*u.path || *u.path == '/' || *u.path == '?');
	require(consists_of(u.host, ".-:"));
	require(!strpbrk(s, " \t#"));
}

static void ranges(const char *s)
{
	struct port_range *list;
	size_t n;

	if (parse_port_ranges(s, &list, &n))
		return;
	require(n > 0);
	for (size_t i = 0; i < n; i++)
		require(list[i].from && list[i].from <= list[i].to &&
			(strcmp(list[i].protocol, "tcp") == 0 ||
			 strcmp(list[i].protocol, "udp") == 0));
	free(list);
}

static void names(const char *s)
{
	if (!check_domain(s))
		require(strlen(s) <= 253 && consists_of(s, ".-") && strchr(s, '.') &&
			*s != '.' && !strstr(s, ".."));
	if (!check_path(s))
		require(*s == '/' && !strstr(s, "/../") && consists_of(s, "/._-+@:"));
	if (!check_name(s))
		require(*s && strlen(s) <= 64 && consists_of(s, "-_"));
	/* It becomes part of a path. */
	if (!check_version(s))
		require(!strchr(s, '/') && !strstr(s, "..") && *s != '.');
	if (!check_image_digest_ref(s))
		require(strlen(s) > 72 && strncmp(s + strlen(s) - 72, "@sha256:", 8) == 0);
	if (!check_eth_address(s))
		require(strlen(s) == 42 && consists_of(s, ""));
}

/* A value that any key takes can stand in a shell's file, a TOML string, a YAML scalar. */
static void settings(const char *s)
{
	for (int id = 0; id < KEY_COUNT; id++) {
		if (key_check((enum key_id)id, s))
			continue;
		for (const char *p = s; *p; p++)
			require(*p >= 0x20 && *p < 0x7f && !strchr("\"'\\$`", *p));
	}
	for (int id = 0; id < SECRET_COUNT; id++)
		if (!secrets[id].check(s))
			for (const char *p = s; *p; p++)
				require(*p > 0x20 && *p < 0x7f && !strchr("\"'\\", *p));
	free(key_hint(s));
}

static void text(const char *s, size_t n)
{
	while (n) {
		size_t step = utf8_sequence(s, n), shown = utf8_printable(s, n);

		require(step <= 4 && step <= n && (!shown || shown == step));
		step += !step;
		s += step;
		n -= step;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = fuzz_text(data, size);

	numbers(s);
	addresses(s);
	urls(s);
	ranges(s);
	names(s);
	settings(s);
	text(s, size);
	return 0;
}
