// SPDX-License-Identifier: Apache-2.0
/* No printed fix starts a key provider that could not open what was sealed. */
#pragma once

#include "host/check/check.h"
#include "host/probe/key-provider.h"

/* What key_provider_gate() looks at. */
#define KEY_PROVIDER_GATE KEY_PROVIDER_PROBES

/* Where the fix of `r` starts or restarts the key provider: takes it back unless the image that
 * would be started is the one that has sealed, and says what differs. */
void key_provider_gate(const struct check_view *v, struct verdict *r);
