// SPDX-License-Identifier: Apache-2.0
/* Hashing of an image, shared out to halves. */
#pragma once

#include <stdint.h>

#include "host/image/image-hash.h"

struct hash_job {
	const char *name;	/* of the file */
	int fd;
	unsigned char want[HASH_LEN]; /* of the whole file, or the root hash */
	uint64_t data;		/* of a root file system: bytes that it has; 0: a file */
	uint64_t size;
};

/* All of them. 0; 1: *trouble, the caller's, names what is wrong; or -errno. */
int hash_all(const struct hash_job *jobs, size_t n, char **trouble) _must_check_;
