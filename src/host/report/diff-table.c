// SPDX-License-Identifier: Apache-2.0
/* Which differences matter: one table, the first row that fits decides. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"
#include "host/report/diff.h"

/* Words are patterns of fnmatch(3), "**" at the end is any that follow; what no row names
 * matters, but where the reference has a fault. What a row says to matter does so there too. */
static const struct {
	const char *pattern;
	enum diff_class class;
} rules[] = {
	/* Of the moment, or the document's own form. */
	{ "schema", DIFF_IGNORED },
	{ "kind", DIFF_IGNORED },
	{ "note", DIFF_IGNORED },
	{ "taken", DIFF_IGNORED },
	{ "complete", DIFF_IGNORED },
	{ "faults **", DIFF_IGNORED },
	{ "verification **", DIFF_IGNORED }, /* says again what the checks say */
	{ "checklist **", DIFF_IGNORED },
	{ "known_issues **", DIFF_IGNORED },
	{ "checks * ms", DIFF_IGNORED },
	{ "checks * found", DIFF_IGNORED }, /* holds times and sizes; the outcome counts */
	{ "checks * cause", DIFF_IGNORED },
	{ "checks * fix", DIFF_IGNORED },
	{ "checks * expected", DIFF_IGNORED },
	{ "checks * title", DIFF_IGNORED },
	{ "services * notes", DIFF_IGNORED },
	{ "services * state", DIFF_IGNORED }, /* what active and the checks say */
	{ "containers * network", DIFF_IGNORED },
	{ "ports * owner", DIFF_IGNORED },
	{ "ports * speaks", DIFF_IGNORED },
	{ "packages linux-*", DIFF_IGNORED }, /* the kernel that runs is in system */
	/* Where something lies is this program's choice; what is in it counts. */
	{ "configuration * path", DIFF_IGNORED },
	{ "directories * path", DIFF_IGNORED },
	{ "key_provider directory", DIFF_IGNORED },
	{ "key_provider compose file", DIFF_IGNORED },
	{ "key_provider qcnl file", DIFF_IGNORED },
	{ "kms directory", DIFF_IGNORED },
	{ "kms compose file", DIFF_IGNORED },
	{ "kms app_compose file", DIFF_IGNORED },
	{ "kms auth_eth_env path", DIFF_IGNORED },
	{ "services * id", DIFF_IGNORED },
	{ "containers * id", DIFF_IGNORED },
	{ "ports * id", DIFF_IGNORED },
	{ "ports * purpose", DIFF_IGNORED },
	{ "configuration * excerpt", DIFF_IGNORED },
	{ "configuration * secrets", DIFF_IGNORED },
	{ "configuration * present", DIFF_IGNORED },
	{ "configuration * by", DIFF_IGNORED },
	{ "directories * listed", DIFF_IGNORED },
	{ "directories * purpose **", DIFF_IGNORED },
	{ "directories * disk used_percent", DIFF_IGNORED },
	{ "directories /run/dstack entries *", DIFF_IGNORED }, /* sockets come and go */
	{ "directories /var/log/dstack entries *", DIFF_IGNORED },
	{ "system disk used_percent", DIFF_IGNORED },
	{ "devices * mode_expected", DIFF_IGNORED },
	{ "devices * major", DIFF_IGNORED }, /* given out by the kernel */
	{ "devices * minor", DIFF_IGNORED },
	{ "groups * gid", DIFF_IGNORED },
	{ "images * digest_expected", DIFF_IGNORED },
	{ "registry certificate not_after", DIFF_IGNORED }, /* renewed; a check watches it */
	{ "registry run_command", DIFF_IGNORED },
	{ "kms endpoint max_seconds", DIFF_IGNORED },
	{ "kms deploy commands", DIFF_IGNORED },
	{ "kms deploy vector", DIFF_IGNORED },
	{ "kms app_compose vector", DIFF_IGNORED },
	{ "kms compose vector", DIFF_IGNORED },
	{ "kms auth_eth_env text_as_shown", DIFF_IGNORED },
	{ "contracts note", DIFF_IGNORED },
	/* Whatever else is wrong with the reference. */
	{ "services *", DIFF_MATTERS },
	{ "services * active", DIFF_MATTERS },
	{ "services * enabled", DIFF_MATTERS },
	{ "containers * status", DIFF_MATTERS },
	{ "devices *", DIFF_MATTERS },
	{ "groups *", DIFF_MATTERS },
	{ "devices * present", DIFF_MATTERS },
	{ "devices * group", DIFF_MATTERS },
	{ "devices * mode", DIFF_MATTERS },
	{ "groups * members *", DIFF_MATTERS },
	{ "images *", DIFF_MATTERS },
	{ "images * digest", DIFF_MATTERS },
	{ "images * metadata **", DIFF_MATTERS },
	{ "directories */images/* entries *", DIFF_MATTERS },
	{ "kms deploy image", DIFF_MATTERS },
	{ "kms deploy vcpu", DIFF_MATTERS }, /* measured, as are the next */
	{ "kms deploy memory_mb", DIFF_MATTERS },
	{ "kms deploy local_key_provider", DIFF_MATTERS },
	{ "kms deploy secure_time", DIFF_MATTERS },
	{ "kms auth_eth_env values KMS_CONTRACT_ADDR", DIFF_MATTERS },
	/* Another machine. */
	{ "network public_address", DIFF_IDENTITY },
	{ "network domain", DIFF_IDENTITY },
	{ "network names *", DIFF_IDENTITY },
	{ "registry name", DIFF_IDENTITY },
	{ "registry certificate source", DIFF_IDENTITY },
	{ "registry certificate issuer", DIFF_IDENTITY },
	{ "registry catalogue *", DIFF_IDENTITY },
	{ "kms name", DIFF_IDENTITY },
	{ "kms domain", DIFF_IDENTITY },
	{ "kms deploy vm_id", DIFF_IDENTITY },
	{ "kms app_compose compose_hash", DIFF_IDENTITY }, /* the domain is in it */
	{ "kms compose text", DIFF_IDENTITY },
	{ "key_provider compose text", DIFF_IDENTITY },
	{ "configuration * values DOMAIN", DIFF_IDENTITY },
	{ "configuration * values PUBLIC_ADDRESS", DIFF_IDENTITY },
	{ "configuration * values REGISTRY", DIFF_IDENTITY },
	{ "configuration * values KMS_NAME", DIFF_IDENTITY },
	{ "configuration * values GUEST_KMS_URLS", DIFF_IDENTITY },
	{ "configuration * values GATEWAY_BASE_DOMAIN", DIFF_IDENTITY },
	{ "configuration * values gateway base_domain", DIFF_IDENTITY },
	{ "configuration * values cvm kms_urls *", DIFF_IDENTITY },
	{ "configuration * values cvm gateway_urls *", DIFF_IDENTITY },
	{ "configuration * values auth tokens **", DIFF_IDENTITY },
	{ "configuration * values ApiKey", DIFF_IDENTITY },
	{ "configuration /run/dstack/front/haproxy.cfg text", DIFF_IDENTITY }, /* names in it */
	{ "system cpu_model", DIFF_IDENTITY },
	{ "simulated", DIFF_IDENTITY },
	/* Another size. */
	{ "system cpus", DIFF_SIZE },
	{ "system memory", DIFF_SIZE },
	{ "system disk size", DIFF_SIZE },
	{ "directories * disk size", DIFF_SIZE },
	{ "configuration * values cvm max_allocable_vcpu", DIFF_SIZE },
	{ "configuration * values cvm max_allocable_memory_in_mb", DIFF_SIZE },
	{ "configuration * values VMM_MAX_VCPU", DIFF_SIZE },
	{ "configuration * values VMM_MAX_MEMORY_MB", DIFF_SIZE },
};

static int fits(const char *pattern, const char *const *words, size_t n)
{
	char word[64];
	size_t i = 0;

	while (*pattern) {
		size_t len = strcspn(pattern, " ");

		if (len == 2 && strncmp(pattern, "**", 2) == 0)
			return 1;
		if (i == n)
			return 0;
		snprintf(word, sizeof(word), "%.*s", (int)len, pattern);
		if (fnmatch(word, words[i], 0) != 0)
			return 0;
		i++;
		pattern += len;
		pattern += strspn(pattern, " ");
	}
	return i == n;
}

enum diff_class diff_class_of(const char *const *words, size_t n, int *said)
{
	*said = 1;
	/* Faults are the reference's own notes, wherever they stand. */
	if (n && (strcmp(words[n - 1], "faults") == 0 || strcmp(words[n - 1], "key_faults") == 0))
		return DIFF_IGNORED;
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (fits(rules[i].pattern, words, n))
			return rules[i].class;
	*said = 0;
	return DIFF_MATTERS;
}

const char *diff_class_name(enum diff_class class)
{
	static const char *const names[] = { "matters", "fault", "identity", "size", "ignored" };

	return names[class];
}

const char *diff_class_title(enum diff_class class)
{
	static const char *const titles[] = {
		"These matter",
		"Expected: the reference is at fault there",
		"Expected: another machine",
		"Expected: another size",
		"Ignored",
	};

	return titles[class];
}
