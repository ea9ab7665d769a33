// SPDX-License-Identifier: Apache-2.0
/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, at most U+10FFFF. */
#pragma once

#include <stddef.h>

/* Bytes of the valid sequence at `s` (of `n` bytes), 0 when there is none. */
size_t utf8_sequence(const char *s, size_t n);
/* The same, and fit to be shown: no control character (C0, DEL, C1). */
size_t utf8_printable(const char *s, size_t n);
/* What is not printable becomes a question mark: texts quote what stands in files, and nothing
 * of it may steer a terminal or break JSON. NULL is no text. */
void utf8_clean(char *text);
