// SPDX-License-Identifier: Apache-2.0
/* The last words of a service in this boot's journal, newest first. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

enum { JOURNAL_LINES_MAX = 200, JOURNAL_TEXT_MAX = 1024 };

struct journal_line {
	uint64_t at_us; /* wall clock */
	char *text;
};

struct journal_tail {
	int error; /* -errno: it could not be read */
	size_t n;
	size_t max; /* 0: JOURNAL_LINES_MAX */
	struct journal_line *lines; /* newest first */
};

/*
 * Fills one tail for each of `matches`: words "FIELD=value" of one field, separated by
 * blanks, any of which will do. No journal at all is an empty one.
 */
void journal_read(const char *const *matches, size_t n, struct journal_tail *tails);
/* The same for one, and of up to `max` lines. */
void journal_read_max(const char *match, size_t max, struct journal_tail *tail);
void journal_tail_add(struct journal_tail *tail, uint64_t at_us, const char *text, size_t len);
void journal_tail_free(struct journal_tail *tail);
