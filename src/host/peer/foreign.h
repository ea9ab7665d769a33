// SPDX-License-Identifier: Apache-2.0
/*
 * Files whose contents others decide (API users of the VMM, an image's maker). Root opens them,
 * a half without network reads and parses them: see host/peer/peer.h.
 */
#pragma once

#include <stddef.h>

#include "base/macro.h"
#include "base/root.h"
#include "host/peer/peer.h"

struct foreign_file {
	char *path; /* freed by foreign_free() */
	/* In the half; emits "bad" when the file is not what it should be. */
	void (*digest)(const struct peer_reply *reply, struct peer_emit *emit);
	/* What foreign_read() found: 0, or -errno (-ENOENT: it is not there) */
	int error;
	struct peer_answer answer; /* its facts, where error is 0 */
};

/* Reads all of them, hundreds in one half. 0, or -errno when none could be started. */
int foreign_read(const struct root *root, struct foreign_file *files, size_t n) _must_check_;
void foreign_free(struct foreign_file *files, size_t n);

/* In the half. */
void foreign_digest_state(const struct peer_reply *reply, struct peer_emit *emit);
void foreign_digest_compose(const struct peer_reply *reply, struct peer_emit *emit);
void foreign_digest_manifest(const struct peer_reply *reply, struct peer_emit *emit);
void foreign_digest_image(const struct peer_reply *reply, struct peer_emit *emit);
