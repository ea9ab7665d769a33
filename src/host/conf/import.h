// SPDX-License-Identifier: Apache-2.0
/*
 * Changing host.conf: `config set` takes all or nothing; debconf's answers are taken one by
 * one, and what is wrong is kept as a reason for `status` to show, never as a value.
 */
#pragma once

#include "base/diag.h"
#include "base/root.h"
#include "host/conf/hostconf.h"
#include "host/conf/secrets.h"

#define IMPORT_MAX (64 * 1024)
/* "KEY: reason" lines of answers that were not stored. */
#define REJECTED_PATH "/var/lib/dstack/rejected"

struct import {
	struct hostconf hc;
	char *value[KEY_COUNT];	  /* asked for; NULL with touched: unset */
	char touched[KEY_COUNT];
	char *old[KEY_COUNT];	  /* as it was in the file */
	struct diag before;	  /* what was wrong already */
	char secret_done[SECRET_COUNT];
	struct diag diag;
};

/* Reads what is there. 0 or -errno. */
int import_begin(const struct root *root, struct import *im) _must_check_;
/* "KEY=VALUE"; complaints go to im->diag. */
void import_word(struct import *im, const char *word);
void import_unset(struct import *im, const char *name);
/* Stores a secret at once, or complains (never with its value). 0 or -errno. */
int import_secret(const struct root *root, struct import *im, enum secret_id id,
		  const char *value) _must_check_;
/* Stores all of it, or nothing when anything is wrong: 0, FILE_UNCHANGED, -EINVAL (see
 * im->diag) or -errno. */
int import_commit_all(const struct root *root, struct import *im) _must_check_;
/* Records "name=value", each ended by a NUL byte, with debconf's names ("pccs-api-key");
 * "settings" holds KEY=VALUE words. NUL, because debconf turns the two characters \n into a
 * line break, which must spoil that one value and not become a setting of its own.
 * 0 or -errno; wrong answers are in im->diag and in REJECTED_PATH. */
int import_answers(const struct root *root, struct import *im, const char *text, size_t len)
	_must_check_;
void import_free(struct import *im);
