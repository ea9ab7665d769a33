// SPDX-License-Identifier: Apache-2.0
/* Writing JSON files with jansson. */
#pragma once

#include <jansson.h>

#include "base/strbuf.h"

/* Indented, sorted as built, with a line break at its end; frees `root`. */
void json_write(struct strbuf *out, json_t *root);
