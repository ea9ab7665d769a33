// SPDX-License-Identifier: Apache-2.0
/*
 * Certificate files that somebody has changed: the first byte says which of the three (leaf,
 * CA certificate, CA key) and whether the bytes replace it or follow or precede what was made.
 * A pair that is given out always belongs together and is always the CA's.
 */
#include "fuzz.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "host/cert.h"

#define LEAF CERT_LEAF_DIR "/pccs.pem"
#define NAMES "DNS:localhost,IP:127.0.0.1"

/* OpenSSL is not built for fuzzing: its reasons to refuse tell libFuzzer what is new. */
__attribute__((used, section("__libfuzzer_extra_counters"))) static uint8_t reasons[1024];

enum { CA_KEY = 2 };
static const char *const files[] = { LEAF, CERT_CA_CRT, [CA_KEY] = CERT_CA_KEY };
static char *good[ARRAY_SIZE(files)];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	_cleanup_cert_pair_ struct cert_pair pair = { 0 };
	size_t len;

	(void)argc;
	(void)argv;
	fuzz_root_make();
	fuzz_put("/etc/hostname", "fuzz\n", 5);
	require(cert_leaf(&fuzz_root, "pccs", NAMES, 0, &pair) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		require((good[i] = fuzz_get(files[i], &len)));
	return 0;
}

static X509 *crt_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *crt = PEM_read_bio_X509(bio, NULL, NULL, (void *)(uintptr_t)"");

	BIO_free(bio);
	require(crt);
	return crt;
}

static EVP_PKEY *key_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t)"");

	BIO_free(bio);
	require(key);
	return key;
}

static int no_password(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static void note_reasons(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	unsigned long code;

	X509_free(PEM_read_bio_X509(bio, NULL, no_password, NULL));
	while ((code = ERR_get_error()))
		reasons[code * 2654435761u % 1024] = 1;
	BIO_free(bio);
	bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY_free(PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL));
	while ((code = ERR_get_error()))
		reasons[code * 2246822519u % 1024] = 1;
	BIO_free(bio);
}

static void belongs_together(const struct cert_pair *pair)
{
	X509 *crt = crt_of(pair->crt), *ca = NULL;
	EVP_PKEY *key = key_of(pair->key);
	_cleanup_free_ char *text = NULL;
	size_t len;

	require(X509_check_private_key(crt, key) == 1);
	text = fuzz_get(CERT_CA_CRT, &len);
	ca = crt_of(text);
	require(X509_verify(crt, X509_get0_pubkey(ca)) == 1);
	require(X509_check_host(crt, "localhost", 0, 0, NULL) == 1);
	X509_free(crt);
	X509_free(ca);
	EVP_PKEY_free(key);
}

/* The bytes instead of what was made, before it, or behind it. */
static void change(const char *path, const char *was, unsigned how, const uint8_t *data,
		   size_t size)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	if (how == 1)
		sb_add(&sb, was);
	sb_addn(&sb, data, size);
	if (how == 2)
		sb_add(&sb, was);
	fuzz_put(path, sb.data, sb.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_cert_pair_ struct cert_pair pair = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t which, len;
	int r;

	if (!size)
		return 0;
	which = data[0] % ARRAY_SIZE(files);
	change(files[which], good[which], data[0] / ARRAY_SIZE(files) % 3, data + 1, size - 1);
	text = fuzz_get(files[which], &len);
	note_reasons(text);
	r = cert_leaf(&fuzz_root, "pccs", NAMES, 1, &pair);
	/* A CA key that cannot be read is never taken for one that is missing. */
	require(r == 0 || r == CERT_NONE || r == -EFBIG || (r == -EBADMSG && which == CA_KEY));
	require((r == 0) == (pair.key && pair.crt));
	if (r == 0)
		belongs_together(&pair);
	fuzz_put(files[which], good[which], strlen(good[which]));
	ERR_clear_error();
	return 0;
}
