// SPDX-License-Identifier: Apache-2.0
/* What the network half makes of the components' answers. "bad" tells why one is unfit. */
#pragma once

#include "host/peer.h"

void digest_containers(const struct peer_reply *reply, struct peer_emit *emit);
void digest_processes(const struct peer_reply *reply, struct peer_emit *emit);
void digest_vmm(const struct peer_reply *reply, struct peer_emit *emit);
void digest_kms(const struct peer_reply *reply, struct peer_emit *emit);
