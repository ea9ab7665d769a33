// SPDX-License-Identifier: Apache-2.0
/* The guest image's large files, read once. */
#include "host/image/image-record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "host/image/image-digest.h"
#include "host/peer/foreign.h"
#include "host/sha384.h"

enum { RECORD_MAX = 64 << 10, LOCK_SECONDS = 30, CHANGES_MAX = 3 };
/* Changes within a tick of the kernel's clock have the same time. */
enum { FRESH_NS = 100000000 };

char *image_directory(const struct settings *s)
{
	return xasprintf("%s/dstack-%s", setting(s, KEY_IMAGE_DIR), setting(s, KEY_IMAGE_VERSION));
}

char *image_record_load(const struct root *root)
{
	char *text = NULL;

	return file_read(root, IMAGE_RECORD, RECORD_MAX, &text, NULL) < 0 ? NULL : text;
}

/* What follows the hash in its line. */
static char *identity(const struct stat *st, const char *path)
{
	return xasprintf(" %llu %llu %lld %lld.%09ld %lld.%09ld %s\n",
			 (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
			 (long long)st->st_size, (long long)st->st_mtim.tv_sec,
			 st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec,
			 path);
}

static int look_up(const char *record, const char *who, char ret[SHA256_HEX + 1])
{
	const char *at = record ? strstr(record, who) : NULL;

	if (!at || at - record < SHA256_HEX || (at - record > SHA256_HEX && at[-SHA256_HEX - 1] != '\n'))
		return IMAGE_UNREAD;
	memcpy(ret, at - SHA256_HEX, SHA256_HEX);
	ret[SHA256_HEX] = '\0';
	return 0;
}

int image_hash(const struct root *root, const char *path, const char *record,
	       char ret[SHA256_HEX + 1])
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH | O_CLOEXEC, 0);
	_cleanup_free_ char *who = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size <= IMAGE_FILE_SMALL)
		return sha256_file(root, path, IMAGE_FILE_SMALL, ret);
	who = identity(&st, path);
	return look_up(record, who, ret);
}

/* May another change have the same time? */
static int is_fresh(const struct stat *st)
{
	struct timespec now;
	long long ago;

	clock_gettime(CLOCK_REALTIME, &now);
	ago = (now.tv_sec - st->st_ctim.tv_sec) * 1000000000LL + now.tv_nsec - st->st_ctim.tv_nsec;
	return ago > -FRESH_NS && ago < FRESH_NS;
}

/* Adds its line. What was changed this moment is read until no change could hide. */
static int read_file(const struct root *root, const char *path, struct strbuf *out)
{
	_cleanup_close_ int fd = root_openat(root, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
	unsigned char hash[SHA256_HEX / 2];
	struct stat st;
	uint64_t size;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= IMAGE_FILE_SMALL)
		return 0;
	for (unsigned changes = 0; changes < CHANGES_MAX;) {
		_cleanup_free_ char *before = identity(&st, path), *after = NULL;

		r = file_hash(fd, FILE_SHA256, hash, &size);
		if (r < 0 || fstat(fd, &st) < 0)
			return r < 0 ? r : -errno;
		after = identity(&st, path);
		if (strcmp(before, after) != 0) {
			changes++;
		} else if (!is_fresh(&st)) {
			for (size_t i = 0; i < sizeof(hash); i++)
				sb_addf(out, "%02x", hash[i]);
			sb_add(out, after);
			return 0;
		}
	}
	return -EBUSY;
}

/* Is it none of `dir`, and still true? */
static int is_kept(const struct root *root, const char *line, const char *dir)
{
	const char *slash = strchr(line, '/');
	_cleanup_free_ char *path = slash ? xstrndup(slash, strcspn(slash, "\n")) : NULL;
	_cleanup_free_ char *who = NULL;
	_cleanup_close_ int fd = -1;
	size_t len = strlen(dir);
	struct stat st;

	if (!path || slash - line < SHA256_HEX || (strncmp(path, dir, len) == 0 && path[len] == '/'))
		return 0;
	fd = root_openat(root, path, O_PATH | O_CLOEXEC, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	who = identity(&st, path);
	return strncmp(line + SHA256_HEX, who, strlen(who)) == 0;
}

/* `text` is all of what is in `dir`; the others' lines come to it. */
static int put(const struct root *root, const char *dir, struct strbuf *text)
{
	_cleanup_free_ char *record = NULL;
	_cleanup_close_ int lock = -1;
	struct file_spec spec = { .mode = 0644, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int r = lock_take(root, LOCK_SECONDS, &lock);

	if (r < 0)
		return r;
	record = image_record_load(root);
	for (const char *at = record, *end; at && (end = strchr(at, '\n')); at = end + 1)
		if (is_kept(root, at, dir))
			sb_addf(text, "%.*s", (int)(end + 1 - at), at);
	spec.data = text->data ? text->data : "";
	spec.len = text->len;
	r = file_replace(root, IMAGE_RECORD, &spec);
	return r < 0 ? r : 0;
}

int image_record_make(const struct root *root, const char *dir)
{
	struct foreign_file list = { .path = xasprintf("%s/sha256sum.txt", dir),
				     .digest = image_digest_sums };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int r = sha384_load();

	r = r < 0 ? r : foreign_read(root, &list, 1);
	for (size_t i = 0; r == 0 && i < list.answer.n_facts; i++) {
		const char *line = list.answer.facts[i].value;
		_cleanup_free_ char *path = NULL;
		int e;

		if (strcmp(list.answer.facts[i].key, "sum") != 0 || strlen(line) < SHA256_HEX + 2)
			continue;
		path = xasprintf("%s/%s", dir, line + SHA256_HEX + 1);
		e = read_file(root, path, &out);
		if (e < 0)
			log_warning("%s: %s", path, strerror(-e));
	}
	foreign_free(&list, 1);
	return r < 0 ? r : put(root, dir, &out);
}
