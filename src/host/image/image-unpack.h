// SPDX-License-Identifier: Apache-2.0
/* The half that unpacks: gzip, then tar; knows nothing of where files go. */
#pragma once

#include "host/image/image-half.h"
#include "host/image/image-tar.h"

struct unpack_plan {
	const char *top;	/* the image's name */
	uint64_t limit;		/* bytes of all files together */
	const void *state;	/* of MESSAGE_STATE, to go on; NULL: from the start */
	size_t state_len;
};

/* Before it is forked. 0 or -errno. */
int unpack_load(void) _must_check_;
/* A half_run; `arg` is a struct unpack_plan. Takes MESSAGE_DATA, _MARK and _END; says _FILE,
 * _DATA, _STATE, and last _END or _FAIL. */
half_run unpack_run;
