// SPDX-License-Identifier: Apache-2.0
/*
 * Memory that is always there. The program is short-lived and replaces every file
 * atomically, so running out of memory ends it: exit 1, "out of memory", old state intact.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "macro.h"

void *xmalloc(size_t size) _must_check_;
void *xcalloc(size_t n, size_t size) _must_check_;
void *xrealloc(void *p, size_t size) _must_check_;
char *xstrdup(const char *s) _must_check_;
char *xstrndup(const char *s, size_t n) _must_check_;
char *xasprintf(const char *fmt, ...) _printf_(1, 2) _must_check_;
char *xvasprintf(const char *fmt, va_list ap) _printf_(1, 0) _must_check_;
_noreturn_ void out_of_memory(void);
