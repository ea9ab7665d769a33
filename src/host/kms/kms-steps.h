// SPDX-License-Identifier: Apache-2.0
/* What the files of `kms deploy` share. */
#pragma once

#include "host/kms/kms.h"

/* After a lost answer: the VMM makes the directory at once, or it never got the call. */
enum { KMS_LOST_TICKS = 30 };

enum step {
	STEP_AGAIN,  /* wait a tick, look again */
	STEP_FOLLOW, /* there is a VM */
	STEP_DONE,   /* `result` is the end */
};

struct deploy {
	const struct root *root;
	const struct settings *s;
	struct kms_plan plan;
	int planned;
	const char *why; /* not planned: the setting it waits for */
	struct kms_record record;
	int recorded;
	unsigned lost; /* ticks to look on for a VM whose creation was not answered */
	int may_start; /* our record named the VM before we looked, and it was not started yet */
	char *said;
	int timer, result;
	int keys_made; /* by us, whether or not the KMS has started with them */
	int once; /* the lock of this verb, from the look to the record, and while keys are made;
		   * -1: not held */
};

/* STATUS= for the unit, once per change. */
void deploy_say(struct deploy *d, const char *fmt, ...) _printf_(2, 3);
enum step deploy_end(struct deploy *d, int result);
/* "cannot WHAT: reason", and the end. */
enum step deploy_trouble(struct deploy *d, int r, const char *what);
void deploy_set(char **to, const char *value);
/* After it was written: what is in force is what can be read again. 0, 1 or -errno. */
int deploy_reload(struct deploy *d);

/* The lock of all writing verbs, around each write and nothing else: nobody waits for a VMM
 * because of it. STEP_FOLLOW: held until *ret_fd is closed. */
enum step deploy_lock(struct deploy *d, int *ret_fd);

/* No VM of ours is there (kms-create.c). */
enum step deploy_none(struct deploy *d, const struct kms_look *look);
