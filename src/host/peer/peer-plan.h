// SPDX-License-Identifier: Apache-2.0
/* Which requests may share a network half. */
#pragma once

#include <stddef.h>

#include "host/peer/peer.h"

/* Requests in the order of the halves: half i has those from from[i] on, up to from[i + 1]. */
struct peer_plan {
	struct peer_request *requests;
	size_t *order; /* of each: its number in what was planned */
	size_t n;
	size_t *from;
	size_t n_halves;
};

void peer_plan(const struct peer_request *requests, size_t n, struct peer_plan *ret);
void peer_plan_free(struct peer_plan *plan);
