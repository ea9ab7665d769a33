// SPDX-License-Identifier: Apache-2.0
/*
 * The network halves. peer_ask() forks one for each peer whose connected socket it is handed
 * (who takes over what talks to a guest must not find docker's socket there), and one for all
 * other requests. A half drops every privilege (ids, caps, no_new_privs, seccomp) and does
 * DNS, TLS, HTTP and JSON for its requests at once with curl multi. What it learned comes back
 * over a socketpair as bounded typed records, whose decoder is the only parser of foreign
 * bytes that root runs.
 */
#pragma once

#include <stddef.h>

#include "base/macro.h"

struct peer_emit;

/* What a network half got for one request; lives in the child only. */
struct peer_reply {
	long status; /* HTTP status; 0 for other protocols */
	const char *body;
	size_t len;
};

enum peer_kind {
	PEER_HTTP,    /* request and reply over HTTP or HTTPS */
	PEER_CONNECT, /* a TCP connection is accepted, nothing is sent */
	PEER_QGS,     /* QGS GET_PLATFORM_INFO (facts: Intel's qgs message protocol 1.1) */
	PEER_KEY_PROVIDER, /* a length-prefixed frame that it must refuse politely */
	PEER_DNS,     /* `url`: names by blanks, `body`: name servers "host:port" by blanks */
	PEER_FILE,    /* `fd` is a regular file, opened by root: read to its end */
	PEER_WORK,    /* `fd` is whatever `work` wants to have */
};

/* What more is wanted of https. */
enum peer_tls {
	PEER_TLS_TELL = 1,   /* any certificate will do, and facts "cert.*" tell what it is
				(host/peer/cert-facts.h): send no secret with it */
	PEER_TLS_SYSTEM = 2, /* verified with the machine's own list */
};

struct peer_request {
	enum peer_kind kind;
	const char *url;	/* PEER_HTTP: http://, https:// ; PEER_FILE: none; else "host:port" */
	int fd;			/* already connected socket (root's unix sockets, vsock); -1: none */
	const char *body;	/* NULL: GET, else POST */
	const char *bearer;	/* Authorization: Bearer …; NULL: none */
	const char *content_type; /* of the body */
	const char *header;	/* one more, "Name: value", which may be a secret; NULL: none */
	const char *ca_pem;	/* trusted certificates; NULL with https: not verified */
	unsigned tls;		/* enum peer_tls */
	unsigned timeout_ms;
	size_t max_body;
	/* PEER_WORK, child: called once, with all such requests, for which it emits facts and ends
	 * with peer_work_end(). Libraries that it needs are loaded before. */
	void (*work)(const struct peer_request *requests, size_t n, int sock);
	/* Child: reads the reply, emits facts. NULL: only status and time are reported. */
	void (*digest)(const struct peer_reply *reply, struct peer_emit *emit);
};

/* A fact: "version" = "0.5.5". Keys repeat for lists. */
struct peer_fact {
	char *key;
	char *value;
};

enum peer_error {
	PEER_OK,
	PEER_UNREACHABLE, /* nobody listens, no route, no name */
	PEER_TIMEOUT,
	PEER_TLS,	/* no TLS there, or the certificate is not good */
	PEER_PROTOCOL,	/* something else speaks there, or it broke off */
	PEER_TOO_LARGE,
	PEER_INTERNAL,
};

struct peer_answer {
	enum peer_error error;
	char *text;	/* what was seen, when error is not PEER_OK */
	long status;	/* HTTP status */
	unsigned ms;
	struct peer_fact *facts;
	size_t n_facts;
};

/* Child: one fact; NUL bytes and control characters are replaced, length is bounded. */
void peer_fact(struct peer_emit *emit, const char *key, const char *value);
void peer_factf(struct peer_emit *emit, const char *key, const char *fmt, ...)
	_printf_(3, 4);

/* Asks all at once; takes as long as the slowest and never longer than its timeout plus a
 * moment. answers[i] belongs to requests[i]. 0 or -errno when no half could be started. */
int peer_ask(const struct peer_request *requests, size_t n, struct peer_answer *answers)
	_must_check_;
/* The same; meanwhile(arg) is called once in any case, when all are on their way. */
int peer_ask_while(const struct peer_request *requests, size_t n, struct peer_answer *answers,
		   void (*meanwhile)(void *arg), void *arg) _must_check_;
/* First value of a key, or NULL. */
const char *peer_get(const struct peer_answer *answer, const char *key);
void peer_answers_free(struct peer_answer *answers, size_t n);
