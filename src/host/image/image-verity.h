// SPDX-License-Identifier: Apache-2.0
/* dm-verity: a root file system against the one hash that a kernel's command line has of it. */
#pragma once

#include <stdint.h>

#include "host/image/image-hash.h"

enum { VERITY_SALT_MAX = 256, VERITY_LEVELS_MAX = 16 };

/* What a superblock says (cryptsetup's verity_sb, version 1). */
struct verity {
	int fd;
	uint32_t data_block, hash_block;
	uint64_t blocks;	/* of data */
	unsigned levels;
	uint64_t level_at[VERITY_LEVELS_MAX]; /* first hash block of each, from the leaves up */
	uint64_t level_blocks[VERITY_LEVELS_MAX];
	struct hash salted;	/* that has taken the salt */
	char error[160];
};

/* The superblock is behind `size` bytes of data. 0, or -EBADMSG and v->error. */
int verity_open(int fd, uint64_t size, struct verity *v) _must_check_;
/* The hash blocks, up to the root hash. 0 or -EBADMSG. */
int verity_check_tree(struct verity *v, const unsigned char root[HASH_LEN]) _must_check_;
/* Data blocks from..to-1 against the leaves. 0 or -EBADMSG. */
int verity_check_data(struct verity *v, uint64_t from, uint64_t to) _must_check_;
