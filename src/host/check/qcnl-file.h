// SPDX-License-Identifier: Apache-2.0
/* A QCNL file as Intel's quote provider library reads it. */
#pragma once

#include "base/macro.h"
#include "base/root.h"

#define QCNL_RENDERED "/run/dstack/qcnl/sgx_default_qcnl.conf"
#define QCNL_DEFAULT "/etc/sgx_default_qcnl.conf"

struct qcnl_file {
	char *url;     /* pccs_url, or the library's own default */
	int secure;    /* use_secure_cert */
	char *broken;  /* why the library falls back to its defaults; NULL: it does not */
	char *unknown; /* a key that it does not know; NULL: none */
};

/* 0 or -errno; a text that is no JSON is no failure. */
int qcnl_read(const struct root *root, const char *path, struct qcnl_file *ret) _must_check_;
void qcnl_parse(const char *text, struct qcnl_file *ret);
void qcnl_free(struct qcnl_file *f);
