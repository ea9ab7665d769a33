// SPDX-License-Identifier: Apache-2.0
/*
 * dstack-host supervisor-gate: may a supervisor start? Not while virtual machines of an
 * earlier one run, for the VMM would start each of them a second time; not while they are being
 * drained; and not without the guard, for then they would reach everything on this host. With --drained the same of the
 * slice for another purpose: is nothing left that a drain would have ended?
 */
#include <getopt.h>
#include <string.h>

#include "base/log.h"
#include "cmd/cmd.h"
#include "host/vmm/drain.h"
#include "host/guard.h"
#include "host/vmm/slice.h"

static int slice_is_empty(const struct cmd_ctx *ctx, int drained)
{
	_cleanup_slice_processes_ struct slice_processes list = { 0 };
	_cleanup_free_ char *text = NULL;
	int r = slice_list(&ctx->root, &list);

	if (r < 0)
		return cmd_failed(r, "look into %s", GUARD_SLICE);
	if (list.n == 0)
		return EXIT_FINE;
	text = slice_processes_text(&list);
	if (drained) {
		log_error("this host is not drained, these run: %s", text);
		log_error("to end them: sudo dstack-host drain");
		return EXIT_FAILED;
	}
	log_error("an earlier supervisor left processes behind: %s", text);
	log_error("they are not started a second time; to end them: sudo dstack-host drain");
	return EXIT_FAILED;
}

/* It would start again what is being ended. */
static int nobody_drains(const struct cmd_ctx *ctx)
{
	int r = drain_under_way(&ctx->root);

	if (r < 0)
		return cmd_failed(r, "tell whether this host is being drained");
	if (r)
		log_error("this host is being drained");
	return r ? EXIT_FAILED : EXIT_FINE;
}

/* Another system's tables cannot be asked for. */
static int guard_is_there(const struct cmd_ctx *ctx)
{
	int r = root_is_host(&ctx->root) ? guard_is_loaded() : 1;

	if (r > 0)
		return EXIT_FINE;
	if (r < 0)
		log_error("nftables is not available: %s", strerror(-r));
	log_error("the table inet %s is not loaded, and no virtual machine runs without it: "
		  "see systemctl status dstack-guard",
		  GUARD_TABLE);
	return EXIT_FAILED;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "drained", no_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL },
	};
	int c, drained = 0, empty, guarded;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_supervisor_gate);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		drained = 1;
	}
	if (optind < argc)
		return cmd_usage_error(&cmd_supervisor_gate, "it takes no argument");
	empty = slice_is_empty(ctx, drained);
	if (drained)
		return empty;
	if (empty == EXIT_FINE)
		empty = nobody_drains(ctx);
	guarded = guard_is_there(ctx);
	return empty != EXIT_FINE ? empty : guarded;
}

const struct command cmd_supervisor_gate = {
	.name = "supervisor-gate",
	.usage = "[--drained]",
	.summary = "Fails when no supervisor may start: orphans in its slice, or no guard.",
	.flags = CMD_INTERNAL,
	.run = run,
};
