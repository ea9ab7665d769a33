// SPDX-License-Identifier: Apache-2.0
/*
 * The settings of /etc/dstack/host.conf, one table. Parser, `config list`, man page and the
 * lint of the debconf templates all read it.
 */
#pragma once

#include <stddef.h>

#include "base/macro.h"

enum key_id {
	KEY_DOMAIN,
	KEY_PUBLIC_ADDRESS,
	KEY_VMM_ADDRESS,
	KEY_VMM_MAX_VCPU,
	KEY_VMM_MAX_MEMORY_MB,
	KEY_VMM_CID_START,
	KEY_VMM_CID_POOL_SIZE,
	KEY_VMM_HOST_API_ADDRESS,
	KEY_VMM_HOST_API_PORT,
	KEY_QGS_ADDRESS,
	KEY_VMM_NETWORKING,
	KEY_VMM_PORT_MAPPING_ADDRESS,
	KEY_VMM_PORT_RANGES,
	KEY_IMAGE_VERSION,
	KEY_IMAGE_DIR,
	KEY_VM_DIR,
	KEY_PCCS_URL,
	KEY_PCCS_PORT,
	KEY_PCCS_FILL_MODE,
	KEY_PCS_URL,
	KEY_GUEST_PCCS_URL,
	KEY_KEY_PROVIDER_ADDRESS,
	KEY_KEY_PROVIDER_IMAGE,
	KEY_AESMD_IMAGE,
	KEY_REGISTRY,
	KEY_REGISTRY_LISTEN,
	KEY_KMS_NAME,
	KEY_KMS_LAYOUT,
	KEY_KMS_IMAGE,
	KEY_KMS_AUTH_IMAGE,
	KEY_KMS_PORT,
	KEY_KMS_GUEST_PORT,
	KEY_KMS_VCPU,
	KEY_KMS_MEMORY_MB,
	KEY_KMS_DISK_GB,
	KEY_VMM_KMS_URL,
	KEY_GUEST_KMS_URLS,
	KEY_CHAIN_ID,
	KEY_KMS_CONTRACT,
	KEY_APP_AUTH_IMPLEMENTATION,
	KEY_ETH_RPC_URLS,
	KEY_GATEWAY_BASE_DOMAIN,
	KEY_GATEWAY_URLS,
	KEY_PROXY,
	KEY_NO_PROXY,
	KEY_COUNT,
};

/* Who reads a setting: a bad value keeps just these from starting. */
enum component {
	FOR_VMM = 1 << 0,
	FOR_PCCS = 1 << 1,
	FOR_QCNL = 1 << 2,
	FOR_REGISTRY = 1 << 3,
	FOR_FRONT = 1 << 4,
	FOR_KEY_PROVIDER = 1 << 5,
	FOR_GUARD = 1 << 6,
	FOR_KMS = 1 << 7,
};

enum key_flags {
	KEY_ASK = 1 << 0,	/* has a debconf question of its own */
	KEY_REDACT = 1 << 1,	/* may hold credentials: shown without them, never asked */
	KEY_MAY_BE_EMPTY = 1 << 2, /* "KEY=" is a value */
	KEY_MEASURED = 1 << 3,	/* part of what a sealed KMS disk is bound to */
};

struct key {
	const char *name;
	/* NULL when the value is good, else the reason; not called for choices. */
	const char *(*check)(const char *value);
	const char *choices; /* words separated by blanks, instead of check */
	const char *fallback; /* built-in default; NULL: none, or derived (see help) */
	unsigned readers;     /* of enum component */
	unsigned flags;
	const char *help; /* one line; says how a default is derived */
};

extern const struct key keys[KEY_COUNT];

/* Index of a name, or -1. */
int key_find(const char *name);
/* What to tell whoever misspelt one, the caller's. */
char *key_hint(const char *name) _must_check_;
/* NULL when `value` is good for the key. */
const char *key_check(enum key_id id, const char *value);
/* The name as debconf has it: lower case with dashes; the caller frees. */
char *key_debconf_name(const char *name) _must_check_;
