// SPDX-License-Identifier: Apache-2.0
/* Who could read this host's secrets: modes of their files, and copies where none may be. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/root.h"
#include "host/units.h"

struct secret_file {
	char *path;
	mode_t mode;
	uid_t uid;
};

enum leak_kind { LEAK_ARGV, LEAK_ENVIRONMENT, LEAK_DEBCONF, LEAK_JOURNAL };

struct leak {
	enum leak_kind kind;
	const char *secret; /* its name */
	char *where;	    /* "process 123 (curl)" */
};

struct secret_audit {
	int error; /* of the directory: -errno; -ENOENT: no secret was ever stored */
	int hidden; /* the files could not be looked at */
	struct secret_file *files; /* the directory first */
	size_t n_files;
	struct leak *leaks;
	size_t n_leaks;
	int partial; /* not everything could be looked at */
};

/* Fills in error, hidden and files. */
void secret_audit_files(const struct root *root, struct secret_audit *audit);
/* Looks for the values of all secrets; adds leaks. */
void secret_audit_leaks(const struct root *root, const struct unit_state *unit, size_t n_units,
			struct secret_audit *audit);
void secret_audit_free(struct secret_audit *audit);
