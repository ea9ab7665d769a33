// SPDX-License-Identifier: Apache-2.0
/* What all verbs share: usage, lock, messages. */
#include "cmd/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/lock.h"
#include "base/log.h"

#define LOCK_SECONDS 30

int cmd_usage_error(const struct command *cmd, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	log_error("%s: %s", cmd->name, text);
	log_line("Usage: dstack-host %s %s", cmd->name, cmd->usage);
	return EXIT_USAGE;
}

void cmd_help(const struct command *cmd)
{
	printf("Usage: dstack-host %s %s\n%s\n", cmd->name, cmd->usage, cmd->summary);
}

int cmd_lock(const struct cmd_ctx *ctx, int *ret_fd)
{
	int r = lock_take(&ctx->root, LOCK_SECONDS, ret_fd);

	if (r == 0)
		return EXIT_FINE;
	if (r == -EACCES || r == -EPERM) {
		log_error("this changes the host and needs root: try sudo");
		return EXIT_FAILED;
	}
	if (r != -EAGAIN)
		return cmd_failed(r, "take the lock %s/run/dstack/.lock", ctx->root.path);
	log_error("another dstack-host is at work and did not end within %d s; try again",
		  LOCK_SECONDS);
	return EXIT_LOCKED;
}

int cmd_json_option(const struct command *cmd, int argc, char *argv[], int *ret_json)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	*ret_json = 0;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(cmd);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		*ret_json = 1;
	}
	return -1;
}

int cmd_colour(void)
{
	const char *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(no && *no);
}

int cmd_failed(int r, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	log_error("cannot %s: %s%s", text, strerror(-r),
		  r == -EACCES || r == -EPERM ? " (try sudo)" : "");
	return EXIT_FAILED;
}
