// SPDX-License-Identifier: Apache-2.0
/* What the files of `measure` share. */
#pragma once

#include <jansson.h>

#include "cmd/cmd.h"
#include "host/measure/measure-run.h"
#include "host/measure/measure-vm.h"

enum { WORDS_MAX = 32 };

struct words {
	const char *v[WORDS_MAX];
	size_t n;
};

struct measure_args {
	const char *vm, *image, *qemu, *save, *verify;
	int record, all, events, json, compare, without_qemu;
	unsigned vcpu;
	uint64_t memory_mb;
	struct words beside, more; /* --with, --arg */
	struct measure_options options;
};

struct measure_target {
	struct measure_config config;
	struct measure_qemu qemu;
	char *qemu_path, *common;
};

/* The path as it is below root: a relative one is meant from the current directory. */
char *measure_path(const struct cmd_ctx *ctx, const char *path) _must_check_;
/* The machines that --vm or --all name, or the one that --image and the size describe; the
 * caller frees with measure_targets_free(). EXIT_FINE, or the message was printed; with --all
 * there may be others then. */
int measure_targets(const struct cmd_ctx *ctx, const struct measure_args *args,
		    struct measure_target **ret, size_t *n);
void measure_targets_free(struct measure_target *targets, size_t n);
/* EXIT_FINE, or the message of the first that failed was printed. */
int measure_run(const struct cmd_ctx *ctx, const struct measure_args *args,
		struct measure_run *runs, size_t n);
int measure_compare(const struct cmd_ctx *ctx, const struct measure_args *args,
		    const char *const sides[2]);
int measure_record(const struct cmd_ctx *ctx, const struct measure_args *args);
int measure_save(const struct cmd_ctx *ctx, const char *path, json_t *doc);
