// SPDX-License-Identifier: Apache-2.0
/* Certificates: made once, kept while good, replaced when not, never half of a pair. */
#include "test.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "host/cert-record.h"

#define NAMES "DNS:localhost,IP:127.0.0.1,IP:::1,IP:10.0.2.2"
#define LEAF CERT_LEAF_DIR "/pccs.pem"
#define RECORD CERT_LEAF_DIR "/pccs.good"

/* Whether a good pair also has its record before a test does something to it. */
static int with_record;

static X509 *crt_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *crt = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(crt);
	return crt;
}

static EVP_PKEY *key_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(key);
	return key;
}

static mode_t mode_of(const struct fixture *f, const char *path)
{
	char full[512];
	struct stat st;

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(lstat(full, &st), 0);
	return st.st_mode & 07777;
}

static int recalls(const struct fixture *f, const char *san)
{
	_cleanup_cert_pair_ struct cert_pair pair = { 0 };

	return cert_recall(&f->root, "pccs", san, &pair);
}

/* Until the clock of the file system has gone on and the pair was looked at once more. */
static void make_record(const struct fixture *f, const char *san)
{
	time_t end = time(NULL) + 20;

	while (!recalls(f, san)) {
		_cleanup_cert_pair_ struct cert_pair pair = { 0 };

		assert_true(time(NULL) < end);
		assert_int_equal(cert_leaf(&f->root, "pccs", san, 0, &pair), 0);
	}
}

/* The certificate issued now for `san`; the caller frees. */
static char *issue(const struct fixture *f, const char *san)
{
	_cleanup_cert_pair_ struct cert_pair pair = { 0 };
	X509 *crt;
	EVP_PKEY *key;

	assert_int_equal(cert_leaf(&f->root, "pccs", san, 0, &pair), 0);
	crt = crt_of(pair.crt);
	key = key_of(pair.key);
	assert_int_equal(X509_check_private_key(crt, key), 1);
	X509_free(crt);
	EVP_PKEY_free(key);
	if (with_record)
		make_record(f, san);
	return steal_ptr(pair.crt);
}

static void assert_same(const struct fixture *f, const char *san, const char *before, int same)
{
	_cleanup_free_ char *after = issue(f, san);

	if ((strcmp(before, after) == 0) != same)
		fail_msg("%s", same ? "replaced without need" : "kept");
}

/* Verified as a client does it: chain, purpose, name. */
static void leaf_is_trusted_by_name(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *pem = issue(f, NAMES);
	X509 *crt = crt_of(pem), *ca = crt_of(get(f, CERT_CA_CRT));
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int days, seconds;

	assert_int_equal(X509_STORE_add_cert(store, ca), 1);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, crt, NULL), 1);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
	assert_int_equal(X509_verify_cert(ctx), 1);
	assert_int_equal(X509_check_host(crt, "localhost", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(crt, "example.org", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ip_asc(crt, "127.0.0.1", 0), 1);
	assert_int_equal(X509_check_ip_asc(crt, "::1", 0), 1);
	assert_int_equal(X509_check_ip_asc(crt, "10.0.2.2", 0), 1);
	assert_int_equal(X509_check_ca(crt), 0);
	assert_int_equal(X509_check_ca(ca), 1);
	assert_int_equal(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(crt),
					X509_get0_notAfter(crt)), 1);
	assert_int_equal(days, 398);
	assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(ca)), 1);
	assert_in_range(days, 3648, 3650);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(crt);
	X509_free(ca);
}

static void modes_and_the_name_of_the_host(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *pem = NULL;
	char cn[128];
	X509 *ca;

	/* 64 characters are what a common name may have: cut, not refused */
	put_text(f, "/etc/hostname",
		 "a-very-long-name-of-a-host.with-a-long-domain.example.org.and.more\n");
	pem = issue(f, NAMES);
	assert_int_equal(mode_of(f, CERT_CA_KEY), 0600);
	assert_int_equal(mode_of(f, CERT_CA_CRT), 0644);
	assert_int_equal(mode_of(f, LEAF), 0600);
	assert_int_equal(mode_of(f, CERT_LEAF_DIR), 0700);
	ca = crt_of(get(f, CERT_CA_CRT));
	X509_NAME_get_text_by_NID(X509_get_subject_name(ca), NID_commonName, cn, sizeof(cn));
	assert_string_equal(cn,
			    "dstack-host CA of a-very-long-name-of-a-host.with-a-long-domain.");
	X509_free(ca);
}

static void good_pair_is_kept_and_its_mode_restored(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);
	char full[512];

	assert_same(f, NAMES, first, 1);
	snprintf(full, sizeof(full), "%s%s", f->dir, LEAF);
	assert_int_equal(chmod(full, 0644), 0);
	assert_same(f, NAMES, first, 1);
	assert_int_equal(mode_of(f, LEAF), 0600);
}

static void other_names_make_a_new_one(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);

	assert_same(f, "DNS:localhost,IP:127.0.0.1", first, 0);
}

static void damage_makes_a_new_one(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);
	_cleanup_cert_pair_ struct cert_pair other = { 0 };
	_cleanup_free_ char *mixed = NULL;

	/* a foreign key with our certificate */
	assert_int_equal(cert_leaf(&f->root, "other", NAMES, 0, &other), 0);
	assert_true(asprintf(&mixed, "%s%s", other.key, first) > 0);
	put_text(f, LEAF, mixed);
	assert_same(f, NAMES, first, 0);
	put_text(f, LEAF, "");
	assert_same(f, NAMES, first, 0);
	put_text(f, LEAF, "-----BEGIN CERTIFICATE-----\nAAAA\n");
	assert_same(f, NAMES, first, 0);
}

static void foreign_ca_makes_a_new_one(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);
	char full[512];

	snprintf(full, sizeof(full), "%s%s", f->dir, CERT_CA_KEY);
	assert_int_equal(unlink(full), 0);
	/* same name, another key: only the signature tells them apart */
	assert_same(f, NAMES, first, 0);
	assert_non_null(get(f, CERT_CA_KEY));
}

static void lost_ca_certificate_is_made_from_its_key(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);
	_cleanup_free_ char *key = strdup(get(f, CERT_CA_KEY));
	char full[512];

	snprintf(full, sizeof(full), "%s%s", f->dir, CERT_CA_CRT);
	assert_int_equal(unlink(full), 0);
	assert_same(f, NAMES, first, 1);
	assert_string_equal(get(f, CERT_CA_KEY), key);
	assert_non_null(get(f, CERT_CA_CRT));
}

/* Signs a pair again with another span of life, in days from now. */
static void give_life(const struct fixture *f, const char *path, const char *key_path,
		      const char *signer_path, int from, int to)
{
	X509 *crt = crt_of(get(f, path));
	EVP_PKEY *signer = key_of(get(f, signer_path));
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long n;

	X509_gmtime_adj(X509_getm_notBefore(crt), from * 86400L);
	X509_gmtime_adj(X509_getm_notAfter(crt), to * 86400L);
	assert_true(X509_sign(crt, signer, EVP_sha256()) > 0);
	if (key_path) {
		EVP_PKEY *key = key_of(get(f, key_path));

		assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL,
							       NULL), 1);
		EVP_PKEY_free(key);
	}
	assert_int_equal(PEM_write_bio_X509(bio, crt), 1);
	n = BIO_get_mem_data(bio, &data);
	put(f, path, data, (size_t)n);
	BIO_free(bio);
	X509_free(crt);
	EVP_PKEY_free(signer);
}

static void renewed_when_a_third_is_left(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ _unused_ char *first = issue(f, NAMES);
	_cleanup_free_ char *old = NULL, *older = NULL;

	give_life(f, LEAF, LEAF, CERT_CA_KEY, -260, 138);
	old = strdup(strstr(get(f, LEAF), "-----BEGIN CERT"));
	assert_same(f, NAMES, old, 1);
	give_life(f, LEAF, LEAF, CERT_CA_KEY, -270, 128);
	older = strdup(strstr(get(f, LEAF), "-----BEGIN CERT"));
	assert_same(f, NAMES, older, 0);
}

/* It is the clock that is wrong: one made by it would be wrong once it is right. */
static void one_from_the_future_is_kept(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ _unused_ char *first = issue(f, NAMES);
	_cleanup_free_ char *later = NULL;

	give_life(f, LEAF, LEAF, CERT_CA_KEY, 2, 400);
	later = strdup(strstr(get(f, LEAF), "-----BEGIN CERT"));
	assert_same(f, NAMES, later, 1);
}

static void damaged_ca_key_is_not_replaced(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ _unused_ char *first = issue(f, NAMES);
	struct cert_pair pair = { 0 };

	put_text(f, CERT_CA_KEY, "");
	put_text(f, LEAF, "");
	assert_true(cert_leaf(&f->root, "pccs", NAMES, 0, &pair) < 0);
	assert_string_equal(get(f, CERT_CA_KEY), "");
}

static void old_ca_is_renewed_with_its_key(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);
	_cleanup_free_ char *key = strdup(get(f, CERT_CA_KEY)), *crt = NULL;

	give_life(f, CERT_CA_CRT, NULL, CERT_CA_KEY, -3600, 50);
	crt = strdup(get(f, CERT_CA_CRT));
	assert_same(f, NAMES, first, 1);
	assert_string_equal(get(f, CERT_CA_KEY), key);
	assert_string_not_equal(get(f, CERT_CA_CRT), crt);
}

static void looking_makes_nothing(void **state)
{
	struct fixture *f = *state;
	_cleanup_cert_pair_ struct cert_pair pair = { 0 };
	_cleanup_free_ char *made = NULL;

	assert_int_equal(cert_leaf(&f->root, "pccs", NAMES, 1, &pair), CERT_NONE);
	assert_null(pair.key);
	assert_null(get(f, CERT_CA_KEY));
	assert_false(root_exists(&f->root, "/var"));
	made = issue(f, NAMES);
	assert_int_equal(cert_leaf(&f->root, "pccs", NAMES, 1, &pair), 0);
	assert_string_equal(pair.crt, made);
	cert_pair_free(&pair);
	assert_int_equal(cert_leaf(&f->root, "pccs", "DNS:other", 1, &pair), CERT_NONE);
}

static void a_record_gives_back_the_same_pair(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);
	_cleanup_cert_pair_ struct cert_pair known = { 0 };
	_cleanup_free_ char *text = NULL;

	make_record(f, NAMES);
	assert_int_equal(mode_of(f, RECORD), 0600);
	assert_int_equal(cert_recall(&f->root, "pccs", NAMES, &known), 1);
	assert_string_equal(known.crt, first);
	assert_true(asprintf(&text, "%s%s", known.key, known.crt) > 0);
	assert_string_equal(get(f, LEAF), text);
}

/* The same bytes and the times that can be set: only the ctime tells. */
static void a_record_does_not_outlive_a_write(void **state)
{
	static const char *const files[] = { CERT_CA_KEY, CERT_CA_CRT, LEAF };
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *text = NULL;
		struct timespec times[2];
		char full[512];
		struct stat st;

		make_record(f, NAMES);
		snprintf(full, sizeof(full), "%s%s", f->dir, files[i]);
		assert_int_equal(stat(full, &st), 0);
		text = strdup(get(f, files[i]));
		put_text(f, files[i], text);
		times[0] = st.st_atim;
		times[1] = st.st_mtim;
		assert_int_equal(utimensat(AT_FDCWD, full, times, 0), 0);
		assert_int_equal(recalls(f, NAMES), 0);
		assert_same(f, NAMES, first, 1);
	}
}

static void a_record_is_for_its_names_and_its_time(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ _unused_ char *first = issue(f, NAMES);
	_cleanup_free_ char *record = NULL, *past = NULL;
	const char *until, *end;

	make_record(f, NAMES);
	assert_int_equal(recalls(f, "DNS:localhost"), 0);
	assert_int_equal(recalls(f, "DNS:localhost\nuntil 9999999999"), 0);
	record = strdup(get(f, RECORD));
	until = strstr(record, "\nuntil ") + strlen("\nuntil ");
	end = strchr(until, '\n');
	/* a third of 398 days before its end, less the moment since it was made */
	assert_in_range(strtol(until, NULL, 10) - time(NULL), 265 * 86400L, 266 * 86400L);
	assert_true(asprintf(&past, "%.*s%ld%s", (int)(until - record), record,
			     (long)time(NULL) - 1, end) > 0);
	put_text(f, RECORD, past);
	assert_int_equal(recalls(f, NAMES), 0);
	put_text(f, RECORD, "until");
	assert_int_equal(recalls(f, NAMES), 0);
	put_text(f, RECORD, record);
	assert_int_equal(recalls(f, NAMES), 1);
}

/* What changes while it is looked at, and in the same tick of the clock, counts as changed. */
static void a_look_does_not_vouch_for_what_comes_after(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *first = issue(f, NAMES);
	struct timespec begun = cert_look_begins();

	put_text(f, LEAF, "foreign\n-----BEGIN CERTIFICATE-----\n");
	cert_remember(&f->root, "pccs", NAMES, time(NULL) + 1000, begun);
	assert_int_equal(recalls(f, NAMES), 0);
	assert_same(f, NAMES, first, 0);
}

static int record_setup(void **state)
{
	with_record = 1;
	return fixture_setup(state);
}

static int record_teardown(void **state)
{
	with_record = 0;
	return fixture_teardown(state);
}

#define with_and_without_record(test)                                                      \
	with_root(test), { #test " (recorded)", test, record_setup, record_teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_and_without_record(leaf_is_trusted_by_name),
		with_and_without_record(modes_and_the_name_of_the_host),
		with_and_without_record(good_pair_is_kept_and_its_mode_restored),
		with_and_without_record(other_names_make_a_new_one),
		with_and_without_record(damage_makes_a_new_one),
		with_and_without_record(foreign_ca_makes_a_new_one),
		with_and_without_record(lost_ca_certificate_is_made_from_its_key),
		with_and_without_record(renewed_when_a_third_is_left),
		with_and_without_record(one_from_the_future_is_kept),
		with_and_without_record(damaged_ca_key_is_not_replaced),
		with_and_without_record(old_ca_is_renewed_with_its_key),
		with_and_without_record(looking_makes_nothing),
		with_root(a_record_gives_back_the_same_pair),
		with_root(a_record_does_not_outlive_a_write),
		with_root(a_record_is_for_its_names_and_its_time),
		with_root(a_look_does_not_vouch_for_what_comes_after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
