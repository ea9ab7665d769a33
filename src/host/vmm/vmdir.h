// SPDX-License-Identifier: Apache-2.0
/* The directories of virtual machines (VM_DIR/ID), and the processes that live in them. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/macro.h"
#include "base/root.h"

/* Is there a machine that the VMM will start by itself and that needs the local key provider
 * for its disk? 1, 0 or -errno; files that cannot be read count as yes: waiting is safe. */
int vmdir_needs_key_provider(const struct root *root, const char *dir) _must_check_;
/* The same of any machine, started or not. */
int vmdir_has_sealed(const struct root *root, const char *dir) _must_check_;
/* Ids of those whose disk the local key provider seals, *ids and each the caller's; what cannot
 * be read is none. 0 or -errno. */
int vmdir_sealed(const struct root *root, const char *dir, char ***ids, size_t *n) _must_check_;
/* The machines' names; NULL for those that cannot be told. names[i] is the caller's. */
void vmdir_names(const struct root *root, const char *dir, const char *const *ids, size_t n,
		 char **names);

struct vm_process {
	pid_t pid;
	pid_t parent;
	char *id; /* of the virtual machine */
	/* Which directory that is: its path may be another's in another mount namespace. */
	dev_t dev;
	ino_t ino;
};

struct vm_processes {
	struct vm_process *items;
	size_t n;
	int denied; /* some processes could not be looked at */
};

/* Processes whose working directory is a machine's, whoever started them. */
void vmdir_processes(const struct root *root, const char *dir, struct vm_processes *ret);
/* Does this one still live there? */
int vm_process_lives(const struct root *root, const struct vm_process *process);
void vm_processes_free(struct vm_processes *list);
