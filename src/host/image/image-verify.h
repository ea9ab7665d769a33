// SPDX-License-Identifier: Apache-2.0
/*
 * Is an image whole, and the right one? digest.txt is the SHA-256 of sha256sum.txt, that has the
 * files and metadata.json, which has the command line, which has the hash of the root file
 * system: all of it hangs on one digest. What is in the files is read in halves; every byte is
 * hashed in as many of them as there are processors.
 */
#pragma once

#include <stdint.h>

#include "base/macro.h"
#include "host/sha256.h"

struct image_facts {
	char digest[SHA256_HEX + 1]; /* what it is, once it is whole */
	uint64_t bytes;
	char *unbound; /* the first file that nothing tells anything of; NULL: none */
	int simulated; /* dstack-host-sim says that it has made it */
};

/* The image in directory `dir`, and that it is `digest` (NULL: any). 0; 1: it is not, and
 * *trouble, the caller's, says why; or -errno. */
int image_verify(int dir, const char *digest, struct image_facts *ret, char **trouble)
	_must_check_;
/* Is all of it that is measured, as far as it is there, that of image `digest`? Then the very image
 * may take its place: whatever was sealed with this one opens with that. The root file system is
 * not looked at: dm-verity keeps a guest from reading another one than the command line says. As
 * image_verify(). */
int image_verify_measured(int dir, const char *digest, char **trouble) _must_check_;
/* Only what digest.txt says: 0 or -errno; -EBADMSG: nothing of use. */
int image_read_digest(int dir, char ret[SHA256_HEX + 1]) _must_check_;
void image_facts_free(struct image_facts *facts);

#define _cleanup_facts_ _cleanup_(image_facts_free)
