// SPDX-License-Identifier: Apache-2.0
/* The three ways to print verdicts. `wanted` is of checks_select(): the rest is left out. */
#pragma once

#include "host/check/check.h"

struct check_summary {
	unsigned n[CHECK_SKIP + 1]; /* by enum check_status */
};

struct check_summary check_summarize(const struct verdict *verdicts, const char *wanted);
/* Nothing of it may steer a terminal or break JSON: before the first of these. */
void verdicts_clean(struct verdict *verdicts);

/* For people, with colour or without. */
void check_text(const struct verdict *verdicts, const char *wanted, int colour,
		struct strbuf *out);
/* dstack-host.check/1 */
void check_json(const struct verdict *verdicts, const char *wanted, struct strbuf *out);
/* Test Anything Protocol, version 13. */
void check_tap(const struct verdict *verdicts, const char *wanted, struct strbuf *out);
