// SPDX-License-Identifier: Apache-2.0
/* Users and groups of the system below root, from its own files. */
#pragma once

#include <sys/types.h>

#include "base/macro.h"
#include "base/root.h"

/* GIDs below this one are system groups; udev of systemd 258 and later wants no other. */
#define FIRST_USER_GID 1000

struct account {
	uid_t uid;
	gid_t gid; /* of a user: the primary group */
	char *members; /* of a group: " a b ", names between blanks */
};

/* 0, -ENOENT, or -errno: nobody can tell whether it is there. */
int group_lookup(const struct root *root, const char *name, struct account *ret) _must_check_;
int user_lookup(const struct root *root, const char *name, struct account *ret) _must_check_;
/* The group's name, the caller's; NULL unless 0 is returned: as above. */
int group_name(const struct root *root, gid_t gid, char **ret) _must_check_;
/* A system GID that neither group nor user has. 0, -ENOSPC: none is free, or -errno: nobody
 * can tell. */
int group_free_gid(const struct root *root, gid_t *ret) _must_check_;
int account_has_member(const struct account *group, const char *user);
void account_free(struct account *a);

#define _cleanup_account_ _cleanup_(account_free)
