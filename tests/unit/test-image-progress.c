// SPDX-License-Identifier: Apache-2.0
/* How far a pull is, in words. */
#include "test.h"

#include "host/image/image-progress.h"

#define MIB (UINT64_C(1) << 20)

static void said(const struct pull_progress *p, uint64_t at, uint64_t ms, const char *wanted)
{
	char *text = pull_progress_text(p, at, ms);

	assert_string_equal(text, wanted);
	free(text);
}

static void says_what_is_known(void **state _unused_)
{
	struct pull_progress p = { .what = "x", .begun_ms = 1000 };

	said(&p, 0, 1000, "0 MiB, 0.0 MiB/s");
	said(&p, 10 * MIB, 3000, "10 MiB, 5.0 MiB/s");
	p.total = 20 * MIB;
	said(&p, 10 * MIB, 3000, "10 of 20 MiB, 5.0 MiB/s, 2 s left");
	said(&p, 20 * MIB, 3000, "20 of 20 MiB, 10.0 MiB/s");
	/* What an earlier run has brought was not that fast. */
	p.from = 8 * MIB;
	said(&p, 10 * MIB, 3000, "10 of 20 MiB, 1.0 MiB/s, 10 s left");
}

/* A server that says there is one byte, and sends on. */
static void more_than_the_total(void **state _unused_)
{
	struct pull_progress p = { .what = "x", .total = 1, .terminal = 1 };

	pull_progress_at(&p, 100 * MIB);
	pull_progress_break(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_is_known),
		cmocka_unit_test(more_than_the_total),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
