// SPDX-License-Identifier: Apache-2.0
/* What the daemons' answers have in common: JSON, and the ways to say no. */
#pragma once

#include <jansson.h>

#include "host/peer/peer.h"

/* In the network half: the document (`null` is one), or NULL after the fact "bad" has told why
 * it is not what was asked for. */
json_t *answer_json(const struct peer_reply *reply, struct peer_emit *emit) _must_check_;

/* Why it is not an answer with this HTTP status (0: any), the caller's; NULL when it is. */
char *answer_trouble(const struct peer_answer *answer, long status) _must_check_;
