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
};

struct peer_request {
	enum peer_kind kind;
	const char *url;	/* PEER_HTTP: http://, https:// ; else "host:port" */
	int fd;			/* already connected socket (root's unix sockets, vsock); -1: none */
	const char *body;	/* NULL: GET, else POST */
	const char *bearer;	/* Authorization: Bearer …; NULL: none */
	const char *content_type; /* of the body */
	const char *ca_pem;	/* trusted certificates; NULL with https: not verified */
	unsigned timeout_ms;
	size_t max_body;
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
/* First value of a key, or NULL. */
const char *peer_get(const struct peer_answer *answer, const char *key);
void peer_answers_free(struct peer_answer *answers, size_t n);
