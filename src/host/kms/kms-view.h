// SPDX-License-Identifier: Apache-2.0
/* The KMS as it answers at its mapped port. */
#pragma once

#include "host/peer/peer.h"
#include "host/conf/settings.h"

enum kms_phase {
	KMS_SILENT,	/* nothing answers yet */
	KMS_ONBOARDING, /* plain HTTP: it has no keys */
	KMS_READY,	/* GetMeta over TLS */
	KMS_TROUBLED,	/* TLS, but no GetMeta: its chain or its auth API */
};

struct kms_view {
	enum kms_phase phase;
	char *detail; /* what was seen, never NULL */
	char *ca_pem, *contract, *chain, *app_auth; /* READY; NULL where it said nothing */
};

/* One look at the mapped port, both protocols at once. 0 or -errno. */
int kms_view(unsigned port, struct kms_view *ret) _must_check_;
/* The same as parts of a larger peer_ask(): both requests (the descriptors are the caller's),
 * and what their answers say. 0 or -errno. */
int kms_prepare_meta(unsigned port, struct peer_request *ret) _must_check_;
int kms_prepare_page(unsigned port, struct peer_request *ret) _must_check_;
void kms_view_of(const struct peer_answer *meta, const struct peer_answer *page,
		 struct kms_view *ret);
/* Does it show a certificate for `name` that `ca_pem` has issued? 0 yes, 1: *trouble tells
 * (the caller's), or -errno. */
int kms_check_certificate(unsigned port, const char *name, const char *ca_pem,
			  char **trouble) _must_check_;
/* Makes its keys, others each time. 0; 1: *trouble tells; or -errno. */
int kms_bootstrap(unsigned port, const char *name, char **trouble) _must_check_;
/* Ends the onboarding: it starts with its keys. 0; 1: *trouble tells; or -errno. */
int kms_finish(unsigned port, char **trouble) _must_check_;
/* The first difference between what it says and what the settings demand, the caller's;
 * NULL when there is none. */
char *kms_disobeys(const struct kms_view *view, const struct settings *s) _must_check_;

enum {
	KMS_WRONG = 1,	    /* *wrong, the caller's, says what it is not */
	KMS_UNVERIFIED = 2, /* no CA is on record to tell it by */
};
/* Is it (KMS_READY) the KMS that was verified, as the settings demand it? 0, one of these, or
 * -errno when the recorded CA cannot be read. */
int kms_verdict(const struct root *root, const struct settings *s, const struct kms_view *view,
		char **wrong) _must_check_;
void kms_view_free(struct kms_view *view);

/* In the network half. */
void kms_digest_meta(const struct peer_reply *reply, struct peer_emit *emit);
void kms_digest_page(const struct peer_reply *reply, struct peer_emit *emit);
/* The frozen app-compose.json: "local-key" and "secure-time" = "true", "false" or "unwritten". */
void kms_digest_frozen(const struct peer_reply *reply, struct peer_emit *emit);
void kms_digest_bootstrap(const struct peer_reply *reply, struct peer_emit *emit);
