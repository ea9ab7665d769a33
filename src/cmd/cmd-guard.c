// SPDX-License-Identifier: Apache-2.0
/*
 * dstack-host guard: loads the guard's table and stays, for it lives as long as its owner. While
 * virtual machines run it is left behind, without an owner.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/notify.h"
#include "cmd/cmd.h"
#include "host/guard.h"
#include "host/vmm/slice.h"

#define RULES_MAX (1 << 20)

struct keeper {
	const struct cmd_ctx *ctx;
	struct guard *g;
	char *rules; /* in force */
};

static int load(struct keeper *k)
{
	_cleanup_free_ char *rules = NULL, *trouble = NULL;
	const struct root *root = &k->ctx->root;
	int r = file_read(root, GUARD_FILE, RULES_MAX, &rules, NULL);

	if (r == -ENOENT) {
		log_error("%s%s is not there: run dstack-host render guard", root->path,
			  GUARD_FILE);
		return EXIT_FAILED;
	}
	if (r < 0)
		return cmd_failed(r, "read %s%s", root->path, GUARD_FILE);
	if (guard_load(k->g, rules, &trouble) == 0) {
		free(k->rules);
		k->rules = steal_ptr(rules);
		return EXIT_FINE;
	}
	log_error("nftables does not take the guard's table: %s (it needs cgroup v2 at "
		  "/sys/fs/cgroup, the slice %s and the kernel's nft_socket and nft_fib)",
		  trouble, GUARD_SLICE);
	return EXIT_FAILED;
}

/* Rules that are not taken leave those in force that were. */
static void reload(struct keeper *k)
{
	notify_manager("RELOADING=1");
	if (load(k) == EXIT_FINE)
		notify_manager("READY=1\nSTATUS=");
	else
		notify_manager("READY=1\nSTATUS=the rules before the last change are in force");
}

/* Who stops the guard, or restarts it, does not open this host to guests that run. */
static void leave(const struct keeper *k)
{
	_cleanup_slice_processes_ struct slice_processes list = { 0 };
	_cleanup_free_ char *trouble = NULL;

	if (slice_list(&k->ctx->root, &list) == 0 && list.n == 0)
		return;
	if (guard_leave(k->g, k->rules, &trouble) < 0)
		log_error("nothing fences virtual machines in any more: %s", trouble);
	else
		log_warning("virtual machines run: the table inet " GUARD_TABLE " stays, but "
			    "whoever flushes nftables takes it away");
}

static void stay(struct keeper *k, const sigset_t *signals)
{
	int signo;

	while ((signo = sigwaitinfo(signals, NULL)) == SIGHUP || (signo < 0 && errno == EINTR))
		if (signo == SIGHUP)
			reload(k);
	notify_manager("STOPPING=1");
	leave(k);
}

static int guard(const struct cmd_ctx *ctx)
{
	_cleanup_guard_ struct guard *g = NULL;
	struct keeper k = { .ctx = ctx };
	sigset_t signals;
	int r;

	/* Before the table is there: a reload that comes early waits for its turn. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = guard_open(&g);
	if (r < 0) {
		log_error("nftables is not available: %s%s", strerror(-r),
			  r == -EPERM ? " (try sudo)" : "");
		return EXIT_FAILED;
	}
	k.g = g;
	r = load(&k);
	if (r == EXIT_FINE) {
		notify_manager("READY=1\nSTATUS=");
		stay(&k, &signals);
	}
	free(k.rules);
	return r;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c != 'h')
			return EXIT_USAGE;
		cmd_help(&cmd_guard);
		return EXIT_FINE;
	}
	if (optind < argc)
		return cmd_usage_error(&cmd_guard, "it takes no argument");
	return guard(ctx);
}

const struct command cmd_guard = {
	.name = "guard",
	.usage = "",
	.summary = "Owns the nftables table that fences virtual machines in; stays.",
	.flags = CMD_INTERNAL,
	.run = run,
};
