// SPDX-License-Identifier: Apache-2.0
/* What a unit is doing, for `systemctl status` and our own `status`. */
#pragma once

#include "base/macro.h"

/* STATUS= for the unit that runs this; nothing happens outside of one. */
void progress_say(const char *fmt, ...) _printf_(1, 2);
