// SPDX-License-Identifier: Apache-2.0
/* One half for each processor; each takes its share of a root file system, files go in turn. */
#include "host/image/image-jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/image/image-half.h"
#include "host/image/image-verity.h"

enum { HALVES_MAX = 16, CHUNK = 1 << 20, SMALL = 8 << 20 };

struct share {
	const struct hash_job *job;
	unsigned part, of; /* of a root file system */
};

static unsigned processors(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : n > HALVES_MAX ? HALVES_MAX : (unsigned)n;
}

static void run_file(const struct hash_job *job, int fd, int sock)
{
	_cleanup_free_ unsigned char *chunk = xmalloc(CHUNK);
	unsigned char got[HASH_LEN];
	struct hash h;
	uint64_t at = 0;
	ssize_t n;

	hash_init(&h);
	while ((n = pread(fd, chunk, CHUNK, (off_t)at)) > 0) {
		hash_add(&h, chunk, (size_t)n);
		at += (uint64_t)n;
	}
	hash_end(&h, got);
	if (n < 0)
		message_fail(sock, FAIL_INTERNAL, "it cannot be read: %s", strerror(errno));
	else if (memcmp(got, job->want, HASH_LEN) != 0)
		message_fail(sock, FAIL_CONTENT, "it is not the file that sha256sum.txt lists");
	else
		(void)!message_send(sock, MESSAGE_END, NULL, 0, NULL, 0);
}

static void run_share(void *arg, int fd, int sock)
{
	const struct share *s = arg;
	struct verity v;
	int r;

	if (!s->job->data) {
		run_file(s->job, fd, sock);
		return;
	}
	r = verity_open(fd, s->job->data, &v);
	/* The tree itself is small: the first does that too. */
	if (r == 0 && s->part == 0)
		r = verity_check_tree(&v, s->job->want);
	if (r == 0)
		r = verity_check_data(&v, v.blocks * s->part / s->of,
				      v.blocks * (s->part + 1) / s->of);
	if (r < 0)
		message_fail(sock, FAIL_CONTENT, "%s", v.error);
	else
		(void)!message_send(sock, MESSAGE_END, NULL, 0, NULL, 0);
}

/* Waits for one; 0, 1 with *trouble (only the first is kept), or -errno. */
static int finish(struct image_half *half, const struct share *s, struct message *m,
		  char **trouble)
{
	int r;

	do
		r = message_receive(half->sock, m, 0);
	while (r == 1 && m->type == MESSAGE_READY);
	half_end(half);
	if (r < 0)
		return r;
	if (r == 1 && m->type == MESSAGE_END)
		return 0;
	if (!*trouble)
		*trouble = xasprintf("%s: %.300s", s->job->name,
				     r == 1 && m->type == MESSAGE_FAIL && m->len > 1 ?
					     (const char *)m->data + 1 :
					     "what hashed it has ended early");
	return 1;
}

static size_t share_out(const struct hash_job *jobs, size_t n, struct share *ret)
{
	unsigned cpus = processors();
	size_t n_shares = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned of = jobs[i].data && jobs[i].size > SMALL ? cpus : 1;

		for (unsigned part = 0; part < of; part++)
			ret[n_shares++] = (struct share){ &jobs[i], part, of };
	}
	return n_shares;
}

/* As many at a time as there are processors. */
static int run_all(struct share *shares, size_t n, struct message *m, char **trouble)
{
	struct image_half halves[HALVES_MAX] = { 0 };
	size_t cpus = processors(), started = 0, ended = 0;
	int r = 0;

	while (ended < started || (started < n && r == 0)) {
		struct image_half *half = &halves[started % cpus];
		int e;

		if (started < n && r == 0 && started - ended < cpus) {
			r = half_start(run_share, &shares[started], shares[started].job->fd, half);
			started += r == 0;
			continue;
		}
		e = finish(&halves[ended % cpus], &shares[ended], m, trouble);
		ended++;
		r = r ? r : e;
	}
	return r;
}

int hash_all(const struct hash_job *jobs, size_t n, char **trouble)
{
	_cleanup_free_ struct share *shares = xcalloc(n * HALVES_MAX, sizeof(*shares));
	_cleanup_free_ struct message *m = xmalloc(sizeof(*m));

	return run_all(shares, share_out(jobs, n, shares), m, trouble);
}
