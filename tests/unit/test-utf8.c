// SPDX-License-Identifier: Apache-2.0
/* UTF-8 by the table of its well-formed sequences (Unicode 15, table 3-7): each range, and one beyond. */
#include "test.h"

#include "base/macro.h"
#include "base/utf8.h"

static const struct {
	const char *s;
	size_t n, len; /* len 0: it is none */
} sequences[] = {
	{ "", 0, 0 },
	{ "\0", 1, 1 },
	{ "\x7f", 1, 1 },
	{ "\x80", 1, 0 },
	{ "\xc1\xbf", 2, 0 },
	{ "\xc2\x80", 2, 2 },
	{ "\xdf\xbf", 2, 2 },
	{ "\xc2\x7f", 2, 0 },
	{ "\xc2\xc0", 2, 0 },
	{ "\xc2", 1, 0 },
	{ "\xe0\xa0\x80", 3, 3 },
	{ "\xe0\xbf\xbf", 3, 3 },
	{ "\xe0\x9f\xbf", 3, 0 },
	{ "\xe0\xc0\x80", 3, 0 },
	{ "\xe1\x80\x80", 3, 3 },
	{ "\xe1\x80\x7f", 3, 0 },
	{ "\xe1\x80\xc0", 3, 0 },
	{ "\xe1\x80", 2, 0 },
	{ "\xed\x80\x80", 3, 3 },
	{ "\xed\x9f\xbf", 3, 3 },
	{ "\xed\xa0\x80", 3, 0 },
	{ "\xed\x7f\x80", 3, 0 },
	{ "\xef\xbf\xbf", 3, 3 },
	{ "\xf0\x90\x80\x80", 4, 4 },
	{ "\xf0\xbf\xbf\xbf", 4, 4 },
	{ "\xf0\x8f\xbf\xbf", 4, 0 },
	{ "\xf0\xc0\x80\x80", 4, 0 },
	{ "\xf1\x80\x80\x80", 4, 4 },
	{ "\xf1\x80\x80\x7f", 4, 0 },
	{ "\xf4\x80\x80\x80", 4, 4 },
	{ "\xf4\x8f\xbf\xbf", 4, 4 },
	{ "\xf4\x90\x80\x80", 4, 0 },
	{ "\xf4\x7f\x80\x80", 4, 0 },
	{ "\xf5\x80\x80\x80", 4, 0 },
};

static void sequences_are_those_of_the_table(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(sequences); i++) {
		/* At the end of its allocation: nothing behind it is looked at. */
		char *copy = malloc(sequences[i].n + !sequences[i].n);
		size_t len;

		assert_non_null(copy);
		memcpy(copy, sequences[i].s, sequences[i].n);
		len = utf8_sequence(copy, sequences[i].n);
		free(copy);
		if (len != sequences[i].len)
			fail_msg("sequence %zu: %zu", i, len);
	}
}

static void control_characters_are_not_printable(void **state _unused_)
{
	assert_int_equal(utf8_printable("\x1f", 1), 0);
	assert_int_equal(utf8_printable(" ", 1), 1);
	assert_int_equal(utf8_printable("~", 1), 1);
	assert_int_equal(utf8_printable("\x7f", 1), 0);
	assert_int_equal(utf8_printable("\xc2\x9f", 2), 0);
	assert_int_equal(utf8_printable("\xc2\xa0", 2), 2);
	assert_int_equal(utf8_printable("\xc3\x80", 2), 2);
	assert_int_equal(utf8_printable("\xe2\x82\xac", 3), 3);
	assert_int_equal(utf8_printable("\xff", 1), 0);
}

static void text_is_cleaned_in_place(void **state _unused_)
{
	char text[] = "a\x1b[31m\xc2\x9b" "b\xe2\x82\xac\xe2\x82";

	utf8_clean(text);
	assert_string_equal(text, "a?[31m??b\xe2\x82\xac??");
	utf8_clean(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequences_are_those_of_the_table),
		cmocka_unit_test(control_characters_are_not_printable),
		cmocka_unit_test(text_is_cleaned_in_place),
	};

	return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
