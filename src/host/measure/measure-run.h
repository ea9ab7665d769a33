// SPDX-License-Identifier: Apache-2.0
/*
 * The registers of configurations. QEMUs are started in jails and read, files are read by a
 * half; what comes back are digests. Equal ones are read once.
 */
#pragma once

#include "host/measure/measure-config.h"
#include "host/measure/measure-half.h"

struct measure_qemu {
	const char *path; /* below root; a program or a package (.deb) */
	const char *const *beside; /* packages that are unpacked beside it */
	size_t n_beside;
};

struct measure_options {
	enum measure_choice pages, header;
	uint32_t window; /* base of the PCI Express window as the firmware sets it */
	int hash_qemu;	 /* its SHA-256 is wanted: a third of the time that all takes */
	int td;		 /* read a paused TD, of a TDX host, with the machine's full arguments */
	int booted;	 /* run the image's firmware until it has read the tables */
	unsigned ms;	 /* for QEMUs to be read; 0: some */
	unsigned all_ms; /* for that and all files; 0: some more */
};

enum { MEASURE_WINDOW = 0xe0000000 };

/* Digests in hex. */
struct measure_result {
	char *error; /* NULL: all the rest is there */
	char *version, *sha256; /* of QEMU; NULL without one, or not wanted */
	char *pages, *header;	/* "two-pass", "single-pass"; "qemu", "file" */
	char *command_line;	/* "running", "last", "assumed", "given"; NULL: saved by an older one */
	char *sandbox;		/* whose user QEMU had: "own", "caller"; NULL without one */
	char *td; /* what was read was a paused TD: "real", "simulated"; NULL: without TDX */
	char *note;		/* or NULL */
	char *registers[MEASURE_REGISTERS]; /* RTMR0 is NULL without QEMU */
	char *events[MEASURE_EVENTS];
};

struct measure_run {
	const struct measure_config *config;
	const struct measure_qemu *qemu; /* NULL: without */
	struct measure_result result;
};

/* 0, then each run has its result or an error; or -errno when nothing could be begun. */
int measure_all(const struct root *root, struct measure_run *runs, size_t n,
		const struct measure_options *options) _must_check_;
void measure_result_free(struct measure_result *result);
void measure_result_copy(const struct measure_result *from, struct measure_result *to);
/* What the half told of a job, or an error. */
void measure_result_take(struct measure_result *result, const struct peer_answer *answer);
/* A fact's copy, the caller's; NULL: there is none. */
char *measure_fact(const struct peer_answer *answer, const char *key) _must_check_;
int measure_is_package(const char *path);

/* --- measure-jail.c --- */

/* An image's files, open. */
struct measure_files {
	int firmware, kernel, initrd;
};

struct measure_cell {
	const struct root *root;
	const struct measure_qemu *qemu;
	int booted, td;
	const struct measure_files *images;
	size_t n_images;
	const struct measure_config **configs; /* one for each program */
	const size_t *image_of;		       /* the same */
	struct jail_program *programs;	       /* their descriptors */
	size_t n_programs;
	/* Of the program, or the packages. */
	const int *files;
	size_t n_files;
};

struct jail;
/* Starts a QEMU for each configuration. */
int measure_jail_start(struct measure_cell *cell, struct jail *ret) _must_check_;
