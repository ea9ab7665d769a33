// SPDX-License-Identifier: Apache-2.0
/* Connected sockets, for those that only root may open. */
#pragma once

#include "macro.h"
#include "parse.h"
#include "root.h"

/* A stream socket connected to `path` below root. A descriptor or -errno; never waits
 * (a full queue of the listener is -EAGAIN). */
int sock_unix(const struct root *root, const char *path) _must_check_;
/* Waits a second at most. */
int sock_vsock(const struct vsock_addr *to) _must_check_;
/* Never waits: the connection may still be on its way, and what is sent or read on it waits
 * for that. "Any" addresses stand for this machine. */
int sock_tcp_start(const struct hostport *to) _must_check_;
/* Waits `ms` at most until it is there. */
int sock_tcp(const struct hostport *to, unsigned ms) _must_check_;
/* The address at which this machine reaches a listener on `host`. */
const char *sock_reachable(const char *host);
