// SPDX-License-Identifier: Apache-2.0
/* How far a pull is: a bar on a terminal, the unit's status, a line a minute in a log. */
#pragma once

#include <stdint.h>

struct pull_progress {
	const char *what;
	uint64_t total; /* 0: not known */
	uint64_t from;	/* where this run began */
	uint64_t begun_ms, drawn_ms, said_ms, logged_ms;
	int terminal;
};

void pull_progress_begin(struct pull_progress *p, const char *what, uint64_t from);
/* `at` bytes are there; as often as one likes. */
void pull_progress_at(struct pull_progress *p, uint64_t at);
/* Milliseconds after which it wants to be told again. */
int pull_progress_interval(const struct pull_progress *p);
/* Leaves the bar's line; before any other is written. */
void pull_progress_break(struct pull_progress *p);
/* "120 of 160 MiB, 35.2 MiB/s, 2 s left"; the caller's. */
char *pull_progress_text(const struct pull_progress *p, uint64_t at, uint64_t now_ms);
