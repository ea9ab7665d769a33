// SPDX-License-Identifier: Apache-2.0
/* What a network half tells, read without one. */
#pragma once

#include "test.h"

#include "base/alloc.h"
#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"

typedef void digest(const struct peer_reply *reply, struct peer_emit *emit);

/* Its facts as root gets them, to be freed with peer_answers_free(); `emit` is used up. */
static inline void facts_take(struct peer_emit *emit, struct peer_answer *ret)
{
	for (size_t at = 0; at < emit->out.len;) {
		struct peer_record rec;
		ssize_t n = record_decode(emit->out.data + at, emit->out.len - at, &rec);

		assert_true(n > 0);
		ret->facts = xrealloc(ret->facts, (ret->n_facts + 1) * sizeof(*ret->facts));
		ret->facts[ret->n_facts++] = (struct peer_fact){
			xstrndup(rec.key, rec.key_len), xstrndup(rec.value, rec.value_len)
		};
		at += (size_t)n;
	}
	sb_free(&emit->out);
}

/* "key=value;" of each; the caller's. */
static inline char *facts_text(struct peer_emit *emit)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct peer_answer a = { 0 };

	facts_take(emit, &a);
	for (size_t i = 0; i < a.n_facts; i++)
		sb_addf(&out, "%s=%s;", a.facts[i].key, a.facts[i].value);
	peer_answers_free(&a, 1);
	return sb_steal(&out);
}
