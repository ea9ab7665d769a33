// SPDX-License-Identifier: Apache-2.0
/* CA and leaves: looked at first, made when they are missing, foreign or nearly over. */
#include "host/cert.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "host/cert-record.h"
#include "host/lib/lib-crypto.h"

#define PEM_MAX 65536
#define DAY 86400L
#define CA_DAYS 3650
/* What browsers and Apple's systems take at most. */
#define LEAF_DAYS 398
/* A guest's clock may be behind ours. */
#define BACKDATED 3600L
/* X.520 limits a common name to this. */
#define CN_MAX 64

struct pair {
	EVP_PKEY *key;
	X509 *crt;
};

static void pair_free(struct pair *p)
{
	sym_EVP_PKEY_free(p->key);
	sym_X509_free(p->crt);
	*p = (struct pair){ 0 };
}

#define _cleanup_pair_ _cleanup_(pair_free)

void cert_pair_free(struct cert_pair *pair)
{
	if (pair->key)
		explicit_bzero(pair->key, strlen(pair->key));
	free(pair->key);
	free(pair->crt);
	*pair = (struct cert_pair){ 0 };
}

/* --- PEM --- */

static int no_password(char *buf _unused_, int size _unused_, int write _unused_,
		       void *arg _unused_)
{
	return -1; /* and never a prompt */
}

/* Takes what is there; either half may stay NULL. */
static void pem_parse(const char *text, struct pair *p)
{
	BIO *bio;

	bio = sym_BIO_new_mem_buf(text, -1);
	if (bio && !p->key)
		p->key = sym_PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	sym_BIO_free(bio);
	bio = sym_BIO_new_mem_buf(text, -1);
	if (bio && !p->crt)
		p->crt = sym_PEM_read_bio_X509(bio, NULL, no_password, NULL);
	sym_BIO_free(bio);
	sym_ERR_clear_error();
}

static char *take_text(BIO *bio, int written)
{
	char *data, *text = NULL;
	long n = sym_BIO_ctrl(bio, BIO_CTRL_INFO, 0, &data);

	if (written && n > 0) {
		text = xstrndup(data, (size_t)n);
		explicit_bzero(data, (size_t)n);
	}
	sym_BIO_free(bio);
	return text;
}

static int pem_format(const struct pair *p, struct cert_pair *ret)
{
	BIO *key = sym_BIO_new(sym_BIO_s_mem()), *crt = sym_BIO_new(sym_BIO_s_mem());

	if (!key || !crt)
		out_of_memory();
	ret->key = take_text(key, sym_PEM_write_bio_PKCS8PrivateKey(key, p->key, NULL, NULL, 0,
								NULL, NULL));
	ret->crt = take_text(crt, sym_PEM_write_bio_X509(crt, p->crt));
	return ret->key && ret->crt ? 0 : -EIO;
}

/* 0 also when it is not there: *p stays as it was. */
static int load(const struct root *root, const char *path, struct pair *p)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = file_read(root, path, PEM_MAX, &text, &len);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	pem_parse(text, p);
	explicit_bzero(text, len);
	return 0;
}

/* A CA key that is there but cannot be read must not quietly become another CA. */
static int load_ca_key(const struct root *root, struct pair *ca)
{
	int r = load(root, CERT_CA_KEY, ca);

	if (r == 0 && !ca->key && root_exists(root, CERT_CA_KEY)) {
		log_error("%s%s holds no key; restore it, or move it away for a new CA",
			  root->path, CERT_CA_KEY);
		return -EBADMSG;
	}
	return r;
}

static int save(const struct root *root, const char *path, const char *text, mode_t mode)
{
	struct file_spec spec = {
		.data = text,
		.len = strlen(text),
		.mode = mode,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	int r = file_replace(root, path, &spec);

	return r < 0 ? r : 0;
}

/* --- making --- */

/* EVP_EC_gen(), which is a macro. */
static EVP_PKEY *new_key(void)
{
	return sym_EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

static int add_extension(X509 *crt, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	sym_X509V3_set_ctx(&ctx, issuer, crt, NULL, NULL, 0);
	ext = sym_X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && sym_X509_add_ext(crt, ext, -1);
	sym_X509_EXTENSION_free(ext);
	return ok;
}

/* 159 random bits: positive, and within the 20 octets of RFC 5280. */
static int set_serial(X509 *crt)
{
	BIGNUM *bn = sym_BN_new();
	int ok = bn && sym_BN_rand(bn, 159, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
		 sym_BN_to_ASN1_INTEGER(bn, sym_X509_get_serialNumber(crt));

	sym_BN_free(bn);
	return ok;
}

static int set_life(X509 *crt, int days)
{
	return sym_X509_gmtime_adj(sym_X509_getm_notBefore(crt), -BACKDATED) &&
	       sym_X509_gmtime_adj(sym_X509_getm_notAfter(crt), days * DAY - BACKDATED);
}

static int set_subject(X509 *crt, const char *cn)
{
	return sym_X509_NAME_add_entry_by_NID(sym_X509_get_subject_name(crt), NID_commonName,
					  MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
}

/* Everything but what makes it a CA or a leaf; NULL when OpenSSL refuses. */
static X509 *draft(EVP_PKEY *key, const char *cn, int days)
{
	X509 *crt = sym_X509_new();

	if (crt && sym_X509_set_version(crt, X509_VERSION_3) && set_serial(crt) &&
	    set_life(crt, days) && set_subject(crt, cn) && sym_X509_set_pubkey(crt, key))
		return crt;
	sym_X509_free(crt);
	return NULL;
}

static int fill_ca(X509 *crt, EVP_PKEY *key)
{
	return sym_X509_set_issuer_name(crt, sym_X509_get_subject_name(crt)) &&
	       add_extension(crt, crt, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       add_extension(crt, crt, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       add_extension(crt, crt, NID_subject_key_identifier, "hash") &&
	       sym_X509_sign(crt, key, sym_EVP_sha256());
}

static int fill_leaf(X509 *crt, const struct pair *ca, const char *san)
{
	return sym_X509_set_issuer_name(crt, sym_X509_get_subject_name(ca->crt)) &&
	       add_extension(crt, ca->crt, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(crt, ca->crt, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(crt, ca->crt, NID_ext_key_usage, "serverAuth") &&
	       add_extension(crt, ca->crt, NID_subject_alt_name, san) &&
	       add_extension(crt, ca->crt, NID_subject_key_identifier, "hash") &&
	       add_extension(crt, ca->crt, NID_authority_key_identifier, "keyid:always") &&
	       sym_X509_sign(crt, ca->key, sym_EVP_sha256());
}

static char *ca_name(const struct root *root)
{
	char host[HOST_NAME_MAX + 1] = "";
	_cleanup_free_ char *file = NULL;
	char *cn;

	if (!root_is_host(root) && file_read(root, "/etc/hostname", 4096, &file, NULL) == 0)
		strncpy(host, file, sizeof(host) - 1);
	else if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	host[strcspn(host, " \t\r\n")] = '\0';
	cn = xasprintf("dstack-host CA of %s", host[0] ? host : "localhost");
	if (strlen(cn) > CN_MAX)
		cn[CN_MAX] = '\0';
	return cn;
}

/* --- judging --- */

/* How much of its life is left? Seconds; negative: none. One that has not begun is whole: it
 * is the clock that is wrong (a boot before time synchronisation), and a certificate made by
 * that clock would be wrong once it is right. */
static long left_of(const X509 *crt, long *ret_life)
{
	int days, seconds;
	long left;

	*ret_life = 0;
	if (!sym_ASN1_TIME_diff(&days, &seconds, NULL, sym_X509_get0_notAfter(crt)))
		return -1;
	left = days * DAY + seconds;
	if (!sym_ASN1_TIME_diff(&days, &seconds, sym_X509_get0_notBefore(crt),
			    sym_X509_get0_notAfter(crt)))
		return -1;
	*ret_life = days * DAY + seconds;
	return left > *ret_life ? *ret_life : left;
}

static int matches(const struct pair *p)
{
	int ok = p->key && p->crt && sym_X509_check_private_key(p->crt, p->key) == 1;

	sym_ERR_clear_error();
	return ok;
}

/* Its leaves must not outlive it. */
static int ca_is_good(const struct pair *ca)
{
	long life;

	return matches(ca) && sym_X509_check_ca(ca->crt) == 1 &&
	       left_of(ca->crt, &life) > LEAF_DAYS * DAY;
}

static int has_names(X509 *crt, const char *san)
{
	int at = sym_X509_get_ext_by_NID(crt, NID_subject_alt_name, -1);
	X509_EXTENSION *want = sym_X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
	int same = at >= 0 && want &&
		   sym_ASN1_OCTET_STRING_cmp(sym_X509_EXTENSION_get_data(sym_X509_get_ext(crt, at)),
					 sym_X509_EXTENSION_get_data(want)) == 0;

	sym_X509_EXTENSION_free(want);
	return same;
}

static int leaf_is_good(const struct pair *leaf, const struct pair *ca, const char *san)
{
	EVP_PKEY *signer = ca->crt ? sym_X509_get0_pubkey(ca->crt) : NULL;
	long life, left;
	int signed_by_us;

	if (!matches(leaf) || !signer)
		return 0;
	signed_by_us = sym_X509_NAME_cmp(sym_X509_get_issuer_name(leaf->crt),
				     sym_X509_get_subject_name(ca->crt)) == 0 &&
		       sym_X509_verify(leaf->crt, signer) == 1;
	sym_ERR_clear_error();
	left = left_of(leaf->crt, &life);
	return signed_by_us && has_names(leaf->crt, san) && left > life / 3;
}

/* Of what is good now. */
static time_t good_until(const struct pair *leaf, const struct pair *ca)
{
	long life, of_ca = left_of(ca->crt, &life) - LEAF_DAYS * DAY;
	long of_leaf = left_of(leaf->crt, &life);

	of_leaf -= life / 3;
	return time(NULL) + (of_leaf < of_ca ? of_leaf : of_ca);
}

/* --- CA --- */

static int ca_save(const struct root *root, const struct pair *ca)
{
	_cleanup_cert_pair_ struct cert_pair pem = { 0 };
	int r = pem_format(ca, &pem);

	if (r == 0)
		r = root_mkdirs(root, "/var/lib/dstack", 0755);
	if (r == 0)
		r = root_mkdirs(root, CERT_CA_DIR, 0755);
	/* The key first: a certificate can be made again from it. */
	if (r == 0)
		r = save(root, CERT_CA_KEY, pem.key, 0600);
	return r == 0 ? save(root, CERT_CA_CRT, pem.crt, 0644) : r;
}

/* A key that is there stays: what it has signed, and whoever trusts it, stays with it. */
static int ca_make(const struct root *root, struct pair *ca)
{
	_cleanup_free_ char *cn = ca_name(root);

	if (ca->key)
		log_warning("the host CA gets a new certificate: %s%s", root->path,
			    CERT_CA_CRT);
	else
		ca->key = new_key();
	sym_X509_free(ca->crt);
	ca->crt = ca->key ? draft(ca->key, cn, CA_DAYS) : NULL;
	return ca->crt && fill_ca(ca->crt, ca->key) ? ca_save(root, ca) : -EIO;
}

/* *ret may lack its halves when there is none and none was to be made. */
static int ca_get(const struct root *root, int look_only, struct pair *ret)
{
	int r = load_ca_key(root, ret);

	if (r == 0)
		r = load(root, CERT_CA_CRT, ret);
	if (r < 0 || look_only || ca_is_good(ret))
		return r;
	return ca_make(root, ret);
}

/* --- leaves --- */

static int leaf_save(const struct root *root, const char *path, const struct cert_pair *pem)
{
	/* One file: whoever reads it never sees the key of one pair and the certificate of
	 * another. */
	_cleanup_free_ char *text = xasprintf("%s%s", pem->key, pem->crt);
	int r = root_mkdirs(root, CERT_LEAF_DIR, 0700);

	if (r == 0)
		r = save(root, path, text, 0600);
	explicit_bzero(text, strlen(text));
	return r;
}

static int leaf_make(const struct pair *ca, const char *name, const char *san,
		     struct pair *leaf)
{
	_cleanup_free_ char *cn = xasprintf("dstack-host %s", name);

	pair_free(leaf);
	leaf->key = new_key();
	leaf->crt = leaf->key ? draft(leaf->key, cn, LEAF_DAYS) : NULL;
	return leaf->crt && fill_leaf(leaf->crt, ca, san) ? 0 : -EIO;
}

static int look(const struct root *root, const char *name, const char *san, int look_only,
		struct cert_pair *ret)
{
	struct timespec begun = cert_look_begins();
	_cleanup_free_ char *path = xasprintf("%s/%s.pem", CERT_LEAF_DIR, name);
	_cleanup_pair_ struct pair ca = { 0 }, leaf = { 0 };
	int good, r = ca_get(root, look_only, &ca);

	if (r == 0)
		r = load(root, path, &leaf);
	if (r < 0)
		return r;
	good = ca_is_good(&ca) && leaf_is_good(&leaf, &ca, san);
	if (!good && look_only)
		return CERT_NONE;
	if (!good)
		r = leaf_make(&ca, name, san, &leaf);
	if (r == 0)
		r = pem_format(&leaf, ret);
	/* Also when it is the old one: a mode that somebody widened is narrowed again. */
	if (r == 0 && !look_only)
		r = leaf_save(root, path, ret);
	if (r == 0 && !look_only)
		cert_remember(root, name, san, good_until(&leaf, &ca), begun);
	if (r < 0)
		cert_pair_free(ret);
	return r;
}

int cert_leaf(const struct root *root, const char *name, const char *san, int look_only,
	      struct cert_pair *ret)
{
	int r;

	*ret = (struct cert_pair){ 0 };
	if (cert_recall(root, name, san, ret))
		return 0;
	r = libcrypto_load();
	return r < 0 ? r : look(root, name, san, look_only, ret);
}
