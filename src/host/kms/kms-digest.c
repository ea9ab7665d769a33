// SPDX-License-Identifier: Apache-2.0
/* Runs in the network half: a KMS's answers to facts. "bad" tells why there are none. */
#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "host/peer/answer.h"
#include "host/json.h"
#include "host/kms/kms-view.h"
#include "host/lib/lib-crypto.h"

static int no_password(char *buf _unused_, int size _unused_, int writing _unused_,
		       void *arg _unused_)
{
	return -1; /* and never a prompt */
}

/* The certificate as one line of base64, if it is one and a CA's. */
static char *certificate(const char *pem)
{
	/* Loaded before the half was forked. */
	BIO *bio = libcrypto_load() == 0 ? sym_BIO_new_mem_buf(pem, -1) : NULL;
	X509 *x = bio ? sym_PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
	unsigned char *der = NULL;
	char *text = NULL;
	int n = x && sym_X509_check_ca(x) ? sym_i2d_X509(x, &der) : -1;

	if (n > 0) {
		text = xcalloc(1, (size_t)n * 4 / 3 + 5);
		sym_EVP_EncodeBlock((unsigned char *)text, der, n);
	}
	if (der)
		sym_CRYPTO_free(der, OPENSSL_FILE, OPENSSL_LINE);
	if (x)
		sym_X509_free(x);
	if (bio)
		sym_BIO_free(bio);
	return text;
}

static void fact_string(struct peer_emit *emit, const char *key, json_t *value)
{
	if (json_is_string(value))
		peer_fact(emit, key, json_string_value(value));
	else if (json_is_integer(value))
		peer_factf(emit, key, "%lld", (long long)json_integer_value(value));
}

void kms_digest_meta(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit);
	const char *pem = json_string_value(json_object_get(doc, "ca_cert"));
	_cleanup_free_ char *ca = pem ? certificate(pem) : NULL;

	if (doc && !ca)
		peer_fact(emit, "bad", "its answer has no CA certificate");
	if (ca)
		peer_fact(emit, "ca", ca);
	fact_string(emit, "contract", json_object_get(doc, "kms_contract_address"));
	fact_string(emit, "chain", json_object_get(doc, "chain_id"));
	fact_string(emit, "app_auth", json_object_get(doc, "app_auth_implementation"));
	json_decref(doc);
}

/* Every version's page offers to onboard; a KMS that has its keys has no page. */
void kms_digest_page(const struct peer_reply *reply, struct peer_emit *emit)
{
	if (reply->status == 200 && strcasestr(reply->body, "onboard"))
		peer_fact(emit, "onboarding", "yes");
	else
		peer_factf(emit, "bad", "HTTP %ld, not the onboarding page", reply->status);
}

static void fact_truth(struct peer_emit *emit, const char *key, const json_t *value)
{
	peer_fact(emit, key,
		  !value ? "unwritten" : json_is_false(value) ? "false" : "true");
}

void kms_digest_frozen(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, JSON_REJECT_DUPLICATES);

	if (json_is_object(doc)) {
		fact_truth(emit, "local-key", json_object_get(doc, "local_key_provider_enabled"));
		fact_truth(emit, "secure-time", json_object_get(doc, "secure_time"));
	} else {
		peer_fact(emit, "bad", "no JSON object");
	}
	json_decref(doc);
}

void kms_digest_bootstrap(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit);

	if (doc && !json_is_string(json_object_get(doc, "k256_pubkey")))
		peer_fact(emit, "bad", "its answer has no public key");
	json_decref(doc);
}
