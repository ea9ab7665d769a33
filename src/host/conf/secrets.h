// SPDX-License-Identifier: Apache-2.0
/* /etc/dstack/secrets/NAME: mode 0600, one value a file, never printed. */
#pragma once

#include "base/root.h"

#define SECRETS_DIR "/etc/dstack/secrets"
#define SECRET_MAX 4096

enum secret_id {
	SECRET_PCCS_API_KEY,
	SECRET_PCCS_USER_TOKEN,
	SECRET_PCCS_ADMIN_TOKEN,
	SECRET_VMM_TOKEN,
	SECRET_VMM_INTERNAL_TOKEN,
	SECRET_COUNT,
};

struct secret {
	const char *name;
	const char *(*check)(const char *value); /* reason without the value, or NULL */
	int generated;				 /* made when absent: 64 hex digits */
	int asked;				 /* has a debconf question */
	unsigned readers;			 /* enum component */
	const char *help;
};

extern const struct secret secrets[SECRET_COUNT];

int secret_find(const char *name);
/* Stores a value: 0, FILE_UNCHANGED or -errno. */
int secret_store(const struct root *root, enum secret_id id, const char *value)
	_must_check_;
/* The value, the caller's, to be wiped with secret_free(); NULL in *ret when absent. */
int secret_read(const struct root *root, enum secret_id id, char **ret) _must_check_;
/* Makes the generated ones that are missing. 0 or -errno. */
int secrets_generate(const struct root *root) _must_check_;
void secret_free(char **value);

#define _cleanup_secret_ _cleanup_(secret_free)
