// SPDX-License-Identifier: Apache-2.0
/* After a change of settings: who runs with an older file, and what is done about it. */
#pragma once

#include <stddef.h>
#include <time.h>

#include "host/render/render.h"
#include "host/units.h"

struct consumer {
	const char *target; /* name in the table of targets */
	const char *unit;
	enum unit_verb verb; /* how it takes a new file */
};

extern const struct consumer consumers[];
extern const size_t n_consumers;

/* What is rendered for one consumer, over all files of its target. */
struct rendered {
	int present;		 /* there is a file to read */
	int kept;		 /* an older file stays, because the settings are wrong */
	struct timespec changed; /* of the newest */
};

/* Does the unit run with something else than what is rendered? One that was started after
 * the newest change has read it; one that has nothing to read is ended by its condition. */
int consumer_is_stale(const struct unit_state *unit, const struct rendered *rendered);
