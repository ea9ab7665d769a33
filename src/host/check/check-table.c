// SPDX-License-Identifier: Apache-2.0
/* The groups of checks, in the order in which a host is brought up, and finding rows in them. */
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/check/check.h"

static const struct check_group *const groups[] = {
	&group_platform, &group_settings, &group_devices, &group_attestation, &group_key_provider,
	&group_vmm,	 &group_registry, &group_kms, &group_chain,
	&group_measure, &group_host,
};

size_t checks_count(void)
{
	size_t n = 0;

	for (size_t g = 0; g < ARRAY_SIZE(groups); g++)
		n += groups[g]->n;
	return n;
}

static const struct check *locate(size_t i, const struct check_group **group)
{
	size_t g = 0;

	while (i >= groups[g]->n)
		i -= groups[g++]->n;
	*group = groups[g];
	return &groups[g]->checks[i];
}

const struct check *check_at(size_t i)
{
	const struct check_group *group;

	return locate(i, &group);
}

const char *check_group_of(size_t i)
{
	const struct check_group *group;

	locate(i, &group);
	return group->name;
}

int check_find(const char *id)
{
	for (size_t i = 0; i < checks_count(); i++)
		if (strcmp(check_at(i)->id, id) == 0)
			return (int)i;
	return -1;
}

const struct part *check_part(const struct check *check)
{
	int i = check->eval ? -1 : part_find(check->id);

	return i < 0 ? NULL : &parts[i];
}

const char *check_title(const struct check *check)
{
	const struct part *p = check_part(check);

	return check->title ? check->title : p ? p->title : check->id;
}

const char *check_needs(const struct check *check)
{
	const struct part *p = check_part(check);
	const char *needs = check->needs ? check->needs : p ? p->needs : NULL;

	return needs ? needs : "";
}

size_t checks_select(const char *word, char *wanted)
{
	size_t n = 0;

	for (size_t i = 0; i < checks_count(); i++) {
		if (strcmp(word, check_at(i)->id) != 0 && strcmp(word, check_group_of(i)) != 0)
			continue;
		wanted[i] = 1;
		n++;
	}
	return n;
}

static int add_needed(const char *id, void *arg)
{
	char *wanted = arg;
	int i = check_find(id);

	if (i >= 0 && !wanted[i]) {
		wanted[i] = 1;
		for_each_word(check_needs(check_at((size_t)i)), add_needed, wanted);
	}
	return 0;
}

uint64_t checks_probes(const char *wanted)
{
	size_t n = checks_count();
	_cleanup_free_ char *all = xcalloc(n, 1);
	uint64_t probes = 0;

	for (size_t i = 0; i < n; i++)
		if (wanted[i])
			add_needed(check_at(i)->id, all);
	for (size_t i = 0; i < n; i++) {
		const struct part *p = check_part(check_at(i));

		if (all[i])
			probes |= check_at(i)->probes | (p ? p->probes : 0);
	}
	return probes;
}
