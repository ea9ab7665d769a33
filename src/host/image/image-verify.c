// SPDX-License-Identifier: Apache-2.0
/* Follows an image's digests, from digest.txt down to the last block. */
#include "host/image/image-verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "host/image/image-digest.h"
#include "host/image/image-jobs.h"
#include "host/image/image-tar.h"
#include "host/peer/peer.h"

enum { TEXT_MAX = 1 << 20, TEXT_TIMEOUT_MS = 10000, JOBS_MAX = TAR_FILES_MAX + 1 };

enum text { TEXT_SUMS, TEXT_METADATA, TEXT_DIGEST, N_TEXTS };

static const char *const text_names[N_TEXTS] = { "sha256sum.txt", "metadata.json",
						 "digest.txt" };

struct verifying {
	int dir;
	int fds[N_TEXTS];
	struct peer_answer text[N_TEXTS];
	struct hash_job jobs[JOBS_MAX];
	size_t n_jobs;
	int lacks_some; /* a file that is not there is no trouble */
	char **trouble;
};

_printf_(2, 3) static int wrong(struct verifying *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	*v->trouble = xvasprintf(fmt, ap);
	va_end(ap);
	return 1;
}

/* A plain file; links would lead to what is none of the image's. */
static int open_in(int dir, const char *name, uint64_t *size)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), r;
	struct stat st;

	if (fd < 0)
		return -errno;
	r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (r < 0) {
		close(fd);
		return r;
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

/* The first `n`. */
static int read_texts(struct verifying *v, size_t n)
{
	static void (*const digests[N_TEXTS])(const struct peer_reply *, struct peer_emit *) = {
		image_digest_sums, image_digest_metadata, image_digest_digest
	};
	struct peer_request requests[N_TEXTS] = { 0 };
	uint64_t size;
	int r;

	for (size_t i = 0; i < n; i++) {
		v->fds[i] = open_in(v->dir, text_names[i], &size);
		if (v->fds[i] < 0)
			return wrong(v, "%s: %s", text_names[i], strerror(-v->fds[i]));
		requests[i] = (struct peer_request){ .kind = PEER_FILE, .fd = v->fds[i],
						     .timeout_ms = TEXT_TIMEOUT_MS,
						     .max_body = TEXT_MAX,
						     .digest = digests[i] };
	}
	r = peer_ask(requests, n, v->text);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (v->text[i].error != PEER_OK || peer_get(&v->text[i], "bad"))
			return wrong(v, "%s is %s", text_names[i],
				     v->text[i].error != PEER_OK ? "too long or cannot be read" :
								   peer_get(&v->text[i], "bad"));
	return r;
}

static int add_job(struct verifying *v, const char *name, const char *hash, uint64_t data)
{
	struct hash_job *job = &v->jobs[v->n_jobs];

	if (v->n_jobs == JOBS_MAX || !tar_is_name(name))
		return wrong(v, "sha256sum.txt is longer than an image's");
	if (hash_parse(hash, job->want) < 0)
		return wrong(v, "the hash of %s is none", name);
	job->fd = open_in(v->dir, name, &job->size);
	if (job->fd == -ENOENT && v->lacks_some)
		return 0;
	if (job->fd < 0)
		return wrong(v, "%s: %s", name, strerror(-job->fd));
	job->name = name;
	job->data = data;
	v->n_jobs++;
	return 0;
}

/* sha256sum.txt is the first file: its own hash is the digest. */
static int add_files(struct verifying *v, const char *digest)
{
	const struct peer_answer *sums = &v->text[TEXT_SUMS];
	int r = add_job(v, text_names[TEXT_SUMS], digest, 0);

	for (size_t i = 0; r == 0 && i < sums->n_facts; i++) {
		char *value = sums->facts[i].value;

		if (strcmp(sums->facts[i].key, "sum") != 0 || strlen(value) < SHA256_HEX + 2)
			continue;
		value[SHA256_HEX] = '\0';
		r = add_job(v, value + SHA256_HEX + 1, value, 0);
	}
	return r;
}

static const struct hash_job *job_of(const struct verifying *v, const char *name)
{
	for (size_t i = 0; i < v->n_jobs; i++)
		if (strcmp(v->jobs[i].name, name) == 0)
			return &v->jobs[i];
	return NULL;
}

/* What the VMM and the guest need of metadata.json, all of it bound by the digest. */
static int check_metadata(struct verifying *v)
{
	static const char *const members[] = { "bios", "kernel", "initrd" };
	const struct peer_answer *m = &v->text[TEXT_METADATA];
	const char *rootfs = peer_get(m, "rootfs"), *hash = peer_get(m, "rootfs_hash");
	const char *size = peer_get(m, "rootfs_size");
	uint64_t bytes;

	if (!job_of(v, text_names[TEXT_METADATA]))
		return wrong(v, "sha256sum.txt does not list metadata.json");
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *name = peer_get(m, members[i]);

		if (!name)
			return wrong(v, "metadata.json names no %s", members[i]);
		if (!job_of(v, name))
			return wrong(v, "sha256sum.txt does not list %s, which metadata.json names",
				     name);
	}
	if (!peer_get(m, "cmdline"))
		return wrong(v, "metadata.json has no cmdline: the guest would not boot");
	if (!peer_get(m, "shared_ro"))
		return wrong(v, "metadata.json has no \"shared_ro\": true");
	if (!rootfs || job_of(v, rootfs))
		return wrong(v, "metadata.json names no rootfs of its own");
	if (!hash || !size || parse_uint(size, 1, INT64_MAX, &bytes))
		return wrong(v, "the cmdline in metadata.json has no dstack.rootfs_hash and "
				"dstack.rootfs_size: nothing tells whether %s is whole", rootfs);
	return add_job(v, rootfs, hash, bytes);
}

/* What is there besides: nothing above has told anything of it. */
static int look_for_others(struct verifying *v, struct image_facts *ret)
{
	int fd = openat(v->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, text_names[TEXT_DIGEST]) == 0 || job_of(v, e->d_name))
			continue;
		free(ret->unbound);
		ret->unbound = xstrdup(e->d_name);
		utf8_clean(ret->unbound);
	}
	closedir(d);
	return 0;
}

static int verify(struct verifying *v, const char *digest, struct image_facts *ret)
{
	const char *own;
	int r = read_texts(v, N_TEXTS);

	if (r)
		return r;
	ret->simulated = peer_get(&v->text[TEXT_METADATA], "simulated") != NULL;
	own = peer_get(&v->text[TEXT_DIGEST], "digest");
	if (!own || strlen(own) != SHA256_HEX)
		return wrong(v, "digest.txt has no digest");
	if (digest && strcmp(own, digest) != 0)
		return wrong(v, "it is another image: its digest is %s, not %s", own, digest);
	r = add_files(v, own);
	if (r == 0)
		r = check_metadata(v);
	if (r == 0)
		r = look_for_others(v, ret);
	if (r == 0)
		r = hash_all(v->jobs, v->n_jobs, v->trouble);
	if (r == 0)
		memcpy(ret->digest, own, SHA256_HEX + 1);
	for (size_t i = 0; i < v->n_jobs; i++)
		ret->bytes += v->jobs[i].size;
	return r;
}

static int verify_measured(struct verifying *v, const char *digest)
{
	int r = read_texts(v, TEXT_SUMS + 1);

	if (r == 0)
		r = add_files(v, digest);
	return r ? r : hash_all(v->jobs, v->n_jobs, v->trouble);
}

static struct verifying *begin(int dir, char **trouble)
{
	struct verifying *v = xcalloc(1, sizeof(*v));

	*trouble = NULL;
	v->dir = dir;
	v->trouble = trouble;
	for (int i = 0; i < N_TEXTS; i++)
		v->fds[i] = -1;
	return v;
}

static int end(struct verifying *v, int r)
{
	char *trouble = *v->trouble;

	for (size_t i = 0; i < v->n_jobs; i++)
		close(v->jobs[i].fd);
	for (int i = 0; i < N_TEXTS; i++)
		if (v->fds[i] >= 0)
			close(v->fds[i]);
	peer_answers_free(v->text, N_TEXTS);
	free(v);
	if (r == 1)
		utf8_clean(trouble);
	return r;
}

int image_verify(int dir, const char *digest, struct image_facts *ret, char **trouble)
{
	struct verifying *v = begin(dir, trouble);
	int r = hash_load();

	*ret = (struct image_facts){ 0 };
	return end(v, r ? r : verify(v, digest, ret));
}

int image_verify_measured(int dir, const char *digest, char **trouble)
{
	struct verifying *v = begin(dir, trouble);
	int r = hash_load();

	v->lacks_some = 1;
	return end(v, r ? r : verify_measured(v, digest));
}

int image_read_digest(int dir, char ret[SHA256_HEX + 1])
{
	char text[SHA256_HEX + 8];
	unsigned char hash[HASH_LEN];
	uint64_t size;
	int fd = open_in(dir, text_names[TEXT_DIGEST], &size);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, text, SHA256_HEX);
	close(fd);
	if (n != SHA256_HEX)
		return -EBADMSG;
	text[n] = '\0';
	if (hash_parse(text, hash) < 0)
		return -EBADMSG;
	memcpy(ret, text, SHA256_HEX + 1);
	return 0;
}

void image_facts_free(struct image_facts *facts)
{
	free(facts->unbound);
	facts->unbound = NULL;
}
