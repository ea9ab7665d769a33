// SPDX-License-Identifier: Apache-2.0
/*
 * /etc/dstack/host.conf as text: KEY=value lines, # comments. Edits keep comments, order
 * and unknown lines; nothing here knows defaults (that is settings.h).
 */
#pragma once

#include "base/diag.h"
#include "base/root.h"
#include "host/conf/keys.h"

#define HOSTCONF_PATH "/etc/dstack/host.conf"
/* A file of this size is not a configuration; reading stops there. */
#define HOSTCONF_MAX (256 * 1024)

struct hostconf {
	char *path;	/* as diagnostics show it */
	char *text;	/* the whole file, "" when it is absent */
	int exists;
	int unreadable;	/* too large, or holds a NUL byte: must not be written over */
	char *value[KEY_COUNT]; /* NULL: not set */
	unsigned line[KEY_COUNT];
};

/* Reads a file of that form below root; complaints go to `diag` (value[] holds what was
 * readable, also when it is wrong). 0 or -errno; absence is no error. */
int hostconf_load(const struct root *root, const char *path, struct hostconf *ret,
		  struct diag *diag) _must_check_;
/* Sets (value) or removes (NULL) one key in the text. */
void hostconf_edit(struct hostconf *hc, enum key_id id, const char *value);
/* 0, FILE_UNCHANGED, -EBADMSG for one that could not be read, or -errno; the file is 0600. */
int hostconf_save(const struct root *root, const struct hostconf *hc) _must_check_;
void hostconf_free(struct hostconf *hc);

#define _cleanup_hostconf_ _cleanup_(hostconf_free)
