// SPDX-License-Identifier: Apache-2.0
/* The half that fetches one URL, from some byte on. */
#pragma once

#include "host/image/image-half.h"

struct fetch_plan {
	const char *url;
	uint64_t from;	/* the first byte that is wanted */
	int whole;	/* do not ask for a part, skip what is in front of that byte */
	uint64_t size;	/* the archive's; 0: not known */
	uint64_t most;	/* what it may have at most, where that is not known */
	const char *proxy, *no_proxy; /* "": none */
	unsigned stall_s;	      /* how long next to nothing may come */
};

/* Before it is forked. 0 or -errno. */
int fetch_load(void) _must_check_;
/* A half_run; `arg` is a struct fetch_plan. Says _START, _DATA (from that byte on, whatever the
 * server made of the request), and last _END or _FAIL. */
half_run fetch_run;
