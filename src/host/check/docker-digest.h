// SPDX-License-Identifier: Apache-2.0
/* Runs in a half: where Docker keeps what it has. */
#pragma once

#include "base/root.h"
#include "host/peer/peer.h"

#define DOCKER_CONF "/etc/docker/daemon.json"

/* daemon.json: "root", where it says that. */
void docker_digest_root(const struct peer_reply *reply, struct peer_emit *emit);
