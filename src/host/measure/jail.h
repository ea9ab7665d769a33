// SPDX-License-Identifier: Apache-2.0
/*
 * Programs that are not trusted, shut in together: a user of their own, no network, no
 * devices, no other process in sight, a file system in memory that shows them programs and
 * libraries for reading and a scratch directory, few system calls, no further processes,
 * bounds for memory, time and space. All of it is gone when the jail is ended, and when this
 * process is.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/macro.h"
#include "base/strbuf.h"

#define JAIL_SCRATCH "/scratch"

enum { JAIL_FDS = 3 };

struct jail_program {
	const char *const *argv; /* argv[0]: a path inside */
	int fds[JAIL_FDS]; /* become 3, 4 and 5, -1: none; closed here by jail_start() */
	int err;	   /* where it writes what it complains of; likewise */
};

struct jail_spec {
	const char *root;	  /* below which they are; "": none */
	const char *const *trees; /* directories or files that are seen, missing ones are not */
	const char *device;	  /* a node that they may use, by its group; NULL: none */
	uint64_t space;		  /* of the file system, bytes */
	uint64_t address_space, data; /* RLIMIT_AS, RLIMIT_DATA of each program */
	unsigned cpu_seconds;
	const char *library_path; /* LD_LIBRARY_PATH; NULL: none */
	/* Inside, with this process's rights: fills the scratch directory. */
	int (*furnish)(int scratch, void *arg);
	/* Inside, with those of the programs, before they start. What it writes to `err` is
	 * why it failed. */
	int (*prepare)(int scratch, int err, void *arg);
	void *arg;
	const int *files; /* of all that is open here, what prepare() reads */
	size_t n_files;
	const struct jail_program *programs;
	size_t n_programs;
};

struct jail {
	pid_t pid; /* 0: none */
	int status;
	int alive; /* closed when this process ends, whatever ends it */
};

/* 0, or -errno: nothing was started. */
int jail_start(const struct jail_spec *spec, struct jail *ret) _must_check_;
/* Ends all that is in it. Why it could not be furnished or entered, "" when it could; the
 * caller's. */
char *jail_end(struct jail *jail) _must_check_;

/* --- jail-calls.c --- */

/* For what prepares, then for the programs, which get nothing back. with_device: all that
 * ioctl(2) does, on what they can open. 0 or -errno. */
int jail_restrict(int is_program, int with_device) _must_check_;
