// SPDX-License-Identifier: Apache-2.0
/* Writing TOML 1.0 values. */
#pragma once

#include "base/strbuf.h"

/* A basic string with its quotes; every control character is escaped. */
void toml_string(struct strbuf *sb, const char *s);
/* NAME = "value" */
void toml_set_string(struct strbuf *sb, const char *name, const char *value);
/* NAME = ["a", "b"] from words separated by blanks. */
void toml_set_words(struct strbuf *sb, const char *name, const char *words);
