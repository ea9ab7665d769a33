// SPDX-License-Identifier: Apache-2.0
/* Between image-pull.c and image-pump.c only. */
#pragma once

#include "host/image/image-half.h"
#include "host/image/image-progress.h"
#include "host/image/image-pull.h"
#include "host/image/image-stage.h"
#include "host/image/image-unpack.h"

/* What goes to the unpacking half next; type 0: nothing. */
struct pull_slot {
	uint32_t type;
	const unsigned char *data;
	size_t len;
};

struct pull {
	const struct pull_request *q;
	struct stage stage;
	char identity[200];
	struct image_half unpack, net;
	int null;	     /* what a half is given that needs nothing */
	int file;	     /* a source on this machine; -1: none */
	struct message *in;  /* from the source */
	struct message *out; /* from the unpacking half */
	struct pull_slot slot;
	struct hash hash;    /* of all that has come */
	uint64_t at;	     /* bytes of that */
	int came_whole, end_sent, unpacked;
	int whole; /* this source gives no parts */
	int mixed; /* from several connections or runs: one of them may have been another file */
	uint64_t heard_ms; /* when a half has said something last */
	int lost;  /* what was written cannot be believed any more */
	struct stage_cut cut;
	int marking; /* a state was asked for */
	uint64_t marked_at, marked_ms;
	struct pull_progress progress;
	char *trouble;
};

/* Says why and returns `outcome`. */
enum pull_outcome pull_fail(struct pull *p, enum pull_outcome outcome, const char *fmt, ...)
	_printf_(3, 4);
/* Works until the source has ended and all is unpacked (PULL_DONE), something fails, or it is
 * `until`, which with no source is what it waits for (PULL_DONE too). */
enum pull_outcome pull_pump(struct pull *p, uint64_t until) _must_check_;
/* The most that an archive and its files may have. */
uint64_t pull_most(const struct artifact *a);
uint64_t pull_most_unpacked(const struct artifact *a);
