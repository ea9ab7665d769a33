// SPDX-License-Identifier: Apache-2.0
/* Who is restarted after a change, and who never is. */
#include "test.h"

#include "host/apply.h"

static struct unit_state active_since(uint64_t main_us)
{
	return (struct unit_state){ .active = (char *)"active", .main_us = main_us };
}

static void newer_file_means_restart(void **state)
{
	struct unit_state unit = active_since(5000000);
	struct rendered r = { .present = 1, .changed = { .tv_sec = 5, .tv_nsec = 1000 } };

	(void)state;
	assert_true(consumer_is_stale(&unit, &r));
	r.changed.tv_nsec = 0;
	assert_false(consumer_is_stale(&unit, &r));
	unit.active = (char *)"inactive";
	r.changed.tv_sec = 9;
	assert_false(consumer_is_stale(&unit, &r));
}

static void nothing_to_read_means_its_end(void **state)
{
	struct unit_state unit = active_since(5000000);
	struct rendered r = { .present = 0 };

	(void)state;
	assert_true(consumer_is_stale(&unit, &r));
}

static void wrong_settings_leave_it_alone(void **state)
{
	struct unit_state unit = active_since(1);
	struct rendered r = { .kept = 1 };

	(void)state;
	assert_false(consumer_is_stale(&unit, &r));
}

static void the_supervisor_is_nobodys_consumer(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_consumers; i++)
		assert_null(strstr(consumers[i].unit, "supervisor"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(newer_file_means_restart),
		cmocka_unit_test(nothing_to_read_means_its_end),
		cmocka_unit_test(wrong_settings_leave_it_alone),
		cmocka_unit_test(the_supervisor_is_nobodys_consumer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
