// SPDX-License-Identifier: Apache-2.0
/* Text for a terminal of 80 columns. */
#pragma once

#include "strbuf.h"

/* Words of `text` from column `at` on, and a line break; lines that follow begin there too. A
 * word that is longer than the line stays whole: it may be a command or a path. */
void text_wrap(struct strbuf *out, const char *text, size_t at);
