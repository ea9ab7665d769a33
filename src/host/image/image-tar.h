// SPDX-License-Identifier: Apache-2.0
/*
 * The tar archives that images come in, and no others: plain files in one directory, each once.
 * libarchive would read them too, but cannot be stopped in the middle of a file and go on after
 * a reboot: a reader here is plain memory without pointers, and its copy goes on.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

enum { TAR_NAME_MAX = 64, TAR_FILES_MAX = 64, TAR_BLOCK = 512, TAR_PAX_MAX = 4096 };

struct tar_sink {
	/* A file begins; the last one has ended. 0, or -errno, which tar_feed() returns. */
	int (*file)(void *arg, const char *name, uint64_t size);
	int (*data)(void *arg, const void *data, size_t len);
	void *arg;
};

struct tar_reader {
	char top[TAR_NAME_MAX + 1]; /* the directory that files may be in */
	uint64_t limit;		    /* bytes of all files together */
	uint64_t total;
	uint64_t left;		    /* of what is read now, with padding */
	uint64_t data;		    /* of that, what is no padding */
	uint32_t have;		    /* bytes of `block` */
	uint32_t pax_len;	    /* of an extended header; 0: a file is read */
	uint32_t zeros;		    /* blocks of nothing at its end */
	uint32_t entries, n_names;
	unsigned char block[TAR_BLOCK];
	char pax[TAR_PAX_MAX];
	char names[TAR_FILES_MAX][TAR_NAME_MAX + 1];
	char error[160]; /* why it was refused; quotes what stands in it, cleaned */
};

void tar_init(struct tar_reader *t, const char *top, uint64_t limit);
/* Takes the next bytes. 0, -EBADMSG (see error), or what the sink returned. */
int tar_feed(struct tar_reader *t, const struct tar_sink *sink, const void *data, size_t len)
	_must_check_;
/* Was that all of it? 0 or -EBADMSG. */
int tar_end(struct tar_reader *t) _must_check_;
/* Is it the name of a file that an image may have? */
int tar_is_name(const char *name);
