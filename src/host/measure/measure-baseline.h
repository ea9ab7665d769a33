// SPDX-License-Identifier: Apache-2.0
/*
 * What a sealed machine measured while it ran is on record, a file for each; what it would
 * measure at its next start, with the QEMU and the image that lie on disk now, is compared with
 * that. A record is made once and never replaced.
 */
#pragma once

#include "host/measure/measure-run.h"
#include "host/measure/measure-vm.h"

#define BASELINES "/var/lib/dstack/kms/measured"

enum baseline_verdict {
	BASELINE_SAME,
	BASELINE_OTHER_QEMU,
	BASELINE_OTHER_IMAGE, /* or its command line */
	BASELINE_UNKNOWN,     /* could not be read */
	BASELINE_LATE,	      /* no time was left */
};

struct baseline {
	char *id, *name; /* of the machine */
	char *image;	 /* the directory that its kernel lies in; NULL: not known */
	enum baseline_verdict verdict;
	char *text;	 /* "the ACPI tables differ", or why it is not known; NULL */
	char *was, *now; /* versions of QEMU; NULL: not known */
};

/* Compares all that are on record of machines that are still there (vm_dir/ID), until `deadline`
 * (base/clock.h). What was read is kept in /run/dstack, for as long as no file changes that was
 * read. 0 or -errno. */
int baselines_look(const struct root *root, const char *vm_dir, uint64_t deadline,
		   struct baseline **ret, size_t *n) _must_check_;
void baselines_free(struct baseline *baselines, size_t n);

/* Is there one for that machine? `id`: the VMM's. */
int baseline_exists(const struct root *root, const char *id);
/* Puts on record what the machine (its id or name) measures that runs: with what is on disk,
 * and only while nothing of it has changed since the machine was started. qemu: the one that
 * runs, where the operator names it; NULL: the one on disk. FILE_UNCHANGED: it was on record.
 * 0, or -EBADMSG with the reason. */
int baseline_record(const struct root *root, const struct settings *settings,
		    const char *machine, const struct measure_qemu *qemu, char **trouble)
	_must_check_;

/* --- measure-saved-digest.c --- */

/* As measure_load(), from the facts of a file; `vm` gets the machine, where there is one. */
int measure_take_saved(const struct peer_answer *answer, struct measure_result *ret,
		       struct measure_vm *vm) _must_check_;
