// SPDX-License-Identifier: Apache-2.0
/* Packages as dpkg's own file has them. */
#pragma once

#include <stddef.h>

#include "base/macro.h"
#include "base/root.h"

struct package {
	const char *name, *version; /* not NUL-terminated */
	size_t name_len, version_len;
	int held; /* somebody has put it on hold */
};

/* Calls f for every installed one. 0 or -errno. */
int packages_each(const struct root *root, void (*f)(const struct package *p, void *arg),
		  void *arg) _must_check_;
