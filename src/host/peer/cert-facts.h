// SPDX-License-Identifier: Apache-2.0
/* What a network half told of a certificate (peer-certs.c), for who judges it. */
#pragma once

#include <stdint.h>

#include "host/peer/peer.h"

/* Every certificate of this host is renewed long before: with fewer days left it was not. */
enum { CERT_SOON_DAYS = 21 };

struct cert_facts {
	int seen;	    /* there was a handshake */
	int64_t from, until; /* seconds since 1970; 0 when it does not say */
	int host;	    /* it is for the name that was asked */
	const char *ca;	    /* "ok" or why not, by the CA that was given; NULL: none was */
	const char *system; /* the same by the machine's own list */
	const char *subject, *issuer, *sha256;
};

/* What it points to is the answer's. */
void cert_facts_of(const struct peer_answer *answer, struct cert_facts *ret);
/* Of `ca` and `system`: trusted by it? */
int cert_is_ok(const char *trust);
/* Whole days until its end, negative after it. */
long cert_days_left(const struct cert_facts *cert, uint64_t now_us);
/* "DNS:a, IP:b", the caller's. */
char *cert_names(const struct peer_answer *answer) _must_check_;
