// SPDX-License-Identifier: Apache-2.0
/* What a half emits, as root reads it; without a half, so that what happens in it is seen. */
#pragma once

#include "fuzz.h"

#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"

static inline void facts_take(struct peer_answer *a, const struct peer_record *rec)
{
	/* Grows at powers of two, as peer_ask() does it. */
	if ((a->n_facts & (a->n_facts - 1)) == 0)
		a->facts = xrealloc(a->facts, (a->n_facts ? a->n_facts * 2 : 1) *
						      sizeof(*a->facts));
	a->facts[a->n_facts++] = (struct peer_fact){ xstrndup(rec->key, rec->key_len),
						     xstrndup(rec->value, rec->value_len) };
}

static inline void facts_read_back(const struct peer_emit *emit, struct peer_answer *a)
{
	for (size_t at = 0; at < emit->out.len;) {
		struct peer_record rec;
		ssize_t n = record_decode(emit->out.data + at, emit->out.len - at, &rec);

		require(n > 0);
		require(rec.type == RECORD_FACT && rec.index == emit->index);
		facts_take(a, &rec);
		at += (size_t)n;
	}
}
