// SPDX-License-Identifier: Apache-2.0
/* A result against the registers in a TD's quote, and the events in its log. */
#pragma once

#include <jansson.h>

#include "base/root.h"
#include "base/strbuf.h"
#include "host/measure/measure-run.h"

enum { QUOTE_EVENTS_MAX = 64 }; /* of one register */

struct measure_quote {
	char *registers[MEASURE_REGISTERS]; /* digests in hex */
	/* Of RTMR0 to RTMR2, in their order; names are the guest's. */
	struct {
		char *digests[QUOTE_EVENTS_MAX];
		char *names[QUOTE_EVENTS_MAX];
		size_t n;
	} log[MEASURE_REGISTERS];
	int has_log;
};

/* JSON with "quote" (hex, TDX quote of version 4 or 5) and "eventlog" or "event_log" (a list, its
 * text, or that in hex), as the KMS's Bootstrap and the guest agent give it. 0 or -EBADMSG with
 * the reason. */
int measure_quote_load(const struct root *root, const char *path, struct measure_quote *ret,
		       char **trouble) _must_check_;
/* In the half, and what it told, here. */
void measure_digest_quote(const struct peer_reply *reply, struct peer_emit *emit);
int measure_quote_take(const struct peer_answer *answer, struct measure_quote *ret) _must_check_;
void measure_quote_free(struct measure_quote *quote);

struct measure_verdict {
	int equal[MEASURE_REGISTERS];
	int all_equal;
	/* Do the events give the registers? 1 also where there is no log. */
	int log_fits[MEASURE_REGISTERS];
	/* The first event that differs; -1: none is known. */
	int event[MEASURE_REGISTERS];
	const char *found[MEASURE_REGISTERS]; /* its digest there, NULL: it is not there */
};

void measure_verify(const struct measure_result *result, const struct measure_quote *quote,
		    struct measure_verdict *ret);
void measure_print_verdict(struct strbuf *out, const char *what, const struct measure_result *r,
			   const struct measure_verdict *v);
json_t *measure_verdict_json(const char *what, const struct measure_result *r,
			     const struct measure_verdict *v) _must_check_;
