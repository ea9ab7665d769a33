// SPDX-License-Identifier: Apache-2.0
/* The cut of a pull on disk: written by a child beside the pull, read by the next run. */
#include "host/image/image-stage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/strbuf.h"

enum { STATE_MAX = 256 << 10, SAVED = 0, LOST = 3, UNWRITTEN = 4 };

/* In front of the unpacking half's state; behind that the SHA-256 of all of it. */
struct head {
	char magic[16];
	char identity[200];
	uint64_t at;
	struct hash hash;
	uint64_t unpack_len;
	uint32_t n_files;
	struct {
		char name[TAR_NAME_MAX + 1];
		uint64_t size;
	} files[TAR_FILES_MAX];
};

static const char magic[16] = "dstack-pull 1\n";

static void digest(const void *data, size_t len, unsigned char ret[HASH_LEN])
{
	struct hash h;

	hash_init(&h);
	hash_add(&h, data, len);
	hash_end(&h, ret);
}

static int write_state(const struct stage *s, const struct stage_cut *cut)
{
	struct head *head = xcalloc(1, sizeof(*head));
	struct file_spec spec = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	struct strbuf out = { 0 };
	unsigned char sum[HASH_LEN];
	int r;

	memcpy(head->magic, magic, sizeof(magic));
	memcpy(head->identity, cut->identity, sizeof(head->identity));
	head->at = cut->at;
	head->hash = cut->hash;
	head->unpack_len = cut->unpack_len;
	head->n_files = s->n_files;
	for (uint32_t i = 0; i < s->n_files; i++) {
		memcpy(head->files[i].name, s->files[i].name, sizeof(head->files[i].name));
		head->files[i].size = s->files[i].size;
	}
	sb_addn(&out, head, sizeof(*head));
	sb_addn(&out, cut->unpack, cut->unpack_len);
	digest(out.data, out.len, sum);
	sb_addn(&out, sum, sizeof(sum));
	spec.data = out.data;
	spec.len = out.len;
	r = file_replace(&s->root, "/state", &spec);
	sb_free(&out);
	free(head);
	return r;
}

_noreturn_ static void be_saver(struct stage *s, const struct stage_cut *cut)
{
	if (stage_sync(s) < 0)
		_exit(LOST);
	if (!cut)
		_exit(SAVED);
	_exit(write_state(s, cut) < 0 ? UNWRITTEN : SAVED);
}

int stage_save(struct stage *s, const struct stage_cut *cut)
{
	s->saving = fork();
	if (s->saving == 0)
		be_saver(s, cut);
	if (s->saving < 0) {
		s->saving = 0;
		return -errno;
	}
	s->saving_fd = pidfd_open(s->saving, 0);
	return 0;
}

int stage_saved(struct stage *s)
{
	int r, status = 0;

	while ((r = waitpid(s->saving, &status, 0)) < 0 && errno == EINTR)
		;
	s->saving = 0;
	closep(&s->saving_fd);
	s->saving_fd = -1;
	/* Nobody knows what one that was ended, or whose end is not told, has made durable. */
	if (r < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == LOST)
		return -EIO;
	return WEXITSTATUS(status) == SAVED ? 0 : -ENOSPC;
}

void stage_cut_free(struct stage_cut *cut)
{
	free(cut->unpack);
	cut->unpack = NULL;
}

/* Is it a whole one, of the same pull? */
static int is_state(const char *data, size_t len, const char *identity)
{
	const struct head *h = (const void *)data;
	unsigned char sum[HASH_LEN];

	if (len < sizeof(*h) + HASH_LEN || memcmp(h->magic, magic, sizeof(magic)) != 0 ||
	    h->unpack_len != len - sizeof(*h) - HASH_LEN || h->n_files > TAR_FILES_MAX)
		return 0;
	digest(data, len - HASH_LEN, sum);
	return memcmp(sum, data + len - HASH_LEN, HASH_LEN) == 0 &&
	       strncmp(h->identity, identity, sizeof(h->identity)) == 0;
}

static int open_file(struct stage *s, const char *name, uint64_t size)
{
	struct stage_file *f = &s->files[s->n_files];
	struct stat st;

	f->fd = openat(s->new, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (f->fd < 0)
		return -errno;
	memcpy(f->name, name, strlen(name) + 1);
	f->size = size;
	s->n_files++;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || (uint64_t)st.st_size < size)
		return -EBADMSG;
	return ftruncate(f->fd, (off_t)size) < 0 ? -errno : 0;
}

/* A file that began after the cut is no part of it. */
static int drop_younger(struct stage *s, const struct head *h)
{
	for (uint32_t i = 0; i < h->n_files; i++)
		if (!tar_is_name(h->files[i].name))
			return -EBADMSG;
	for (uint32_t i = 0; i < h->n_files; i++) {
		int r = open_file(s, h->files[i].name, h->files[i].size);

		if (r < 0)
			return r;
	}
	return stage_drop_others(s);
}

int stage_load(struct stage *s, const char *identity, struct stage_cut *ret)
{
	_cleanup_free_ char *data = NULL;
	const struct head *h;
	size_t len = 0;
	int r = file_read(&s->root, "/state", STATE_MAX, &data, &len);

	*ret = (struct stage_cut){ .at = 0 };
	h = (const void *)data;
	if (r == 0 && is_state(data, len, identity) && drop_younger(s, h) == 0) {
		memcpy(ret->identity, h->identity, sizeof(ret->identity));
		ret->at = h->at;
		ret->hash = h->hash;
		ret->unpack_len = h->unpack_len;
		ret->unpack = xmalloc(h->unpack_len + 1);
		memcpy(ret->unpack, data + sizeof(*h), h->unpack_len);
		return 0;
	}
	r = stage_clear(s);
	return r < 0 ? r : STAGE_NONE;
}
