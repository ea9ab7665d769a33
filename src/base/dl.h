// SPDX-License-Identifier: Apache-2.0
/*
 * Libraries that are loaded where they are used and not by every verb. A library has one
 * header with the list of its functions and a typed pointer sym_NAME for each, valid once
 * its load function has returned 0. src/dlopened.c links to all of them, so that the
 * package depends on what the linker no longer names.
 */
#pragma once

#include <stddef.h>

#include "macro.h"

struct dl_symbol {
	const char *name;
	void **at;
};

struct dl {
	const char *soname;
	const struct dl_symbol *symbols;
	size_t n;
	int loaded;
};

#define DL_DECLARE(f) extern __typeof__(f) *sym_##f;
#define DL_DEFINE(f) __typeof__(f) *sym_##f;
#define DL_SYMBOL(f) { #f, (void **)(void *)&sym_##f },

/* Once for each library; it stays. 0, or -ELIBACC after saying what is missing. */
int dl_load(struct dl *lib) _must_check_;
