// SPDX-License-Identifier: Apache-2.0
/*
 * Reading TOML 1.0: the admin's own vmm.toml, which the VMM merges over the rendered one and
 * of which it says nothing when a key means nothing to it. Strict, but for two things that no
 * such file holds: U+0000 in a string, and nesting deeper than 32, are refused.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "base/strbuf.h"

enum toml_type {
	TOML_TABLE,
	TOML_ARRAY,
	TOML_STRING,
	TOML_INTEGER,
	TOML_FLOAT,
	TOML_BOOL,
	TOML_TIME, /* date, time or both */
};

struct toml {
	enum toml_type type;
	unsigned flags;	 /* the reader's own */
	unsigned line;	 /* where it begins */
	char *key;	 /* in a table; NULL in an array */
	char *text;	 /* STRING, TIME: its value */
	int64_t integer; /* INTEGER, BOOL */
	double real;
	struct toml *first, *last; /* TABLE, ARRAY: what is in it */
	struct toml *next;
};

struct toml_error {
	unsigned line;
	const char *text;
};

/* *ret is the caller's. 0, or -EBADMSG with *error. */
int toml_parse(const char *data, size_t len, struct toml **ret, struct toml_error *error)
	_must_check_;
void toml_free(struct toml **value);
/* "cvm.port_mapping.range"; NULL when there is none. */
const struct toml *toml_find(const struct toml *table, const char *path);
/* As it could stand behind a "=": equal values give equal text. */
void toml_print(const struct toml *value, struct strbuf *out);

#define _cleanup_toml_ _cleanup_(toml_free)
