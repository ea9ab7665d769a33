// SPDX-License-Identifier: Apache-2.0
/* A root in memory, made with detached mounts: nothing on disk is touched. */
#include "host/measure/jail-root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/measure/jail.h"

enum { TREES_MAX = 32 };

/* Every Debian has merged them into /usr; others may not have. */
static const char *const links[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };

/* Directly below / there are links and directories that the jail has itself. */
static int is_reserved(const char *path)
{
	size_t n = strlen(JAIL_SCRATCH);

	return (strncmp(path, JAIL_SCRATCH, n) == 0 && (path[n] == '/' || !path[n])) ||
	       (strrchr(path, '/') == path && strncmp(path, "/lib", 4) == 0);
}

int jail_root_check(const char *const *paths)
{
	for (; *paths; paths++)
		if (is_reserved(*paths))
			return -EINVAL;
	return 0;
}

/* A copy of the mount of `path`, read-only. A descriptor, or -errno. */
static int tree_of(const char *root, const char *path, int is_device)
{
	_cleanup_free_ char *from = xasprintf("%s%s", root, path);
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
					       (is_device ? 0 : MOUNT_ATTR_NODEV) };
	int r, fd = open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (fd < 0)
		return -errno;
	if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

/* Directories above `path` and what is to be mounted on. */
static int make_place(int root, const char *path, int is_directory)
{
	char part[PATH_MAX];
	int fd;

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (mkdirat(root, part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	if (is_directory)
		return mkdirat(root, path, 0755) < 0 && errno != EEXIST ? -errno : 0;
	fd = openat(root, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int attach(int root, int tree, const char *path)
{
	struct stat st;
	int r = fstat(tree, &st) < 0 ? -errno : make_place(root, path, S_ISDIR(st.st_mode));

	if (r < 0)
		return r;
	return move_mount(tree, "", root, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Where the host's lead to; NULL for those that are no links. The caller frees them. */
static void read_links(const char *host, char *targets[ARRAY_SIZE(links)])
{
	char target[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", host, links[i]);
		ssize_t n = readlink(path, target, sizeof(target));

		targets[i] = n > 0 && (size_t)n < sizeof(target) ? xstrndup(target, (size_t)n) :
								   NULL;
	}
}

static int make_links(int root, char *targets[ARRAY_SIZE(links)])
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (r == 0 && targets[i] && symlinkat(targets[i], root, links[i]) < 0)
			r = -errno;
		free(targets[i]);
	}
	return r;
}

/* An empty file system over /tmp, which nobody else sees. Its root, or -errno. */
static int make_root(uint64_t space)
{
	_cleanup_free_ char *options =
		xasprintf("size=%llu,nr_inodes=65536,mode=0755", (unsigned long long)space);

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
		return -errno;
	int fd = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int go_in(int root, uid_t owner, int *scratch)
{
	if (mkdirat(root, &JAIL_SCRATCH[1], 0700) < 0 ||
	    fchownat(root, &JAIL_SCRATCH[1], owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	*scratch = open(JAIL_SCRATCH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *scratch < 0 ? -errno : 0;
}

int jail_root_make(const struct jail_tree_list *trees, uid_t owner, int *scratch)
{
	char *targets[ARRAY_SIZE(links)];
	const char *paths[TREES_MAX];
	int fds[TREES_MAX], root, r = 0;
	size_t n = 0;

	/* All of it before /tmp is covered, where it may be. */
	while (n < TREES_MAX && trees->paths[n]) {
		paths[n] = trees->paths[n];
		fds[n] = tree_of(trees->root, paths[n], 0);
		if (fds[n] < 0 && fds[n] != -ENOENT && fds[n] != -ENOTDIR)
			return fds[n];
		n++;
	}
	if (trees->device && n < TREES_MAX) {
		paths[n] = trees->device;
		fds[n++] = tree_of("", trees->device, 1);
	}
	read_links(trees->root, targets);
	root = make_root(trees->space);
	if (root < 0)
		return root;
	r = make_links(root, targets);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (fds[i] >= 0)
			r = attach(root, fds[i], paths[i] + 1);
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (r == 0)
		r = go_in(root, owner, scratch);
	close(root);
	return r;
}
