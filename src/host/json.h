// SPDX-License-Identifier: Apache-2.0
/* Reading and writing JSON with jansson. */
#pragma once

#include <jansson.h>

#include "base/strbuf.h"

/*
 * Foreign JSON; NULL when it is none, or holds more values than any answer: to jansson each is
 * fifty bytes, also where it was two. `flags` are jansson's.
 */
json_t *json_read(const char *data, size_t len, size_t flags);
/* Indented, sorted as built, with a line break at its end; frees `root`. */
void json_write(struct strbuf *out, json_t *root);
/* Appends; `item` is taken over. What cannot be written as JSON must not be left out in
 * silence: NULL ends the program. */
void json_push(json_t *list, json_t *item);
