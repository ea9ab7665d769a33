// SPDX-License-Identifier: Apache-2.0
/* One look at everything, judged by every check: what report, diff and metrics start from. */
#pragma once

#include <stddef.h>

#include "host/check/check.h"
#include "host/report/redact.h"

/* As `check` waits for its slowest probe. */
enum { LOOK_TIMEOUT_MS = 3000 };

struct looked {
	struct settings settings;
	struct check_view view;
	struct verdict *verdicts; /* checks_count() of them, clean */
	struct redactor *redactor;
};

/* `without`: probes (PROBE()) that are not asked. *ret must not move afterwards. 0 or -errno. */
int looked_fill(const struct root *root, uint64_t without, struct looked *ret) _must_check_;
/* Judges parts and checks again, after something in the view has been changed. */
void looked_judge(struct looked *l);
void looked_free(struct looked *l);

#define _cleanup_looked_ _cleanup_(looked_free)
