// SPDX-License-Identifier: Apache-2.0
/*
 * Everything below --root DIR: a path is resolved as if DIR were "/", links included, so a
 * tree of another system or a test's fake root is read and written, never this machine's.
 */
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include "macro.h"

struct root {
	int fd;
	char *path; /* "" for the running system, else DIR without a slash at its end */
};

/* Opens DIR ("/" when NULL). 0 or -errno. */
int root_open(const char *dir, struct root *ret) _must_check_;
void root_close(struct root *root);
/* The running system itself, where units can be asked and users looked up? */
int root_is_host(const struct root *root);
/* openat2(RESOLVE_IN_ROOT): a descriptor or -errno. */
int root_openat(const struct root *root, const char *path, int flags, mode_t mode)
	_must_check_;
/* A directory to be listed, the caller's to close; NULL with errno. */
DIR *root_opendir(const struct root *root, const char *path) _must_check_;
/* Opens the directory above `path`; *base points into `path`. A descriptor or -errno. */
int root_open_parent(const struct root *root, const char *path, const char **base)
	_must_check_;
/* Makes `path` with every directory above it; those that are there stay as they are.
 * Missing ones get `mode`. 0 or -errno. */
int root_mkdirs(const struct root *root, const char *path, mode_t mode) _must_check_;
/* Does it exist (links followed)? */
int root_exists(const struct root *root, const char *path);

static inline void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define _cleanup_closedir_ _cleanup_(closedirp)
#define _cleanup_root_ _cleanup_(root_close)
