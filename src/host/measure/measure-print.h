// SPDX-License-Identifier: Apache-2.0
/* Results told: as text, as JSON, as a file, one against another. */
#pragma once

#include <jansson.h>

#include "base/root.h"
#include "base/strbuf.h"
#include "host/measure/measure-run.h"

#define MEASURE_SCHEMA "dstack-host.measure/1"

void measure_print(struct strbuf *out, const char *what, const struct measure_result *result,
		   int with_events);
/* {"schema": "dstack-host.measure/1", …}; the caller's. */
json_t *measure_json(const char *what, const struct measure_result *result) _must_check_;
/* What measure_json() wrote, from a file. 0 or -EBADMSG with the reason. */
int measure_load(const struct root *root, const char *path, struct measure_result *ret,
		 char **trouble) _must_check_;

/* In the half. */
void measure_digest_saved(const struct peer_reply *reply, struct peer_emit *emit);

struct measure_side {
	const char *what;
	const char *noun; /* "this QEMU": in a sentence about B */
	const struct measure_result *result;
};

/* Is everything that is measured the same? */
int measure_same(const struct measure_result *a, const struct measure_result *b);
/* "the ACPI tables differ": for a sentence, the caller's; "" when nothing does. */
char *measure_differences(const struct measure_result *a, const struct measure_result *b)
	_must_check_;
/* `disk`: whose disk it is about ("kms"), NULL: nobody's. */
void measure_print_compared(struct strbuf *out, const struct measure_side *a,
			    const struct measure_side *b, const char *disk);
json_t *measure_compared_json(const struct measure_side *a, const struct measure_side *b)
	_must_check_;
