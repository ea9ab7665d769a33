// SPDX-License-Identifier: Apache-2.0
/* Reading /var/lib/dpkg/status. */
#include "host/packages.h"

#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"

enum { STATUS_MAX = 256 << 20 };

/* The value of "NAME: " at the beginning of a line, or NULL. */
static const char *field(const char *line, const char *name, size_t *len)
{
	size_t n = strlen(name);

	if (strncmp(line, name, n) != 0)
		return NULL;
	*len = strcspn(line + n, "\n");
	return line + n;
}

static int ends_with(const char *s, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && memcmp(s + len - n, end, n) == 0;
}

/* One paragraph; what follows it. */
static const char *paragraph(const char *p, struct package *ret)
{
	const char *status = "";
	size_t status_len = 0;

	*ret = (struct package){ 0 };
	while (*p && *p != '\n') {
		const char *v;
		size_t n;

		if ((v = field(p, "Package: ", &n))) {
			ret->name = v;
			ret->name_len = n;
		} else if ((v = field(p, "Version: ", &n))) {
			ret->version = v;
			ret->version_len = n;
		} else if ((v = field(p, "Status: ", &n))) {
			status = v;
			status_len = n;
		}
		p += strcspn(p, "\n");
		p += *p == '\n';
	}
	ret->held = strncmp(status, "hold ", 5) == 0;
	if (!ends_with(status, status_len, " installed"))
		ret->name = NULL;
	return p + strspn(p, "\n");
}

int packages_each(const struct root *root, void (*f)(const struct package *p, void *arg),
		  void *arg)
{
	_cleanup_free_ char *text = NULL;
	struct package package;
	int r = file_read(root, "/var/lib/dpkg/status", STATUS_MAX, &text, NULL);

	if (r < 0)
		return r;
	for (const char *p = text + strspn(text, "\n"); *p;) {
		p = paragraph(p, &package);
		if (package.name && package.version)
			f(&package, arg);
	}
	return 0;
}
