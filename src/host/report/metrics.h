// SPDX-License-Identifier: Apache-2.0
/*
 * This host as OpenMetrics, for node exporter's textfile directory. It is written every minute,
 * but what asks Intel, the chain, or the KMS for GetMeta (which asks the chain) is asked every
 * five minutes at most and never twice at once: asking every minute is how an endpoint's limit is
 * used up. In between the last answers are judged again.
 */
#pragma once

#include <stdint.h>

#include "base/strbuf.h"
#include "host/report/looked.h"

#define METRICS_STATE "/run/dstack/probes.state"
#define METRICS_LOCK "/run/dstack/.probes.lock"

enum { METRICS_SLOW_SECONDS = 300 };

/* A probe that is asked seldom, by a name that stays. */
struct slow_probe {
	enum probe_id id;
	const char *name;
};

extern const struct slow_probe slow_probes[];
extern const size_t n_slow_probes;
uint64_t slow_mask(void);

/* The last answers of those (metrics-state.c). */
struct slow_state {
	uint64_t tried_s;    /* CLOCK_BOOTTIME, when they were last asked; 0 never */
	uint64_t answered_s; /* when the answers came; 0: there are none */
	char settings[65];   /* what the questions were made from */
	struct probe_result probe[PROBE_COUNT];
};

/* What cannot be trusted (not ours alone to write, not understood) is as if there were none. */
void slow_state_load(const struct root *root, struct slow_state *ret);
/* 0 or -errno. */
int slow_state_save(const struct root *root, const struct slow_state *state) _must_check_;
void slow_state_free(struct slow_state *state);
/* The text of it, and back; -EBADMSG. */
void slow_state_print(const struct slow_state *state, struct strbuf *out);
int slow_state_parse(const char *text, struct slow_state *ret) _must_check_;

/* Looks at everything; the slow ones by the rule above. *age_s: of their answers, -1: none. */
int metrics_look(const struct root *root, struct looked *ret, int64_t *age_s) _must_check_;
/* The text, with its "# EOF". */
void metrics_text(const struct looked *l, int64_t age_s, struct strbuf *out);
/* A label's value, escaped, in its quotes. */
void metrics_label(struct strbuf *out, const char *value);
