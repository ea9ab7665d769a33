// SPDX-License-Identifier: Apache-2.0
/*
 * The settings in force: host.conf, then what another package supplies for unset keys
 * (/usr/share/dstack-host/defaults.d, the simulation uses it), then what was detected on
 * this machine, then the built-in default.
 */
#pragma once

#include "base/diag.h"
#include "base/root.h"
#include "host/conf/keys.h"

#define DEFAULTS_DIR "/usr/share/dstack-host/defaults.d"

enum source {
	SOURCE_UNSET,
	SOURCE_DEFAULT,	 /* built in, or derived from another key */
	SOURCE_DETECTED,
	SOURCE_SUPPLIED, /* by a file in DEFAULTS_DIR */
	SOURCE_FILE,	 /* host.conf */
};

struct setting {
	char *value; /* NULL when unset */
	enum source source;
	char *file; /* where it was set, NULL otherwise */
	unsigned line;
};

struct settings {
	struct setting v[KEY_COUNT];
	struct diag diag; /* every problem found, in values and between them */
	unsigned bad;	  /* enum component: whose keys have problems */
	int configured;	  /* host.conf exists */
};

/* Loads and checks everything. Wrong input is no failure, it is in ret->diag.
 * 0 or -errno. */
int settings_load(const struct root *root, struct settings *ret) _must_check_;
/* The same with a host.conf that is only in memory. */
struct hostconf;
int settings_resolve(const struct root *root, const struct hostconf *hc,
		     struct settings *ret) _must_check_;
void settings_free(struct settings *s);
/* The value, or "" when unset. */
const char *setting(const struct settings *s, enum key_id id);
/* The same as a number; 0 when unset or no number. */
unsigned setting_uint(const struct settings *s, enum key_id id);
int setting_is_set(const struct settings *s, enum key_id id);
const char *source_name(enum source source);

/* Does this host run its own PCCS, registry? */
int settings_local_pccs(const struct settings *s);
int settings_registry_on(const struct settings *s);

#define _cleanup_settings_ _cleanup_(settings_free)
