// SPDX-License-Identifier: Apache-2.0
/* Runs in a half: what a guest image's files say beyond what `status` wants to know. */
#pragma once

#include "host/peer/peer.h"

/* sha256sum.txt: "sum" = "HASH NAME" of each line; a name is of that directory. */
void image_digest_sums(const struct peer_reply *reply, struct peer_emit *emit);
/* metadata.json: "shared_ro" = "yes". */
void image_digest_share(const struct peer_reply *reply, struct peer_emit *emit);
