// SPDX-License-Identifier: Apache-2.0
/* A configuration: what of a virtual machine, or of an image and a size, is measured. */
#pragma once

#include <stdint.h>

#include "base/macro.h"
#include "base/root.h"

/* Where the command line comes from. */
enum measure_origin {
	ORIGIN_GIVEN,	/* of the caller */
	ORIGIN_RUNNING, /* a machine runs with it */
	ORIGIN_LAST,	/* the supervisor ran it with that, and it has ended */
	/* Nobody shows that of a stopped machine: what dstack-vmm 0.5 and 0.6 start with, with
	 * no option of its configuration. */
	ORIGIN_ASSUMED,
};

struct measure_config {
	enum measure_origin origin;
	char *what;	/* "kms", "dstack-0.5.5 with 2 vCPU and 4096 MiB" */
	/* Paths below root. */
	char *firmware, *kernel, *initrd;
	char *cmdline;
	int normalized;
	char *qemu;	/* that runs it; NULL: not known */
	uint64_t memory; /* bytes */
	/* What makes it a TD, left out of args: all of its -machine, and the object that says so.
	 * NULL: it is none. */
	char *td_machine, *td_object;
	char **args;	/* for a QEMU that only hands out tables, NULL at the end */
	size_t n_args;
};

/* The name of what cannot be told is in *trouble, a phrase of the caller's: -EBADMSG. */

/* Translates the arguments that a machine runs with (without argv[0]): disks, network, vsock,
 * CPU, accelerator and TDX, none of which is in the tables, are replaced by what needs nothing
 * of this host. The image is taken from -bios, -kernel, -initrd and -append. */
int config_from_args(const char *const *args, size_t n, struct measure_config *ret,
		     char **trouble) _must_check_;
/* What the VMM gives to a machine of that size; `more` are arguments besides. */
int config_from_size(unsigned vcpu, uint64_t memory_mb, const char *const *more, size_t n,
		     struct measure_config *ret, char **trouble) _must_check_;
/* The directory of an image: a path, or a name below `images`. */
char *config_image_dir(const char *image, const char *images) _must_check_;
/* Files and command line of the image in `dir`, over those that are there. */
int config_set_image(const struct root *root, const char *dir, struct measure_config *config,
		     char **trouble) _must_check_;
/* Sets `normalized` of those whose kernel lies beside a metadata.json that says so. */
void config_set_normalized(const struct root *root, struct measure_config **configs, size_t n);
/* In the half: of an image's metadata.json. */
struct peer_reply;
struct peer_emit;
void measure_digest_image(const struct peer_reply *reply, struct peer_emit *emit);
void config_copy(const struct measure_config *from, struct measure_config *ret);
void config_free(struct measure_config *config);
/* Would both measure the same, with the same QEMU? */
int config_equal(const struct measure_config *a, const struct measure_config *b);

#define _cleanup_config_ _cleanup_(config_free)
