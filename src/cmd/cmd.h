// SPDX-License-Identifier: Apache-2.0
/* The verbs: one file each, one table in main.c. */
#pragma once

#include "base/root.h"

enum exit_code {
	EXIT_FINE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_CONFIG = 3,
	EXIT_LOCKED = 75,
};

struct cmd_ctx {
	struct root root;
};

enum { CMD_INTERNAL = 1 }; /* for units and maintainer scripts; not in the short help */

struct command {
	const char *name;
	const char *usage;   /* what follows the name */
	const char *summary; /* one line */
	int flags;
	/* argv[0] is the verb. Returns enum exit_code. */
	int (*run)(const struct cmd_ctx *ctx, int argc, char *argv[]);
};

extern const struct command cmd_config;
extern const struct command cmd_secret;
extern const struct command cmd_render;
extern const struct command cmd_compose;
extern const struct command cmd_devices;
extern const struct command cmd_status;
extern const struct command cmd_check;
extern const struct command cmd_report;
extern const struct command cmd_diff;
extern const struct command cmd_metrics;
extern const struct command cmd_up;
extern const struct command cmd_kms;
extern const struct command cmd_measure;
extern const struct command cmd_image;
extern const struct command cmd_drain;
extern const struct command cmd_apply;
extern const struct command cmd_await;
extern const struct command cmd_key_provider;
extern const struct command cmd_guard;
extern const struct command cmd_supervisor_gate;

/* "dstack-host VERB: TEXT" and the usage line; EXIT_USAGE. */
int cmd_usage_error(const struct command *cmd, const char *fmt, ...) _printf_(2, 3);
/* The usage line on stdout. */
void cmd_help(const struct command *cmd);
/* The lock of all writing verbs: EXIT_FINE, or the message was printed. */
int cmd_lock(const struct cmd_ctx *ctx, int *ret_fd);
/* For verbs that take --json and nothing else: a negative number, the rest begins at optind, or
 * the exit code when all is said. */
int cmd_json_option(const struct command *cmd, int argc, char *argv[], int *ret_json);
/* Is stdout a terminal that wants colour (NO_COLOR)? */
int cmd_colour(void);
/* "Cannot WHAT: reason" for a -errno; EXIT_FAILED. */
int cmd_failed(int r, const char *fmt, ...) _printf_(2, 3);
