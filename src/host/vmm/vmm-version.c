// SPDX-License-Identifier: Apache-2.0
/* The VMM's version by its directory's name, and what went in which version. */
#include "host/vmm/vmm-version.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"

/* What a VMM of this version or later takes for an unknown value and does not start with. */
static const struct {
	enum key_id id;
	const char *value;
	unsigned gone[3];
	const char *last, *instead;
} removed[] = {
	{ KEY_VMM_NETWORKING, "passt", { 0, 5, 7 }, "0.5.6", "user" },
};

static int read_link(const struct root *root, char path[PATH_MAX])
{
	_cleanup_close_ int fd = root_openat(root, PROGRAMS_CURRENT, O_PATH | O_NOFOLLOW, 0);
	ssize_t n = fd < 0 ? -1 : readlinkat(fd, "", path, PATH_MAX - 1);

	if (n < 0)
		return -1;
	while (n && path[n - 1] == '/')
		n--;
	path[n] = '\0';
	return 0;
}

void vmm_version(const struct root *root, struct vmm_version *ret)
{
	static const struct vmm_version oldest = { .number = { 0, 5, 5 } };
	char path[PATH_MAX];
	const char *name;
	unsigned n[3];

	*ret = oldest;
	if (read_link(root, path) < 0)
		return;
	name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	if (check_version(name) || sscanf(name, "%4u.%4u.%4u", &n[0], &n[1], &n[2]) != 3)
		return;
	memcpy(ret->number, n, sizeof(n));
	snprintf(ret->text, sizeof(ret->text), "%.32s", name);
}

int vmm_is_at_least(const struct vmm_version *v, unsigned major, unsigned minor,
		    unsigned patch)
{
	const unsigned wanted[3] = { major, minor, patch };

	for (int i = 0; i < 3; i++)
		if (v->number[i] != wanted[i])
			return v->number[i] > wanted[i];
	return 1;
}

void vmm_check_settings(const struct root *root, struct settings *s)
{
	struct vmm_version v;

	vmm_version(root, &v);
	for (size_t i = 0; i < ARRAY_SIZE(removed); i++) {
		enum key_id id = removed[i].id;
		const unsigned *gone = removed[i].gone;

		if (strcmp(setting(s, id), removed[i].value) != 0 ||
		    !vmm_is_at_least(&v, gone[0], gone[1], gone[2]))
			continue;
		diag_add(&s->diag, s->v[id].file, s->v[id].line, keys[id].name,
			 "dstack-vmm %s does not know \"%s\" (%s was the last): take %s", v.text,
			 removed[i].value, removed[i].last, removed[i].instead);
		s->bad |= keys[id].readers;
	}
}
