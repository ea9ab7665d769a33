// SPDX-License-Identifier: Apache-2.0
/* "Your input is wrong", as data: collected while everything is looked at, printed once. */
#pragma once

#include <stddef.h>

#include "macro.h"

struct diag_item {
	char *file;    /* NULL when the input was no file */
	unsigned line; /* 0 = the whole file */
	char *key;     /* NULL when the line could not be read as KEY=value */
	char *text;    /* never holds a secret */
};

struct diag {
	struct diag_item *items;
	size_t n;
};

void diag_add(struct diag *d, const char *file, unsigned line, const char *key,
	      const char *fmt, ...) _printf_(5, 6);
/* "FILE:LINE: KEY: text", whichever of the parts are known; the caller frees. */
char *diag_format(const struct diag_item *item) _must_check_;
/* By line, so that a file's complaints come in the order of its text. */
void diag_sort(struct diag *d);
void diag_print(const struct diag *d);
void diag_free(struct diag *d);

#define _cleanup_diag_ _cleanup_(diag_free)
