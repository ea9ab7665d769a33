// SPDX-License-Identifier: Apache-2.0
/* Reading whole files, and the only writer of files in the program. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "macro.h"
#include "root.h"

/* Outcome of file_replace() and file_remove(): nothing had to be done. */
enum { FILE_UNCHANGED = 1 };

struct file_spec {
	const char *data;
	size_t len;
	mode_t mode;
	uid_t uid; /* (uid_t)-1: the caller's */
	gid_t gid; /* (gid_t)-1: the caller's */
};

/* Reads at most `max` bytes; *ret is NUL-terminated and the caller's. Regular files only.
 * 0, -EFBIG when there is more, or -errno. */
int file_read(const struct root *root, const char *path, size_t max, char **ret,
	      size_t *ret_len) _must_check_;
/* The same from a descriptor, until its end. */
int fd_read_all(int fd, size_t max, char **ret, size_t *ret_len) _must_check_;

/*
 * Puts a file in place: temporary beside it, contents, mode and owner, fsync, rename, fsync
 * of the directory. Whoever reads sees the old file or the new one, and when this returns
 * the new one survives a power cut. Equal contents, mode and owner: FILE_UNCHANGED, inode
 * and times stay. Two writers of one file must not meet: the verbs hold the host's lock, which
 * only root can open (one on the directory could be kept by its readers for ever). A link at `path` is replaced, never followed. 0, 1 or -errno; after an
 * error the file is the old one or the new one, but perhaps not durable.
 */
int file_replace(const struct root *root, const char *path, const struct file_spec *spec)
	_must_check_;
/* Removes it durably: 0, FILE_UNCHANGED when it was not there, or -errno. */
int file_remove(const struct root *root, const char *path) _must_check_;
/* Makes `path` a link to `target` in one step: 0, FILE_UNCHANGED or -errno. */
int file_symlink(const struct root *root, const char *target, const char *path)
	_must_check_;
