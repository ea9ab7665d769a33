// SPDX-License-Identifier: Apache-2.0
/*
 * Strings as Python's json module writes them. Upstream's tools are Python, and what they
 * write is hashed: the bytes count, down to the case of an escape.
 */
#pragma once

#include <stddef.h>

#include "base/strbuf.h"

/* Why the bytes are no text that may go in, or NULL: invalid UTF-8, NUL. */
const char *pyjson_unfit(const char *s, size_t n);
/* `s` must be fit. `ascii`: ensure_ascii=True, everything beyond ASCII (and DEL) escaped. */
void pyjson_string(struct strbuf *out, const char *s, size_t n, int ascii);
