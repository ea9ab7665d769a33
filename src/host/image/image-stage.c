// SPDX-License-Identifier: Apache-2.0
/* The files of an image that is not there yet. */
#include "host/image/image-stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"

#define NEW "new"
#define PULLS ".pull"

static int open_dir(int at, const char *name)
{
	int fd;

	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int take_lock(struct stage *s)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct stat own, there;

	s->lock = openat(s->root.fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->lock < 0)
		return -errno;
	if (fcntl(s->lock, F_OFD_SETLK, &fl) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	/* Its last holder may have removed it meanwhile. */
	if (fstat(s->lock, &own) < 0 || fstatat(s->root.fd, "lock", &there, 0) < 0 ||
	    own.st_ino != there.st_ino)
		return -EAGAIN;
	return 0;
}

int stage_open(const struct root *root, const char *images, const char *name,
	       struct stage *ret)
{
	_cleanup_close_ int pulls = -1;
	int r = root_mkdirs(root, images, 0755);

	*ret = (struct stage){ .root = { .fd = -1 }, .images = -1, .new = -1, .lock = -1,
			       .saving_fd = -1 };
	if (r < 0)
		return r;
	ret->name = xstrdup(name);
	ret->images = root_openat(root, images, O_RDONLY | O_DIRECTORY, 0);
	pulls = ret->images < 0 ? ret->images : open_dir(ret->images, PULLS);
	ret->root.fd = pulls < 0 ? pulls : open_dir(pulls, name);
	/* Not "": that would be this system's own root. */
	ret->root.path = xstrdup(PULLS);
	r = ret->root.fd < 0 ? ret->root.fd : take_lock(ret);
	/* Another's: nothing in here is this one's to tidy up. */
	if (r < 0) {
		closep(&ret->lock);
		ret->lock = -1;
	}
	if (r == 0) {
		ret->new = open_dir(ret->root.fd, NEW);
		r = ret->new < 0 ? ret->new : 0;
	}
	if (r < 0)
		stage_close(ret);
	return r;
}

static void close_files(struct stage *s)
{
	for (uint32_t i = 0; i < s->n_files; i++)
		closep(&s->files[i].fd);
	s->n_files = 0;
}

void stage_close(struct stage *s)
{
	if (s->saving)
		(void)!stage_saved(s);
	close_files(s);
	/* What holds something stays. */
	if (s->lock >= 0 && s->root.fd >= 0) {
		_cleanup_close_ int pulls = openat(s->root.fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		unlinkat(s->root.fd, NEW, AT_REMOVEDIR);
		if (faccessat(s->root.fd, NEW, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			unlinkat(s->root.fd, "lock", 0);
		unlinkat(pulls, s->name, AT_REMOVEDIR);
		unlinkat(s->images, PULLS, AT_REMOVEDIR);
	}
	closep(&s->lock);
	closep(&s->new);
	closep(&s->images);
	root_close(&s->root);
	free(s->name);
	s->name = NULL;
	s->lock = s->new = s->images = -1;
}

static int is_own(const struct stage *s, const char *name)
{
	for (uint32_t i = 0; s && i < s->n_files; i++)
		if (strcmp(s->files[i].name, name) == 0)
			return 1;
	return 0;
}

/* Of all files but those that `keep` has (NULL: none). */
static int empty_dir(int dir, const struct stage *keep)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!d) {
		r = -errno;
		closep(&fd);
		return r;
	}
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    is_own(keep, e->d_name))
			continue;
		/* An image has no directories; what is in one is not ours to remove. */
		if (unlinkat(dir, e->d_name, 0) < 0)
			r = -errno;
	}
	closedir(d);
	return r;
}

int stage_remove_dir(int at, const char *name)
{
	_cleanup_close_ int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = fd < 0 ? -errno : empty_dir(fd, NULL);

	if (r == 0 && unlinkat(at, name, AT_REMOVEDIR) < 0)
		r = -errno;
	return r;
}

int stage_clear(struct stage *s)
{
	int r = s->saving ? stage_saved(s) : 0;

	/* The state first: none may tell of files that are gone. */
	r = file_remove(&s->root, "/state");
	close_files(s);
	return r < 0 ? r : empty_dir(s->new, NULL);
}

int stage_drop_others(struct stage *s)
{
	return empty_dir(s->new, s);
}

static int has_room(const struct stage *s, uint64_t size)
{
	struct statvfs v;

	return fstatvfs(s->new, &v) < 0 || (uint64_t)v.f_bavail * v.f_frsize >= size;
}

int stage_begin(struct stage *s, const char *name, uint64_t size)
{
	struct stage_file *f = &s->files[s->n_files];

	/* The half has looked at these too, but it is not trusted. */
	if (s->n_files == TAR_FILES_MAX || !tar_is_name(name))
		return -EBADMSG;
	if (!has_room(s, size))
		return -ENOSPC;
	f->fd = openat(s->new, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (f->fd < 0)
		return -errno;
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->size = 0;
	s->n_files++;
	if (fchmod(f->fd, 0644) < 0)
		return -errno;
	/* All of it now or never, where the file system can. */
	if (size && fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) < 0 &&
	    (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
		return -errno;
	return 0;
}

int stage_write(struct stage *s, const void *data, size_t len)
{
	struct stage_file *f = s->n_files ? &s->files[s->n_files - 1] : NULL;
	const char *at = data;

	if (!f)
		return -EBADMSG;
	while (len) {
		ssize_t n = pwrite(f->fd, at, len, (off_t)f->size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		f->size += (uint64_t)n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int stage_sync(struct stage *s)
{
	for (uint32_t i = 0; i < s->n_files; i++)
		if (fsync(s->files[i].fd) < 0)
			return -errno;
	return fsync(s->new) < 0 ? -errno : 0;
}

int stage_publish(struct stage *s, int replace)
{
	unsigned flags = replace ? RENAME_EXCHANGE : RENAME_NOREPLACE;
	int r;

	if (fchmod(s->new, 0755) < 0 || fsync(s->new) < 0)
		return -errno;
	r = renameat2(s->root.fd, NEW, s->images, s->name, flags) < 0 ? -errno : 0;
	if (r == -ENOENT && replace)
		r = renameat2(s->root.fd, NEW, s->images, s->name, RENAME_NOREPLACE) < 0 ? -errno : 0;
	if (r < 0)
		return r;
	if (fsync(s->images) < 0 || fsync(s->root.fd) < 0)
		return -errno;
	r = file_remove(&s->root, "/state");
	if (r < 0)
		return r;
	/* The one that was there. */
	if (replace && faccessat(s->root.fd, NEW, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return stage_remove_dir(s->root.fd, NEW);
	return 0;
}
