// SPDX-License-Identifier: Apache-2.0
/* What the network half makes of what Docker and the supervisor answer. */
#pragma once

#include "host/peer/peer.h"

void digest_containers(const struct peer_reply *reply, struct peer_emit *emit);
void digest_processes(const struct peer_reply *reply, struct peer_emit *emit);
void digest_rootcacrl(const struct peer_reply *reply, struct peer_emit *emit);
/* "image", "id", "restart", "restarts", "pid", "started", "privileged"; "mount" = "TO TYPE FROM" */
void digest_inspect(const struct peer_reply *reply, struct peer_emit *emit);
/* "id", and as digest_inspect() does "simulated" where its label says so */
void digest_image(const struct peer_reply *reply, struct peer_emit *emit);
