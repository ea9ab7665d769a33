// SPDX-License-Identifier: Apache-2.0
/*
 * Brings an image onto the host in one pass: a half fetches, root hashes and passes on what came,
 * a half unpacks, root writes what it is told to into files that it has made. Each goes on while
 * the others work; between them are sockets of bounded length. See image-stage.h for how a pull
 * goes on after an end.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/root.h"
#include "host/image/image-manifest.h"

struct pull_request {
	const struct artifact *artifact;
	const char *images;	    /* IMAGE_DIR */
	const char *const *sources; /* URLs, or paths of files, in order */
	size_t n_sources;
	const char *proxy, *no_proxy;
	unsigned stall_s;
	int replace; /* what is there under that name */
	/* Before it is shown: 0, or -errno, after saying why not. */
	int (*before)(void *arg);
	void *arg;
};

enum pull_outcome {
	PULL_DONE,
	PULL_AGAIN,   /* inside only */
	PULL_URL,     /* no source gave it; what came is kept for the next run */
	PULL_CONTENT, /* what they gave is not the image; nothing is kept */
	PULL_HOST,    /* this machine: no room, a disk error */
	PULL_LOCKED,  /* another process pulls it */
};

struct pull_result {
	char sha256[SHA256_HEX + 1];
	uint64_t size, unpacked;
	uint64_t resumed; /* bytes that were there already */
	char *trouble;	  /* the caller's; NULL with PULL_DONE */
};

enum pull_outcome pull_image(const struct root *root, const struct pull_request *q,
			     struct pull_result *ret) _must_check_;
/* Removes what an earlier pull has left of an image, unless it is under way. 1: it did. */
int pull_forget(const struct root *root, const char *images, const char *name);
/* The same of all images; the names, each in a line, the caller's. */
char *pull_forget_all(const struct root *root, const char *images) _must_check_;
