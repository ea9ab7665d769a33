// SPDX-License-Identifier: Apache-2.0
/* Inside a network half: what its files share. Nothing here runs as root. */
#pragma once

#include <poll.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/strbuf.h"
#include "host/peer/peer.h"

/* For requests that leave them 0. */
enum { PEER_TIMEOUT_DEFAULT_MS = 5000, PEER_BODY_DEFAULT = 64 * 1024 };
/* Facts of one request; more is PEER_TOO_LARGE. */
enum { PEER_FACTS_MAX = 1 << 20 };

struct peer_emit {
	struct strbuf out; /* records of one request */
	unsigned index;
	int truncated;
};

/* What one half is forked for. */
struct peer_share {
	const struct peer_request *all; /* of peer_ask() */
	size_t n_all;
	size_t from, n; /* its own; either all of them have a descriptor or none has, and
			   either all of them are files or none is */
	int sock;	/* to the other half */
	pid_t parent;	/* which that is */
};

/* The life of a half, after fork(2). */
_noreturn_ void peer_be_half(const struct peer_share *share);

/* Every signal does what it does by default, but SIGPIPE, which is ignored. */
void peer_reset_signals(void);
/* Gives everything up: descriptors but `sock` and those of the requests (all get other
 * numbers), ids, capabilities, system calls; fails when `parent` is no more. 0 or -errno, and
 * then nothing foreign may be read. */
int peer_lock_down(struct peer_request *requests, size_t n, int *sock, pid_t parent)
	_must_check_;

struct peer_record;

/* The certificates that a finished transfer has seen, as facts. `easy` is curl's handle. */
void peer_certs(void *easy, const struct peer_request *request, struct peer_emit *emit);

/* Asks all and sends the records of each. */
void peer_run(const struct peer_request *requests, size_t n, int sock);
/* The same with PEER_DNS. */
void peer_resolve(const struct peer_request *requests, size_t n, int sock);
/* The same with PEER_FILE. */
void peer_read_files(const struct peer_request *requests, size_t n, int sock);
/* Ends request `emit->index` of a PEER_WORK: what was emitted, and why it failed (NULL: it did
 * not). */
void peer_work_end(struct peer_emit *emit, const char *trouble, int sock);
/* Digests the reply, unless done->error says that there is none, and sends the records. */
void peer_finish(const struct peer_request *request, const struct peer_reply *reply,
		 struct peer_record *done, int sock);
/* All of `out` to the other half; ends the process when nobody reads any more. */
void peer_send(int sock, const struct strbuf *out);

/*
 * One exchange of length-prefixed frames (PEER_QGS, PEER_KEY_PROVIDER) on a connected
 * socket.
 */
struct frames {
	enum peer_kind kind;
	int fd;
	size_t max_body;
	struct strbuf out;
	size_t sent;
	struct strbuf in;
	int done;
	enum peer_error error;
	char text[128];
};

void frames_start(struct frames *f, const struct peer_request *request, int fd);
/* What to poll(2) for. */
short frames_events(const struct frames *f);
/* Sends and receives what can be had without waiting; sets done, error and text. */
void frames_step(struct frames *f);
/* The payload of the answer, after done with PEER_OK. */
struct peer_reply frames_reply(const struct frames *f);
/* Facts of the answer that every asker wants. */
void frames_digest(const struct frames *f, struct peer_emit *emit);
void frames_free(struct frames *f);
