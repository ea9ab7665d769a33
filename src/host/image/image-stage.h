// SPDX-License-Identifier: Apache-2.0
/*
 * Where an image grows: IMAGE_DIR/.pull/NAME, two levels below what the VMM looks at, on its
 * file system, root's alone. `new` is the image, `state` what a later run goes on from.
 *
 * How a pull goes on after whatever ended it. Gzip cannot be entered in its middle without what
 * came before, so a few times a second the whole pipeline is cut at one byte of the archive: SHA-256
 * there, the inflater with its window, the tar reader, the length of every file. All of that is
 * plain memory and is copied while the pipeline runs on. A child then makes the files durable
 * and, after that, replaces `state` in one step. A file may by then be longer than its cut says:
 * going on shortens it to that and asks the server for the byte after the cut. So nothing is
 * written twice, no byte before the cut is fetched again, and a state never tells of data that
 * was not durable first. An fsync that failed makes the pages clean all the same, so it is
 * believed once: state and files are dropped. That the cut belongs to these very bytes is known
 * in the end only, by the digests: what went on and turns out wrong is begun once more from zero.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/root.h"
#include "host/image/image-hash.h"
#include "host/image/image-tar.h"

struct stage_file {
	char name[TAR_NAME_MAX + 1];
	uint64_t size; /* of what was written */
	int fd;
};

struct stage {
	struct root root; /* IMAGE_DIR/.pull/NAME */
	int images, new;  /* IMAGE_DIR, and the image */
	int lock;
	char *name;
	struct stage_file files[TAR_FILES_MAX];
	uint32_t n_files;
	pid_t saving; /* the child that makes it durable; 0: none */
	int saving_fd;	/* its pidfd */
};

/* One moment of the pipeline. */
struct stage_cut {
	char identity[200]; /* of what is pulled */
	uint64_t at;	    /* bytes of the archive */
	struct hash hash;   /* of those */
	void *unpack;	    /* the unpacking half's state */
	size_t unpack_len;
};

enum { STAGE_NONE = 1 };

/* Makes and locks it. 0, -EAGAIN (another process pulls it) or -errno. */
int stage_open(const struct root *root, const char *images, const char *name,
	       struct stage *ret) _must_check_;
/* What an earlier run has left of `identity`: 0 and the cut, its files open and of the right
 * length; STAGE_NONE: nothing that could be gone on with, and all is empty; or -errno. */
int stage_load(struct stage *s, const char *identity, struct stage_cut *ret) _must_check_;
/* Forgets all of it, durably. 0 or -errno. */
int stage_clear(struct stage *s) _must_check_;
/* Begins a file of `size` bytes, for which there must be room. 0 or -errno. */
int stage_begin(struct stage *s, const char *name, uint64_t size) _must_check_;
/* Adds to it. 0 or -errno. */
int stage_write(struct stage *s, const void *data, size_t len) _must_check_;

/* Starts to make a cut durable, or only the files (`cut` is NULL). 0 or -errno; stage_saved() tells how it ended. */
int stage_save(struct stage *s, const struct stage_cut *cut) _must_check_;
/* When s->saving_fd is readable, or to wait for it. 0; -EIO: data is lost, all must be dropped;
 * -ENOSPC: it could not be written down. */
int stage_saved(struct stage *s) _must_check_;

/* Makes all files durable. 0 or -errno, and then all must be dropped. */
int stage_sync(struct stage *s) _must_check_;
/* Shows the image to the VMM in one step, durably; one that was there is removed after that.
 * 0, -EEXIST (without `replace`) or -errno. */
int stage_publish(struct stage *s, int replace) _must_check_;
void stage_cut_free(struct stage_cut *cut);
/* Removes what is in it besides its files. 0 or -errno. */
int stage_drop_others(struct stage *s) _must_check_;
/* Removes an empty directory of its own; unlocks. */
void stage_close(struct stage *s);

/* Removes a directory's files and the directory. 0 or -errno. */
int stage_remove_dir(int at, const char *name) _must_check_;
