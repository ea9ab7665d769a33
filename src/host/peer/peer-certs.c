// SPDX-License-Identifier: Apache-2.0
/*
 * In a network half: what certificate a server showed, and who vouches for it, as facts. The
 * time is left out of that: whoever reads them has a clock and says so in its own words.
 */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/lib/lib-crypto.h"
#include "host/lib/lib-curl.h"
#include "host/peer/peer-half.h"

#define SYSTEM_CERTS "/etc/ssl/certs"

enum { CERTS_MAX = 8, NAMES_MAX = 64, WORD_MAX = 300 };

struct served {
	X509 *crt[CERTS_MAX]; /* the leaf first */
	int n;
};

static int no_password(char *buf _unused_, int size _unused_, int writing _unused_,
		       void *arg _unused_)
{
	return -1;
}

static X509 *one_of(BIO *bio)
{
	return sym_PEM_read_bio_X509(bio, NULL, no_password, NULL);
}

static X509 *parse(const char *pem)
{
	BIO *bio = sym_BIO_new_mem_buf(pem, -1);
	X509 *crt = bio ? one_of(bio) : NULL;

	sym_BIO_free(bio);
	return crt;
}

static void collect(CURL *easy, struct served *ret)
{
	struct curl_certinfo *info = NULL;

	if (sym_curl_easy_getinfo(easy, CURLINFO_CERTINFO, &info) != CURLE_OK || !info)
		return;
	for (int i = 0; i < info->num_of_certs && ret->n < CERTS_MAX; i++)
		for (struct curl_slist *line = info->certinfo[i]; line; line = line->next) {
			X509 *crt = strncmp(line->data, "Cert:", 5) == 0 ?
					    parse(line->data + 5) :
					    NULL;

			if (!crt)
				continue;
			ret->crt[ret->n++] = crt;
			break;
		}
}

/* --- what it says --- */

static void name_fact(struct peer_emit *emit, const char *key, const X509_NAME *name)
{
	BIO *bio = sym_BIO_new(sym_BIO_s_mem());
	_cleanup_free_ char *text = NULL;
	char *data;
	long n;

	if (!bio)
		out_of_memory();
	sym_X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
	n = sym_BIO_ctrl(bio, BIO_CTRL_INFO, 0, &data);
	text = xstrndup(n > 0 ? data : "", n > 0 ? (size_t)(n < WORD_MAX ? n : WORD_MAX) : 0);
	peer_fact(emit, key, text);
	sym_BIO_free(bio);
}

static void time_fact(struct peer_emit *emit, const char *key, const ASN1_TIME *at)
{
	struct tm tm;

	if (sym_ASN1_TIME_to_tm(at, &tm))
		peer_factf(emit, key, "%lld", (long long)timegm(&tm));
}

static void alt_name(struct peer_emit *emit, const GENERAL_NAME *name)
{
	const unsigned char *d = name->d.ia5->data;
	int n = name->d.ia5->length;

	if (name->type == GEN_DNS && n > 0 && n < WORD_MAX)
		peer_factf(emit, "cert.name", "DNS:%.*s", n, (const char *)d);
	else if (name->type == GEN_IPADD && n == 4)
		peer_factf(emit, "cert.name", "IP:%u.%u.%u.%u", d[0], d[1], d[2], d[3]);
	else if (name->type == GEN_IPADD && n == 16) {
		char text[40] = "";

		for (int i = 0; i < 16; i += 2)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%x",
				 i ? ":" : "", d[i] << 8 | d[i + 1]);
		peer_factf(emit, "cert.name", "IP:%s", text);
	}
}

static void names_facts(struct peer_emit *emit, X509 *crt)
{
	GENERAL_NAMES *names = sym_X509_get_ext_d2i(crt, NID_subject_alt_name, NULL, NULL);
	OPENSSL_STACK *all = (OPENSSL_STACK *)names;
	int n = names ? sym_OPENSSL_sk_num(all) : 0;

	for (int i = 0; i < n && i < NAMES_MAX; i++)
		alt_name(emit, sym_OPENSSL_sk_value(all, i));
	sym_GENERAL_NAMES_free(names);
}

static void fingerprint_fact(struct peer_emit *emit, const X509 *crt)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
	unsigned n = 0;

	if (!sym_X509_digest(crt, sym_EVP_sha256(), md, &n))
		return;
	for (unsigned i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", md[i]);
	peer_fact(emit, "cert.sha256", hex);
}

/* --- who vouches for it --- */

static void trust_fact(struct peer_emit *emit, const char *key, X509_STORE *store,
		       const struct served *s)
{
	OPENSSL_STACK *others = sym_OPENSSL_sk_new_null();
	X509_STORE_CTX *ctx = sym_X509_STORE_CTX_new();

	if (!others || !ctx)
		out_of_memory();
	for (int i = 1; i < s->n; i++)
		sym_OPENSSL_sk_push(others, s->crt[i]);
	if (sym_X509_STORE_CTX_init(ctx, store, s->crt[0], (STACK_OF(X509) *)others)) {
		sym_X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME);
		peer_fact(emit, key,
			  sym_X509_verify_cert(ctx) == 1 ?
				  "ok" :
				  sym_X509_verify_cert_error_string(
					  sym_X509_STORE_CTX_get_error(ctx)));
	}
	sym_X509_STORE_CTX_free(ctx);
	sym_OPENSSL_sk_free(others);
}

static X509_STORE *store_of_pem(const char *pem)
{
	X509_STORE *store = sym_X509_STORE_new();
	BIO *bio = sym_BIO_new_mem_buf(pem, -1);
	X509 *ca;

	if (!store || !bio)
		out_of_memory();
	while ((ca = one_of(bio))) {
		sym_X509_STORE_add_cert(store, ca);
		sym_X509_free(ca);
	}
	sym_BIO_free(bio);
	return store;
}

static void trust_facts(struct peer_emit *emit, const char *ca_pem, const struct served *s)
{
	X509_STORE *store = sym_X509_STORE_new();

	if (!store)
		out_of_memory();
	/* By hash: only what is asked for is read. */
	sym_X509_STORE_load_path(store, SYSTEM_CERTS);
	trust_fact(emit, "cert.system", store, s);
	sym_X509_STORE_free(store);
	if (!ca_pem)
		return;
	store = store_of_pem(ca_pem);
	trust_fact(emit, "cert.ca", store, s);
	sym_X509_STORE_free(store);
}

static int is_for(X509 *crt, const char *host)
{
	if (!check_ip(host))
		return sym_X509_check_ip_asc(crt, host, 0) == 1;
	return sym_X509_check_host(crt, host, strlen(host), 0, NULL) == 1;
}

void peer_certs(void *easy, const struct peer_request *q, struct peer_emit *emit)
{
	struct served s = { .n = 0 };
	struct url u;

	/* Loaded before the half was forked. */
	if (libcrypto_load() < 0)
		return;
	collect(easy, &s);
	if (s.n) {
		name_fact(emit, "cert.subject", sym_X509_get_subject_name(s.crt[0]));
		name_fact(emit, "cert.issuer", sym_X509_get_issuer_name(s.crt[0]));
		names_facts(emit, s.crt[0]);
		time_fact(emit, "cert.from", sym_X509_get0_notBefore(s.crt[0]));
		time_fact(emit, "cert.until", sym_X509_get0_notAfter(s.crt[0]));
		fingerprint_fact(emit, s.crt[0]);
		peer_factf(emit, "cert.count", "%d", s.n);
		peer_fact(emit, "cert.host",
			  !parse_url(q->url, &u) && is_for(s.crt[0], u.host) ? "ok" : "no");
		trust_facts(emit, q->ca_pem, &s);
	}
	for (int i = 0; i < s.n; i++)
		sym_X509_free(s.crt[i]);
	sym_ERR_clear_error();
}
