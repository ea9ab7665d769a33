// SPDX-License-Identifier: Apache-2.0
/* Root's side of the network halves: forks them, reads their records, ends them. */
#include "host/peer/peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "host/lib/lib-crypto.h"
#include "host/lib/lib-curl.h"
#include "host/peer/peer-half.h"
#include "host/peer/peer-plan.h"
#include "host/peer/peer-record.h"

enum {
	REQUESTS_MAX = 1024,
	GRACE_MS = 1000, /* past the slowest timeout: a half's own clock should have ended it */
	/* Of one request: its facts, the last of which may go over the limit, and the rest. */
	REQUEST_MAX = 2 * PEER_FACTS_MAX,
};

struct intake {
	struct peer_answer *answers;
	char *done; /* by request */
	size_t n, n_done;
	struct strbuf in;
	size_t total;
	int ready; /* 1: privileges are gone */
	int error; /* -errno of what ended the conversation early, 0: nothing did */
};

struct half {
	pid_t pid; /* 0: none */
	int sock;
	struct intake in;
};

static void take_fact(struct intake *in, const struct peer_record *rec)
{
	struct peer_answer *a = &in->answers[rec->index];

	/* Grows at powers of two. */
	if ((a->n_facts & (a->n_facts - 1)) == 0)
		a->facts = xrealloc(a->facts, (a->n_facts ? a->n_facts * 2 : 1) *
						      sizeof(*a->facts));
	a->facts[a->n_facts++] = (struct peer_fact){
		.key = xstrndup(rec->key, rec->key_len),
		.value = xstrndup(rec->value, rec->value_len),
	};
}

static int take_done(struct intake *in, const struct peer_record *rec)
{
	struct peer_answer *a = &in->answers[rec->index];

	if (rec->error < PEER_OK || rec->error > PEER_INTERNAL)
		return -EBADMSG;
	a->error = (enum peer_error)rec->error;
	a->status = rec->status;
	a->ms = rec->ms;
	if (a->error != PEER_OK)
		a->text = xstrndup(rec->text, rec->text_len);
	in->done[rec->index] = 1;
	in->n_done++;
	return 0;
}

static int take_record(struct intake *in, const struct peer_record *rec)
{
	if (rec->type == RECORD_READY) {
		if (in->ready || rec->error)
			return in->ready ? -EBADMSG : -rec->error;
		in->ready = 1;
		return 0;
	}
	if (!in->ready || rec->index >= in->n || in->done[rec->index])
		return -EBADMSG;
	if (rec->type == RECORD_DONE)
		return take_done(in, rec);
	take_fact(in, rec);
	return 0;
}

/* Decodes what has arrived. */
static int digest_input(struct intake *in)
{
	size_t used = 0;

	for (;;) {
		struct peer_record rec;
		ssize_t n = record_decode(in->in.data + used, in->in.len - used, &rec);
		int r = n < 0 ? (int)n : n == 0 ? 0 : take_record(in, &rec);

		if (r < 0)
			return r;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	in->in.len -= used;
	memmove(in->in.data, in->in.data + used, in->in.len);
	return 0;
}

/* 1: there may be more, 0: the other side has closed, -errno. */
static int receive(struct intake *in, int sock)
{
	char chunk[16384];
	ssize_t n = read(sock, chunk, sizeof(chunk));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	if (n == 0)
		return 0;
	in->total += (size_t)n;
	if (in->total > PEER_STREAM_MAX || in->total > in->n * REQUEST_MAX)
		return -EMSGSIZE;
	sb_addn(&in->in, chunk, (size_t)n);
	n = digest_input(in);
	return n < 0 ? (int)n : 1;
}

/* Reads nothing more, and nothing more of it may happen: it may have been talked into
 * staying. */
static void end_half(struct half *h, int error)
{
	h->in.error = error;
	close(h->sock);
	h->sock = -1;
	kill(h->pid, SIGKILL);
}

static void reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

/* Those that may still say something, in the order of the halves. */
static nfds_t poll_of(const struct half *halves, size_t n, struct pollfd *polls)
{
	nfds_t living = 0;

	for (size_t i = 0; i < n; i++) {
		/* A negative one is not asked for. */
		polls[i] = (struct pollfd){ .fd = halves[i].sock, .events = POLLIN };
		living += halves[i].sock >= 0;
	}
	return living;
}

static void collect(struct half *halves, size_t n, uint64_t deadline)
{
	_cleanup_free_ struct pollfd *polls = xcalloc(n, sizeof(*polls));

	while (poll_of(halves, n, polls)) {
		int ready = poll(polls, n, clock_left(deadline));

		if (ready < 0 && errno == EINTR)
			continue;
		ready = ready < 0 ? -errno : ready == 0 ? -ETIMEDOUT : ready;
		for (size_t i = 0; i < n; i++) {
			struct half *h = &halves[i];
			int r = ready < 0 ? ready : polls[i].revents ? receive(&h->in, h->sock) : 1;

			if (h->sock >= 0 && (r <= 0 || h->in.n_done == h->in.n))
				end_half(h, r <= 0 ? r : 0);
		}
	}
}

static char *why_unfinished(const struct intake *in)
{
	if (in->error == -ETIMEDOUT)
		return xstrdup("no answer in time");
	if (!in->ready && in->error)
		return xasprintf("no network half: %s", strerror(-in->error));
	return xstrdup(in->error ? "the network half broke its protocol" :
				   "the network half ended early");
}

static void complain_unfinished(struct intake *in)
{
	for (size_t i = 0; i < in->n; i++) {
		struct peer_answer *a = &in->answers[i];

		if (in->done[i])
			continue;
		a->error = in->error == -ETIMEDOUT ? PEER_TIMEOUT : PEER_INTERNAL;
		a->text = why_unfinished(in);
	}
}

static int start_half(struct peer_share *share, struct half *h)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	share->sock = pair[1];
	h->pid = fork();
	if (h->pid == 0)
		peer_be_half(share);
	r = h->pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		h->pid = 0;
		return r;
	}
	h->sock = pair[0];
	return 0;
}

static unsigned timeout_of(const struct peer_request *q)
{
	return q->timeout_ms ? q->timeout_ms : PEER_TIMEOUT_DEFAULT_MS;
}

static unsigned longest_of(const struct peer_request *requests, size_t n)
{
	unsigned longest = 0;

	for (size_t i = 0; i < n; i++)
		if (timeout_of(&requests[i]) > longest)
			longest = timeout_of(&requests[i]);
	return longest;
}

struct turn {
	size_t half, requests;
	unsigned ms;
};

/* Of those with as much time, who has less to ask: it has asked when the other one begins. */
static int longest_first(const void *a, const void *b)
{
	const struct turn *x = a, *y = b;

	if (x->ms != y->ms)
		return x->ms < y->ms ? 1 : -1;
	if (x->requests != y->requests)
		return x->requests < y->requests ? -1 : 1;
	return x->half < y->half ? -1 : 1;
}

static void start_all(const struct peer_plan *plan, struct peer_answer *answers, char *done,
		      struct half *halves)
{
	struct peer_share share = { .all = plan->requests, .n_all = plan->n, .parent = getpid() };
	_cleanup_free_ struct turn *turns = xcalloc(plan->n_halves, sizeof(*turns));

	/* Whom everybody may have to wait for is asked first. */
	for (size_t i = 0; i < plan->n_halves; i++) {
		size_t from = plan->from[i];

		turns[i].half = i;
		turns[i].requests = plan->from[i + 1] - from;
		turns[i].ms = longest_of(plan->requests + from, turns[i].requests);
	}
	qsort(turns, plan->n_halves, sizeof(*turns), longest_first);
	for (size_t t = 0; t < plan->n_halves; t++) {
		size_t i = turns[t].half;
		struct half *h = &halves[i];

		share.from = plan->from[i];
		share.n = plan->from[i + 1] - share.from;
		*h = (struct half){ .sock = -1, .in = { .answers = answers + share.from,
							.done = done + share.from, .n = share.n } };
		h->in.error = start_half(&share, h);
	}
}

/* 0 when one of them could be asked at all, or why none. */
static int finish_all(struct half *halves, size_t n)
{
	int ready = 0, cause = 0;

	for (size_t i = 0; i < n; i++) {
		struct half *h = &halves[i];

		if (h->pid)
			reap(h->pid);
		if (!h->in.ready && !h->in.error)
			h->in.error = -EPROTO;
		if (!cause)
			cause = h->in.error;
		ready |= h->in.ready;
		complain_unfinished(&h->in);
		sb_free(&h->in.in);
	}
	return ready ? 0 : cause;
}

/* Before the halves are forked: once for all of them, and none may open a library. Who only
 * reads files needs none. */
static int load_libraries(const struct peer_request *requests, size_t n)
{
	size_t i = 0;
	int r;

	while (i < n && (requests[i].kind == PEER_FILE || requests[i].kind == PEER_WORK))
		i++;
	if (i == n)
		return 0; /* also nobody at all is asked */
	/* First: it wants to be told who allocates. */
	r = libcrypto_load();
	return r < 0 ? r : libcurl_load();
}

static int ask(const struct peer_request *requests, size_t n, struct peer_answer *answers,
	       void (*meanwhile)(void *arg), void *arg)
{
	_cleanup_(peer_plan_free) struct peer_plan plan = { 0 };
	_cleanup_free_ struct peer_answer *planned = xcalloc(n, sizeof(*planned));
	_cleanup_free_ char *done = xcalloc(n, 1);
	_cleanup_free_ struct half *halves = NULL;
	uint64_t deadline;
	int r;

	peer_plan(requests, n, &plan);
	halves = xcalloc(plan.n_halves, sizeof(*halves));
	start_all(&plan, planned, done, halves);
	deadline = clock_ms() + longest_of(requests, n) + GRACE_MS;
	meanwhile(arg);
	collect(halves, plan.n_halves, deadline);
	r = finish_all(halves, plan.n_halves);
	if (r < 0)
		peer_answers_free(planned, n);
	for (size_t i = 0; i < n; i++)
		answers[plan.order[i]] = planned[i];
	return r;
}

int peer_ask_while(const struct peer_request *requests, size_t n, struct peer_answer *answers,
		   void (*meanwhile)(void *arg), void *arg)
{
	int r = n > REQUESTS_MAX ? -E2BIG : load_libraries(requests, n);

	memset(answers, 0, n * sizeof(*answers));
	if (r == 0)
		return ask(requests, n, answers, meanwhile, arg);
	meanwhile(arg);
	return r;
}

static void nothing(void *arg _unused_)
{
}

int peer_ask(const struct peer_request *requests, size_t n, struct peer_answer *answers)
{
	return peer_ask_while(requests, n, answers, nothing, NULL);
}

const char *peer_get(const struct peer_answer *answer, const char *key)
{
	for (size_t i = 0; i < answer->n_facts; i++)
		if (strcmp(answer->facts[i].key, key) == 0)
			return answer->facts[i].value;
	return NULL;
}

void peer_answers_free(struct peer_answer *answers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct peer_answer *a = &answers[i];

		for (size_t j = 0; j < a->n_facts; j++) {
			free(a->facts[j].key);
			free(a->facts[j].value);
		}
		free(a->facts);
		free(a->text);
		*a = (struct peer_answer){ 0 };
	}
}
