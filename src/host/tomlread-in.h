// SPDX-License-Identifier: Apache-2.0
/* Between the two files of the TOML reader. */
#pragma once

#include "host/tomlread.h"

/* Members are looked up one by one: no file that anybody writes comes near. */
enum { TOML_VALUES_MAX = 4096 };

struct toml_reader {
	const char *p, *end; /* the text; a NUL stands at `end` and nowhere else */
	unsigned line;
	unsigned depth;
	unsigned values;
	struct toml_error *error;
};

/* Notes the first error; always -EBADMSG. */
int toml_fail(struct toml_reader *r, const char *text) _must_check_;
/* A new value at this line, the caller's. */
struct toml *toml_new(struct toml_reader *r, enum toml_type type);
void toml_append(struct toml *to, struct toml *value);
struct toml *toml_member(const struct toml *table, const char *key);
void toml_skip_blanks(struct toml_reader *r);
/* Comments and line breaks too. 0 or -EBADMSG. */
int toml_skip_lines(struct toml_reader *r) _must_check_;
/* "..." or '...' on one line; *ret is the caller's. */
int toml_read_string(struct toml_reader *r, char **ret) _must_check_;
int toml_read_value(struct toml_reader *r, struct toml **ret) _must_check_;

struct toml_path {
	char *names[32];
	size_t n;
};

/* a.b."c" */
int toml_read_path(struct toml_reader *r, struct toml_path *ret) _must_check_;
void toml_path_free(struct toml_path *path);
/* Behind a path: " = value"; *ret is the caller's and has no key yet. */
int toml_read_assigned(struct toml_reader *r, struct toml **ret) _must_check_;

enum {
	TOML_EXPLICIT = 1, /* has had its [header], or was made by dotted keys above one */
	TOML_FROZEN = 2,   /* an inline table or array: complete as it stands */
	TOML_PENDING = 4,  /* made by dotted keys: explicit from the next header on */
};
