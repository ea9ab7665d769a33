// SPDX-License-Identifier: Apache-2.0
/* Root's side of the network half: forks it, reads its records, ends it. */
#include "host/peer.h"

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
#include "host/peer-half.h"
#include "host/peer-record.h"

enum {
	REQUESTS_MAX = 1024,
	GRACE_MS = 1000, /* past the slowest timeout: the half's own clock should have ended it */
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
	if (in->total > PEER_STREAM_MAX)
		return -EMSGSIZE;
	sb_addn(&in->in, chunk, (size_t)n);
	return digest_input(in) < 0 ? -EBADMSG : 1;
}

static void collect(struct intake *in, int sock, uint64_t deadline)
{
	while (in->n_done < in->n) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		int r = poll(&p, 1, clock_left(deadline));

		if (r < 0 && errno == EINTR)
			continue;
		r = r < 0 ? -errno : r == 0 ? -ETIMEDOUT : receive(in, sock);
		if (r <= 0) {
			in->error = r;
			return;
		}
	}
}

static void complain_unfinished(struct intake *in)
{
	for (size_t i = 0; i < in->n; i++) {
		struct peer_answer *a = &in->answers[i];

		if (in->done[i])
			continue;
		a->error = in->error == -ETIMEDOUT ? PEER_TIMEOUT : PEER_INTERNAL;
		a->text = xstrdup(in->error == -ETIMEDOUT ? "no answer in time" :
				  in->error ? "the network half broke its protocol" :
					      "the network half ended early");
	}
}

_noreturn_ static void be_the_half(const struct peer_request *requests, size_t n, int sock)
{
	struct peer_request *mine = xcalloc(n, sizeof(*mine));
	struct strbuf out = { 0 };
	sigset_t none;
	int r;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	memcpy(mine, requests, n * sizeof(*mine));
	r = peer_lock_down(mine, n, sock);
	record_add_ready(&out, -r);
	peer_send(sock, &out);
	if (r == 0)
		peer_run(mine, n, sock);
	_exit(0);
}

static void end_half(pid_t pid)
{
	int status;

	/* Also when all is answered: it may have been talked into staying. */
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

static uint64_t last_deadline(const struct peer_request *requests, size_t n)
{
	unsigned longest = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned ms = requests[i].timeout_ms ? requests[i].timeout_ms :
						       PEER_TIMEOUT_DEFAULT_MS;

		if (ms > longest)
			longest = ms;
	}
	return clock_ms() + longest + GRACE_MS;
}

int peer_ask(const struct peer_request *requests, size_t n, struct peer_answer *answers)
{
	_cleanup_close_ int sock = -1;
	_cleanup_strbuf_ struct strbuf buffer = { 0 };
	_cleanup_free_ char *done = xcalloc(n, 1);
	struct intake in = { .answers = answers, .done = done, .n = n };
	int pair[2];
	pid_t pid;

	memset(answers, 0, n * sizeof(*answers));
	if (n > REQUESTS_MAX)
		return -E2BIG;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(pair[0]);
		close(pair[1]);
		return r;
	}
	if (pid == 0)
		be_the_half(requests, n, pair[1]);
	close(pair[1]);
	sock = pair[0];
	collect(&in, sock, last_deadline(requests, n));
	end_half(pid);
	buffer = in.in;
	complain_unfinished(&in);
	if (in.ready || n == 0)
		return 0;
	peer_answers_free(answers, n);
	return in.error ? in.error : -EPROTO;
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
