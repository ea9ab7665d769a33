// SPDX-License-Identifier: Apache-2.0
/*
 * One question to each component, in its own protocol. Root's sockets are connected here,
 * everything that comes back over them is read by the network half.
 */
#pragma once

#include "base/root.h"
#include "host/peer.h"
#include "host/settings.h"

enum probe_id {
	PROBE_DOCKER,	    /* /_ping */
	PROBE_CONTAINERS,   /* "container" = "NAME STATE STATUS", ours only */
	PROBE_PCCS,
	PROBE_QGS,
	PROBE_KEY_PROVIDER,
	PROBE_SUPERVISOR,   /* /ping */
	PROBE_PROCESSES,    /* "process" = "PID KIND ID NAME" of what it runs */
	PROBE_VMM,	    /* facts of vmm_list() */
	PROBE_FRONT,	    /* without a token */
	PROBE_REGISTRY,
	PROBE_KMS,	    /* with the next, what kms_view_of() takes */
	PROBE_KMS_PAGE,
	PROBE_COUNT,
};

#define PROBE(id) (1u << (id))
#define PROBE_ALL (PROBE(PROBE_COUNT) - 1)

struct probe_result {
	int asked;
	int error; /* -errno when its socket could not be connected */
	struct peer_answer answer;
};

/* Asks those of `mask` all at once, as long as the slowest takes. 0 or -errno when the
 * network half could not be started (then none was asked). */
int probes_ask(const struct root *root, const struct settings *s, unsigned mask,
	       struct probe_result results[PROBE_COUNT]) _must_check_;
void probes_free(struct probe_result results[PROBE_COUNT]);

/* Was there an answer in the right protocol, with this HTTP status (0: any)? Otherwise
 * what there was instead, the caller's. */
int probe_answered(const struct probe_result *result, long status, char **trouble);
/* Not allowed to ask? */
int probe_denied(const struct probe_result *result);
