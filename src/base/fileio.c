// SPDX-License-Identifier: Apache-2.0
/* Whole-file reads and the atomic, durable replacement of files. */
#include "fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "strbuf.h"

int fd_read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	char chunk[16384];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if ((size_t)n > max - sb.len)
			return -EFBIG;
		sb_addn(&sb, chunk, (size_t)n);
	}
	if (ret_len)
		*ret_len = sb.len;
	*ret = sb_steal(&sb);
	return 0;
}

int file_read(const struct root *root, const char *path, size_t max, char **ret,
	      size_t *ret_len)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	/* O_NONBLOCK: a FIFO that somebody planted must not hold us up. */
	fd = root_openat(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	return fd_read_all(fd, max, ret, ret_len);
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int same_owner(const struct stat *st, const struct file_spec *spec)
{
	return st->st_uid == (spec->uid == (uid_t)-1 ? geteuid() : spec->uid) &&
	       st->st_gid == (spec->gid == (gid_t)-1 ? getegid() : spec->gid);
}

/* Is what lies there already what is wanted? A link or a device never is. */
static int is_current(int dir, const char *base, const struct file_spec *spec)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *data = NULL;
	struct stat st;
	size_t len;

	fd = openat(dir, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if ((size_t)st.st_size != spec->len || (st.st_mode & 07777) != spec->mode ||
	    st.st_nlink != 1 || !same_owner(&st, spec))
		return 0;
	if (fd_read_all(fd, spec->len, &data, &len) < 0 || len != spec->len)
		return 0;
	if (len && memcmp(data, spec->data, len) != 0)
		return 0;
	/* An earlier run may have been killed between its rename and its fsync. */
	return fsync(fd) == 0 && fsync(dir) == 0;
}

static int fill(int fd, const struct file_spec *spec)
{
	int r;

	if (fchown(fd, spec->uid, spec->gid) < 0 || fchmod(fd, spec->mode) < 0)
		return -errno;
	r = write_all(fd, spec->data, spec->len);
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

static char *temporary_name(const char *base)
{
	return xasprintf(".%s.dstack-new", base);
}

int file_replace(const struct root *root, const char *path, const struct file_spec *spec)
{
	_cleanup_close_ int dir = -1, fd = -1;
	_cleanup_free_ char *tmp = NULL;
	const char *base;
	int r;

	dir = root_open_parent(root, path, &base);
	if (dir < 0)
		return dir;
	tmp = temporary_name(base);
	/* Left by a run that was killed; writers of one file are serialised by the caller. */
	if (unlinkat(dir, tmp, 0) < 0 && errno != ENOENT)
		return -errno;
	if (is_current(dir, base, spec))
		return FILE_UNCHANGED;
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = fill(fd, spec);
	if (r == 0 && renameat(dir, tmp, dir, base) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir, tmp, 0);
		return r;
	}
	return fsync(dir) < 0 ? -errno : 0;
}

int file_remove(const struct root *root, const char *path)
{
	_cleanup_close_ int dir = -1;
	int unchanged = 0;
	const char *base;

	dir = root_open_parent(root, path, &base);
	if (dir == -ENOENT)
		return FILE_UNCHANGED;
	if (dir < 0)
		return dir;
	if (unlinkat(dir, base, 0) < 0) {
		if (errno != ENOENT)
			return -errno;
		unchanged = FILE_UNCHANGED;
	}
	/* Also when it was gone already: an earlier run may have been killed before this. */
	return fsync(dir) < 0 ? -errno : unchanged;
}

int file_symlink(const struct root *root, const char *target, const char *path)
{
	_cleanup_close_ int dir = -1;
	_cleanup_free_ char *tmp = NULL;
	char old[PATH_MAX];
	const char *base;
	ssize_t n;

	dir = root_open_parent(root, path, &base);
	if (dir < 0)
		return dir;
	n = readlinkat(dir, base, old, sizeof(old));
	if (n >= 0 && (size_t)n == strlen(target) && memcmp(old, target, (size_t)n) == 0)
		return fsync(dir) < 0 ? -errno : FILE_UNCHANGED;
	tmp = temporary_name(base);
	if (unlinkat(dir, tmp, 0) < 0 && errno != ENOENT)
		return -errno;
	if (symlinkat(target, dir, tmp) < 0)
		return -errno;
	if (renameat(dir, tmp, dir, base) < 0) {
		int r = -errno;

		unlinkat(dir, tmp, 0);
		return r;
	}
	return fsync(dir) < 0 ? -errno : 0;
}
