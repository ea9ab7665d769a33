// SPDX-License-Identifier: Apache-2.0
/* Settings as people may see them. */
#pragma once

#include "host/conf/settings.h"

/* The value, without credentials where the key may hold some; the caller frees. */
char *shown_value(const struct settings *s, enum key_id id) _must_check_;
