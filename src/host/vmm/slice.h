// SPDX-License-Identifier: Apache-2.0
/* What runs in the slice of virtual machines, and how it is ended. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/macro.h"
#include "base/root.h"

struct slice_process {
	pid_t pid;
	char *name; /* as the kernel has it, 15 bytes; "?" when it ended meanwhile */
};

struct slice_processes {
	struct slice_process *items;
	size_t n;
};

/* All processes of the slice but this one; none when there is no such slice. 0 or -errno. */
int slice_list(const struct root *root, struct slice_processes *ret) _must_check_;
void slice_processes_free(struct slice_processes *list);
/* "12 qemu-system-x86, 14 passt", the caller's. */
char *slice_processes_text(const struct slice_processes *list) _must_check_;

/* A handle on a process that is in the slice. A descriptor, or -ESRCH when it is not. */
int slice_pidfd(const struct root *root, pid_t pid) _must_check_;
/* Waits until all have ended or the deadline has passed. How many still live. */
size_t slice_wait(const int *pidfds, size_t n, uint64_t deadline);
/* SIGTERM, and after `patience_ms` SIGKILL, until the slice is empty (of all but this
 * process). 0, -EBUSY when something stays, or -errno. */
int slice_end_all(const struct root *root, unsigned patience_ms) _must_check_;

#define _cleanup_slice_processes_ _cleanup_(slice_processes_free)
