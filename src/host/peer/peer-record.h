// SPDX-License-Identifier: Apache-2.0
/*
 * What goes over the socketpair between the halves. The network half writes it, root reads
 * it: everything is bounded, and a record that is not exactly right ends the conversation.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/strbuf.h"

enum {
	PEER_KEY_MAX = 63,
	PEER_VALUE_MAX = 16383,
	PEER_TEXT_MAX = 511,
	PEER_STREAM_MAX = 16 << 20, /* all records of one half */
};

enum record_type {
	RECORD_READY = 1, /* privileges are gone (error 0), or why not */
	RECORD_FACT = 2,
	RECORD_DONE = 3, /* the last of one request */
};

struct peer_record {
	enum record_type type;
	unsigned index; /* of the request */
	/* RECORD_FACT; not terminated, they point into the data */
	const char *key, *value;
	size_t key_len, value_len;
	/* RECORD_READY: an errno; RECORD_DONE: enum peer_error, HTTP status, time, text */
	int error;
	long status;
	unsigned ms;
	const char *text;
	size_t text_len;
};

void record_add_ready(struct strbuf *out, int error);
/* Unprintable characters become blanks or question marks; what is too long is cut. */
void record_add_fact(struct strbuf *out, unsigned index, const char *key, const char *value);
void record_add_done(struct strbuf *out, const struct peer_record *done);

/* The first record of the data: its length in bytes, 0 when more is needed, or -EBADMSG. */
ssize_t record_decode(const char *data, size_t len, struct peer_record *ret) _must_check_;
