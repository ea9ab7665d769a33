// SPDX-License-Identifier: Apache-2.0
/* What is taken for a secret by where it stands and how it looks, though nobody here knows it. */
#pragma once

#include <stddef.h>

/* Is there one at `at`, in a text that begins at `start`? How many bytes of it to hide, after
 * *keep bytes which say what it is. 0: no. What was hidden before, "(...)", is none. */
size_t redact_shape(const char *start, const char *at, size_t *keep);
