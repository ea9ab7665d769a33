// SPDX-License-Identifier: Apache-2.0
/* Which VMM is installed, and which settings it cannot honour. */
#pragma once

#include "base/root.h"
#include "host/conf/settings.h"

#define PROGRAMS_DIR "/var/lib/dstack/bin"
#define PROGRAMS_CURRENT PROGRAMS_DIR "/current"

struct vmm_version {
	unsigned number[3];
	char text[33]; /* as the directory is called; "" when it names no version */
};

/* By the name of the directory that `current` leads to; a foreign program is not run to be
 * asked. One that tells nothing counts as 0.5.5, the oldest. */
void vmm_version(const struct root *root, struct vmm_version *ret);
int vmm_is_at_least(const struct vmm_version *v, unsigned major, unsigned minor,
		    unsigned patch);
/* Complains about what the installed one does not know any more. */
void vmm_check_settings(const struct root *root, struct settings *s);
