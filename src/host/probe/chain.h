// SPDX-License-Identifier: Apache-2.0
/*
 * The Ethereum endpoints of ETH_RPC_URLS. The first is measured into the KMS when it is
 * deployed; what a deployed KMS asks stays what it was then.
 */
#pragma once

#include "base/root.h"
#include "host/peer/peer.h"
#include "host/conf/settings.h"

enum { CHAIN_ENDPOINTS = 4 };

/*
 * Endpoint number `slot` (from 0), the caller's: the one of the deployed KMS, else the first of
 * the settings; then the settings' others in their order. NULL: there is none. Secret: it may
 * hold a key anywhere behind the host's name. *frozen: it is a deployed KMS's.
 */
char *chain_endpoint(const struct root *root, const struct settings *s, unsigned slot,
		     int *frozen) _must_check_;
/* What of a URL may be shown: "rpc.example.org", with its port where it is not the usual one;
 * the caller's. */
char *chain_shown(const char *url) _must_check_;
/* One batch of what the checks want to know; the caller's. */
char *chain_body(const struct settings *s) _must_check_;

/*
 * In the network half. "chain": its id; "time": of the newest block; "code.contract" and
 * "code.implementation": bytes of code there; "limited": it answers that it is asked too often.
 * Numbers are decimal.
 */
void chain_digest(const struct peer_reply *reply, struct peer_emit *emit);
