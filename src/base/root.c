// SPDX-License-Identifier: Apache-2.0
/* Paths below --root, by openat2(2). */
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc.h"

int root_open(const char *dir, struct root *ret)
{
	int fd = open(dir ? dir : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t n;

	if (fd < 0)
		return -errno;
	ret->fd = fd;
	ret->path = xstrdup(dir ? dir : "");
	for (n = strlen(ret->path); n && ret->path[n - 1] == '/'; n--)
		ret->path[n - 1] = '\0';
	return 0;
}

void root_close(struct root *root)
{
	if (root->fd >= 0)
		close(root->fd);
	root->fd = -1;
	free(root->path);
	root->path = NULL;
}

int root_is_host(const struct root *root)
{
	return root->path[0] == '\0';
}

int root_openat(const struct root *root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC),
		.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, root->fd, path, &how, sizeof(how));

	/* RestrictSUIDSGID= in a unit hides openat2(2); for the running system's own root the
	 * plain call resolves the same. */
	if (fd < 0 && errno == ENOSYS && root_is_host(root))
		fd = open(path, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

int root_open_parent(const struct root *root, const char *path, const char **base)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = NULL;

	*base = slash ? slash + 1 : path;
	dir = slash && slash != path ? xstrndup(path, (size_t)(slash - path)) : xstrdup("/");
	return root_openat(root, dir, O_RDONLY | O_DIRECTORY, 0);
}

static int mkdir_one(const struct root *root, const char *path, mode_t mode)
{
	_cleanup_close_ int parent = -1;
	const char *base;
	mode_t mask;
	int r;

	parent = root_open_parent(root, path, &base);
	if (parent < 0)
		return parent;
	/* The umask, which is for secrets, is not asked: a chmod afterwards could be cut off,
	 * and the next run takes a directory that is there as it is. */
	mask = umask(0);
	r = mkdirat(parent, base, mode) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return r == -EEXIST ? 0 : r;
	return fsync(parent) < 0 ? -errno : 0;
}

int root_mkdirs(const struct root *root, const char *path, mode_t mode)
{
	_cleanup_free_ char *copy = xstrdup(path);

	for (char *p = copy + 1;; p++) {
		char c = *p;
		int r;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		r = root_exists(root, copy) ? 0 : mkdir_one(root, copy, mode);
		if (r < 0)
			return r;
		if (c == '\0')
			return 0;
		*p = c;
	}
}

DIR *root_opendir(const struct root *root, const char *path)
{
	int fd = root_openat(root, path, O_RDONLY | O_DIRECTORY, 0);
	DIR *d;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	d = fdopendir(fd);
	if (!d)
		closep(&fd);
	return d;
}

int root_exists(const struct root *root, const char *path)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH, 0);

	return fd >= 0;
}
