// SPDX-License-Identifier: Apache-2.0
/*
 * The host's own certificates: a CA that signs for this host's services, and their leaves.
 * The only user of OpenSSL's X.509 and PEM.
 */
#pragma once

#include "base/macro.h"
#include "base/root.h"

#define CERT_CA_DIR "/var/lib/dstack/ca"
#define CERT_CA_KEY CERT_CA_DIR "/ca.key"
#define CERT_CA_CRT CERT_CA_DIR "/ca.crt"
#define CERT_LEAF_DIR CERT_CA_DIR "/leaves"

/* Outcome of cert_leaf(): it was only to be looked at, and there is no good one. */
enum { CERT_NONE = 1 };

struct cert_pair {
	char *key; /* PEM */
	char *crt; /* PEM */
};

/*
 * The pair of the service `name`, valid for `san` ("DNS:localhost,IP:127.0.0.1", as OpenSSL
 * writes it). The one that is kept is given back while it is good; otherwise a new one is
 * made, and the CA with it when that is missing. With look_only nothing is made. Whoever may
 * make one holds the lock of base/lock.h. 0, CERT_NONE or -errno.
 */
int cert_leaf(const struct root *root, const char *name, const char *san, int look_only,
	      struct cert_pair *ret) _must_check_;
void cert_pair_free(struct cert_pair *pair);

#define _cleanup_cert_pair_ _cleanup_(cert_pair_free)
