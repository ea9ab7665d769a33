// SPDX-License-Identifier: Apache-2.0
/*
 * This host compared with a report taken earlier or elsewhere. The other report is foreign: a
 * half without privileges parses it, compares it with our document and tells the differences.
 */
#pragma once

#include <jansson.h>

#include "base/strbuf.h"
#include "host/peer/peer.h"

enum diff_class {
	DIFF_MATTERS,
	DIFF_FAULT,    /* the other one has a fault there, which is not to be copied */
	DIFF_IDENTITY, /* another machine has another one */
	DIFF_SIZE,     /* a larger or smaller machine */
	DIFF_IGNORED,  /* of the moment, or of the wording: not told */
	DIFF_CLASSES,
};

struct difference {
	enum diff_class class;
	char *path;	    /* "services.qgsd.service.active" */
	char *here, *there; /* NULL: not there */
	char *why;	    /* what the class says of it, NULL: nothing more */
};

struct diff {
	struct difference *items; /* by class, then in the document's order */
	size_t n;
	char *kind, *taken; /* of the other; NULL when it does not say */
};

/* How a difference at this path counts. Elements of lists are named by what identifies them
 * ("checks.vmm.status"), whose own dots the table does not see: `path` is given as words. *said: a row of the table says so. */
enum diff_class diff_class_of(const char *const *words, size_t n, int *said);
const char *diff_class_name(enum diff_class class);
const char *diff_class_title(enum diff_class class);

/* `fd` is the reference, a regular file, open for reading. 0; 1: it is no report, *trouble says
 * why (the caller's); or -errno when no half could be started. */
int diff_with_file(const json_t *own, int fd, struct diff *ret, char **trouble) _must_check_;
int diff_matters(const struct diff *d);
void diff_text(const struct diff *d, struct strbuf *out);
/* dstack-host.diff/1 */
void diff_json(const struct diff *d, struct strbuf *out);
void diff_free(struct diff *d);

/* In the half: what is compared with. */
void diff_set_own(const json_t *own);
void diff_digest(const struct peer_reply *reply, struct peer_emit *emit);
