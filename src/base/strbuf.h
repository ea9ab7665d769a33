// SPDX-License-Identifier: Apache-2.0
/* A growable string. `data` is always NUL-terminated once something was added. */
#pragma once

#include <stddef.h>

#include "macro.h"

struct strbuf {
	char *data;
	size_t len;
	size_t size;
};

void sb_add(struct strbuf *sb, const char *s);
void sb_addn(struct strbuf *sb, const void *data, size_t n);
void sb_addc(struct strbuf *sb, char c);
void sb_addf(struct strbuf *sb, const char *fmt, ...) _printf_(2, 3);
/* Gives the string to the caller, "" when nothing was added; the buffer is empty again. */
char *sb_steal(struct strbuf *sb) _must_check_;
void sb_free(struct strbuf *sb);

#define _cleanup_strbuf_ _cleanup_(sb_free)
