// SPDX-License-Identifier: Apache-2.0
/* Docker's engine API over root's socket. */
#pragma once

#include "base/root.h"
#include "host/peer.h"

#define DOCKER_SOCKET "/run/docker.sock"

/* In the network half: container.N.name, .image, .state, .status, .ports (as docker writes
 * them: 127.0.0.1:3443->3443/tcp), or "bad". */
void docker_digest_containers(const struct peer_reply *reply, struct peer_emit *emit);

/* GET /_ping, GET /containers/json?all=1 on a connected socket, which the caller closes
 * after peer_ask(). 0 or -errno. */
int docker_ping(const struct root *root, struct peer_request *ret) _must_check_;
int docker_containers(const struct root *root, struct peer_request *ret) _must_check_;
