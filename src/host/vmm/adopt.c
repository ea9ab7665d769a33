// SPDX-License-Identifier: Apache-2.0
/* Adopting the pair in /usr/local/bin: stage, ask the version, rename, link. */
#include "host/vmm/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "base/spawn.h"
#include "host/vmm/vmm-version.h"

#define STAGE PROGRAMS_DIR "/.adopting"

enum { VERSION_MS = 5000 };

static const char *const names[] = { "dstack-vmm", "supervisor" };

/* Opened, a program, and nobody's but root's to change: it will run as root. A descriptor or
 * -errno. */
static int open_program(const struct root *root, const char *name)
{
	_cleanup_free_ char *path = xasprintf(ADOPT_FROM "/%s", name);
	int fd = root_openat(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0), r;
	struct stat st;

	if (fd < 0)
		return fd;
	r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && (!S_ISREG(st.st_mode) || !(st.st_mode & 0111)))
		r = -ENOEXEC;
	if (r == 0 && (st.st_uid != 0 || (st.st_mode & 022)))
		r = -EPERM;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

int adopt_possible(const struct root *root)
{
	_cleanup_close_ int current = root_openat(root, PROGRAMS_CURRENT, O_PATH | O_NOFOLLOW, 0);

	if (current != -ENOENT)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_close_ int fd = open_program(root, names[i]);

		if (fd < 0)
			return 0;
	}
	return 1;
}

static int copy_bytes(int from, int to)
{
	for (;;) {
		ssize_t n = sendfile(to, from, NULL, 1 << 24);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
	}
}

static int copy_program(const struct root *root, int stage, const char *name)
{
	_cleanup_close_ int from = open_program(root, name), to = -1;
	int r;

	if (from < 0)
		return from;
	to = openat(stage, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0700);
	if (to < 0)
		return -errno;
	r = copy_bytes(from, to);
	if (r == 0 && (fchmod(to, 0755) < 0 || fsync(to) < 0))
		r = -errno;
	return r;
}

/* Also what a run that was killed has left. */
static void drop_stage(const struct root *root)
{
	const char *base;
	_cleanup_close_ int parent = root_open_parent(root, STAGE, &base), dir = -1;

	dir = root_openat(root, STAGE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	for (size_t i = 0; dir >= 0 && i < ARRAY_SIZE(names); i++)
		unlinkat(dir, names[i], 0);
	if (parent >= 0)
		unlinkat(parent, base, AT_REMOVEDIR);
}

static int fill_stage(const struct root *root)
{
	_cleanup_close_ int stage = -1;
	int r = root_mkdirs(root, STAGE, 0755);

	if (r < 0)
		return r;
	stage = root_openat(root, STAGE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (stage < 0)
		return stage;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++)
		r = copy_program(root, stage, names[i]);
	return r == 0 && fsync(stage) < 0 ? -errno : r;
}

/* The version in "dstack-vmm v0.5.5 (git:0123abcd)", within the text, which is cut. */
static const char *find_version(char *text)
{
	char *save = NULL;

	for (char *w = strtok_r(text, " \t\r\n", &save); w; w = strtok_r(NULL, " \t\r\n", &save)) {
		unsigned n[3];

		w += *w == 'v';
		if (!check_version(w) && sscanf(w, "%4u.%4u.%4u", &n[0], &n[1], &n[2]) == 3)
			return w;
	}
	return NULL;
}

/* Of the copy: what was asked is what will run. */
static int ask_version(const struct root *root, char **ret, char **trouble)
{
	_cleanup_free_ char *path = xasprintf("%s" STAGE "/%s", root->path, names[0]);
	const char *const argv[] = { path, "--version", NULL };
	const char *version;
	char text[512];
	int r = spawn_stranger(argv, VERSION_MS, text, sizeof(text));

	version = r == 0 ? find_version(text) : NULL;
	if (version) {
		*ret = xstrdup(version);
		return 0;
	}
	*trouble = r < 0 ? xasprintf(ADOPT_FROM "/%s --version: %s", names[0], strerror(-r)) :
			   xasprintf(ADOPT_FROM "/%s --version tells no version (exit %d)", names[0], r);
	return r < 0 ? r : -EINVAL;
}

static int put_in_place(const struct root *root, const char *version, char **trouble)
{
	_cleanup_close_ int dir = root_openat(root, PROGRAMS_DIR, O_RDONLY | O_DIRECTORY, 0);

	if (dir < 0)
		return dir;
	/* Never over a version that is there. */
	if (renameat2(dir, &STAGE[sizeof(PROGRAMS_DIR)], dir, version, RENAME_NOREPLACE) < 0) {
		if (errno == EEXIST)
			*trouble = xasprintf(PROGRAMS_DIR "/%s is there already; to run it: sudo ln "
					     "-sfn %s " PROGRAMS_CURRENT, version, version);
		return -errno;
	}
	return fsync(dir) < 0 ? -errno : 0;
}

int adopt_pair(const struct root *root, char **trouble)
{
	_cleanup_free_ char *version = NULL;
	int r;

	*trouble = NULL;
	drop_stage(root);
	r = fill_stage(root);
	if (r == 0)
		r = ask_version(root, &version, trouble);
	if (r == 0)
		r = put_in_place(root, version, trouble);
	if (r < 0) {
		drop_stage(root);
		return r;
	}
	r = file_symlink(root, version, PROGRAMS_CURRENT);
	return r < 0 ? r : 0;
}
