// SPDX-License-Identifier: Apache-2.0
/* What `status` shows, as data, and the two ways to print it. */
#pragma once

#include "base/strbuf.h"
#include "host/listeners.h"
#include "host/part/parts.h"

struct status {
	struct finding *findings; /* n_parts */
	const struct listeners *public; /* the view's, or own */
	struct listeners own;
	int public_error; /* -errno: the list could not be read */
	char **problems;
	size_t n_problems;
	char *next; /* NULL: nothing to do */
	int simulated, drained;
	uint64_t drained_us; /* wall clock, 0 unknown */
	const char *domain; /* "" when there is none; the settings' */
};

/* A part_view's look_too, with itself as argument: who listens for others. */
void status_look(void *arg);
/* Judges what was seen and collects the rest. */
void status_collect(const struct part_view *v, struct status *ret);
/* The host is as it should be? */
int status_fine(const struct status *s);
/* For people: 80 columns, with colour or without. */
void status_text(const struct status *s, int colour, struct strbuf *out);
/* dstack-host.status/1 */
void status_json(const struct status *s, struct strbuf *out);
void status_free(struct status *s);
