// SPDX-License-Identifier: Apache-2.0
/* The file system of a jail. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/macro.h"

struct jail_tree_list {
	const char *root; /* below which they are */
	const char *const *paths;
	const char *device; /* NULL: none */
	uint64_t space;
};

/* 0, or -EINVAL: a tree would lie where the jail has something of its own. */
int jail_root_check(const char *const *paths) _must_check_;
/* In a mount namespace of its own: a root in memory with the trees at their paths, for
 * reading, and the scratch directory, which is `owner`'s; *scratch is open. 0 or -errno. */
int jail_root_make(const struct jail_tree_list *trees, uid_t owner, int *scratch) _must_check_;
