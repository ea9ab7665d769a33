// SPDX-License-Identifier: Apache-2.0
/* Rules between settings: ports that collide, pools that overflow. */
#pragma once

#include "host/conf/settings.h"

/* Adds to s->diag and s->bad. */
void validate_settings(struct settings *s);
/* One complaint about a key where it was set; its readers become bad. */
void complain(struct settings *s, enum key_id id, const char *reason);
