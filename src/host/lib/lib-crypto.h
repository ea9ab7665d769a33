// SPDX-License-Identifier: Apache-2.0
/* libcrypto: certificates are made, looked at and told with it (cert.c, kms-digest.c). */
#pragma once

/* For SHA256_Init() and its like, whose state may be copied and stored. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/dl.h"

#define LIBCRYPTO_FUNCTIONS(X) \
	X(ASN1_OCTET_STRING_cmp) X(ASN1_TIME_diff) X(ASN1_TIME_to_tm) X(BIO_ctrl) \
	X(BIO_free) X(BIO_new) X(BIO_new_mem_buf) X(BIO_s_mem) X(BN_free) X(BN_new) \
	X(BN_rand) X(BN_to_ASN1_INTEGER) X(CRYPTO_free) X(CRYPTO_set_mem_functions) \
	X(ERR_clear_error) X(EVP_DigestFinal_ex) X(EVP_DigestInit_ex) \
	X(EVP_DigestUpdate) X(EVP_EncodeBlock) X(EVP_MD_CTX_free) X(EVP_MD_CTX_new) X(EVP_PKEY_Q_keygen) X(EVP_PKEY_free) \
	X(EVP_sha256) X(EVP_sha384) X(GENERAL_NAMES_free) X(OPENSSL_sk_free) X(OPENSSL_sk_new_null) \
	X(OPENSSL_sk_num) X(OPENSSL_sk_push) X(OPENSSL_sk_value) \
	X(PEM_read_bio_PrivateKey) X(PEM_read_bio_X509) X(PEM_write_bio_PKCS8PrivateKey) \
	X(PEM_write_bio_X509) X(SHA256_Final) X(SHA256_Init) X(SHA256_Update) X(X509V3_EXT_conf_nid) X(X509V3_set_ctx) \
	X(X509_EXTENSION_free) X(X509_EXTENSION_get_data) X(X509_NAME_add_entry_by_NID) \
	X(X509_NAME_cmp) X(X509_NAME_print_ex) X(X509_STORE_CTX_free) \
	X(X509_STORE_CTX_get_error) X(X509_STORE_CTX_init) X(X509_STORE_CTX_new) \
	X(X509_STORE_CTX_set_flags) X(X509_STORE_add_cert) X(X509_STORE_free) \
	X(X509_STORE_load_path) X(X509_STORE_new) X(X509_add_ext) X(X509_check_ca) \
	X(X509_check_host) X(X509_check_ip_asc) X(X509_check_private_key) X(X509_digest) \
	X(X509_free) X(X509_get0_notAfter) X(X509_get0_notBefore) X(X509_get0_pubkey) \
	X(X509_get_ext) X(X509_get_ext_by_NID) X(X509_get_ext_d2i) \
	X(X509_get_issuer_name) X(X509_get_serialNumber) X(X509_get_subject_name) \
	X(X509_getm_notAfter) X(X509_getm_notBefore) X(X509_gmtime_adj) X(X509_new) \
	X(X509_set_issuer_name) X(X509_set_pubkey) X(X509_set_version) X(X509_sign) \
	X(X509_verify) X(X509_verify_cert) X(X509_verify_cert_error_string) X(i2d_X509)

LIBCRYPTO_FUNCTIONS(DL_DECLARE)

int libcrypto_load(void) _must_check_;
