// SPDX-License-Identifier: Apache-2.0
/* A .deb is an ar archive with a tar archive in it. */
#include "host/measure/deb.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/lib/lib-archive.h"

enum { BLOCK = 64 << 10, ENTRIES_MAX = 20000, PATH_LEN_MAX = 1024 };
#define UNPACKED_MAX (UINT64_C(512) << 20)

struct unpacking {
	int dir, err;
	struct archive *outer;
	uint64_t size;
	char block[BLOCK];
};

/* Neither run nor read by anybody here. */
static const char *const skipped[] = { "usr/share/doc/", "usr/share/man/", "usr/share/locale/",
				       "usr/share/lintian/", "usr/share/bug/", "etc/", "var/" };

int deb_load(void)
{
	return libarchive_load();
}

_printf_(2, 3) static int refuse(const struct unpacking *u, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	dprintf(u->err, "the package %s", text);
	return -EBADMSG;
}

static la_ssize_t read_outer(struct archive *a _unused_, void *arg, const void **ret)
{
	struct unpacking *u = arg;

	*ret = u->block;
	return sym_archive_read_data(u->outer, u->block, sizeof(u->block));
}

/* The name below the directory, NULL when it leads out. */
static const char *inside(const char *path)
{
	const char *start;

	if (!path || strlen(path) > PATH_LEN_MAX)
		return NULL;
	while (strncmp(path, "./", 2) == 0)
		path += 2;
	if (*path == '/')
		return NULL;
	start = path;
	for (const char *at = path; *at; at += strcspn(at, "/"), at += *at == '/')
		if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || !at[2]))
			return NULL;
	return strcmp(start, ".") == 0 ? "" : start;
}

/* Does a link at `path` stay below the directory? */
static int link_inside(const char *path, const char *target)
{
	int depth = 0;

	for (const char *at = path; (at = strchr(at, '/')); at++)
		depth++;
	if (*target == '/')
		return 0;
	for (const char *at = target; *at; at += strcspn(at, "/"), at += *at == '/') {
		if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || !at[2]))
			depth--;
		else if (*at != '/' && strncmp(at, "./", 2) != 0)
			depth++;
		if (depth < 0)
			return 0;
	}
	return 1;
}

/* The directory that `path` is in, through no link; *base is its last part. */
static int open_parent(const struct unpacking *u, const char *path, const char **base)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = xstrndup(path, slash ? (size_t)(slash - path) : 0);
	long fd;

	*base = slash ? slash + 1 : path;
	fd = syscall(SYS_openat2, u->dir, slash ? parent : ".", &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

static int write_file(struct unpacking *u, struct archive *a, int at, const char *base,
		      mode_t mode)
{
	_cleanup_close_ int fd = openat(at, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
					O_CLOEXEC, mode & 0111 ? 0755 : 0644);
	_cleanup_free_ char *block = xmalloc(BLOCK);
	la_ssize_t n;

	if (fd < 0)
		return refuse(u, "has %s twice, or cannot be unpacked: %s", base,
			      strerror(errno));
	while ((n = sym_archive_read_data(a, block, BLOCK)) > 0) {
		u->size += (uint64_t)n;
		if (u->size > UNPACKED_MAX)
			return refuse(u, "unpacks to more than %llu MiB",
				      (unsigned long long)(UNPACKED_MAX >> 20));
		for (la_ssize_t done = 0, w; done < n; done += w) {
			w = write(fd, block + done, (size_t)(n - done));
			if (w <= 0)
				return refuse(u, "cannot be unpacked: %s", strerror(errno));
		}
	}
	return n < 0 ? refuse(u, "is damaged: %.100s", sym_archive_error_string(a)) : 0;
}

static int make_entry(struct unpacking *u, struct archive *a, struct archive_entry *e,
		      const char *path)
{
	const char *hard = sym_archive_entry_hardlink(e), *soft = sym_archive_entry_symlink(e);
	const char *base, *from = hard ? inside(hard) : NULL;
	unsigned type = sym_archive_entry_filetype(e);
	_cleanup_close_ int at = open_parent(u, path, &base);
	int r = 0;

	if (at < 0)
		return refuse(u, "has %s in no directory of its own", path);
	if (hard) {
		if (!from)
			return refuse(u, "has a link that leads out: %s", path);
		r = linkat(u->dir, from, at, base, 0) < 0 ? -errno : 0;
	} else if (type == AE_IFDIR) {
		r = mkdirat(at, base, 0755) < 0 && errno != EEXIST ? -errno : 0;
	} else if (type == AE_IFLNK) {
		if (!soft || !link_inside(path, soft))
			return refuse(u, "has a link that leads out: %s", path);
		r = symlinkat(soft, at, base) < 0 ? -errno : 0;
	} else if (type == AE_IFREG) {
		return write_file(u, a, at, base, sym_archive_entry_perm(e));
	} else {
		return refuse(u, "has a device or the like: %s", path);
	}
	return r < 0 ? refuse(u, "cannot be unpacked: %s: %s", path, strerror(-r)) : 0;
}

static int is_skipped(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(skipped); i++)
		if (strncmp(path, skipped[i], strlen(skipped[i])) == 0)
			return 1;
	return 0;
}

/* Every name is judged, also of what is not unpacked. */
static int unpack_all(struct unpacking *u, struct archive *a)
{
	struct archive_entry *e;
	size_t n = 0;
	int r;

	while ((r = sym_archive_read_next_header(a, &e)) == ARCHIVE_OK || r == ARCHIVE_WARN) {
		const char *path = inside(sym_archive_entry_pathname(e));

		if (!path)
			return refuse(u, "has a file that leads out of it");
		if (++n > ENTRIES_MAX)
			return refuse(u, "has more than %d files", ENTRIES_MAX);
		if (!*path || is_skipped(path))
			continue;
		_cleanup_free_ char *name = xstrdup(path);

		for (size_t len = strlen(name); len && name[len - 1] == '/'; len--)
			name[len - 1] = '\0';
		r = make_entry(u, a, e, name);
		if (r < 0)
			return r;
	}
	if (r != ARCHIVE_EOF)
		return refuse(u, "is damaged: %.100s", sym_archive_error_string(a));
	return 0;
}

static int unpack_data(struct unpacking *u)
{
	struct archive *a = sym_archive_read_new();
	int r;

	if (!a)
		out_of_memory();
	sym_archive_read_support_format_tar(a);
	sym_archive_read_support_filter_gzip(a);
	sym_archive_read_support_filter_xz(a);
	sym_archive_read_support_filter_zstd(a);
	sym_archive_read_support_filter_bzip2(a);
	if (sym_archive_read_open(a, u, NULL, read_outer, NULL) == ARCHIVE_OK)
		r = unpack_all(u, a);
	else
		r = refuse(u, "is damaged: %.100s", sym_archive_error_string(a));
	sym_archive_read_free(a);
	return r;
}

static int find_data(struct unpacking *u)
{
	struct archive_entry *e;
	int r;

	while ((r = sym_archive_read_next_header(u->outer, &e)) == ARCHIVE_OK) {
		const char *name = sym_archive_entry_pathname(e);

		if (name && strncmp(name, "data.tar", 8) == 0)
			return unpack_data(u);
	}
	if (r == ARCHIVE_EOF)
		return refuse(u, "has no data.tar: not a Debian package");
	return refuse(u, "is not one: %.100s", sym_archive_error_string(u->outer));
}

int deb_unpack(int fd, int dir, int err)
{
	struct unpacking *u = xcalloc(1, sizeof(*u));
	int r;

	u->dir = dir;
	u->err = err;
	u->outer = sym_archive_read_new();
	if (!u->outer)
		out_of_memory();
	sym_archive_read_support_format_ar(u->outer);
	if (sym_archive_read_open_fd(u->outer, fd, BLOCK) == ARCHIVE_OK)
		r = find_data(u);
	else
		r = refuse(u, "is not one: %.100s", sym_archive_error_string(u->outer));
	sym_archive_read_free(u->outer);
	free(u);
	return r;
}
