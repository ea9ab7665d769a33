// SPDX-License-Identifier: Apache-2.0
/*
 * dstack-host drain: the one way by which virtual machines and their supervisor end. Guests
 * are asked first; what ran before runs again when the host is started.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "cmd/cmd.h"
#include "host/vmm/drain.h"
#include "host/part/parts.h"
#include "host/units.h"

#define SUPERVISOR "dstack-supervisor.service"
/* The target cannot be started by hand; this one reaches it, once nothing runs any more. */
#define NOTE "dstack-drained.service"
#define STARTER "dstack-host-start.service"
#define GUEST_MS 30000
/* dstack-drain.service gives 180 s for all of it. */
#define GUEST_AT_SHUTDOWN_MS 90000
/* As long as systemd would wait for it. */
#define SUPERVISOR_MS 90000
#define REST_MS 10000
#define UNIT_MS 30000
#define TICK_MS 100
/* Who starts what was said yes to faster than it ends has it ended with the supervisor. */
#define ROUNDS 5

/* Has the operator said yes to these? */
static int confirm(const char *what, const char *names)
{
	char line[16];

	fprintf(stderr, "%s: %s.\nType yes to go on: ", what, names);
	return fgets(line, sizeof(line), stdin) && strcmp(line, "yes\n") == 0;
}

static int in_state(const struct unit_state *s, const char *state)
{
	return !s->job && s->active && strcmp(s->active, state) == 0;
}

/* 1: yes, 0: not yet, or -errno. */
static int has_ended(struct units *u)
{
	_cleanup_unit_state_ struct unit_state s = { 0 };
	int r = units_get(u, SUPERVISOR, &s);

	return r < 0 ? r : in_state(&s, "inactive") || in_state(&s, "failed");
}

/* The same. */
static int is_noted(struct units *u)
{
	_cleanup_unit_state_ struct unit_state target = { 0 }, note = { 0 };
	int r = units_get(u, DRAINED_TARGET, &target);

	if (r == 0)
		r = units_get(u, NOTE, &note);
	if (r < 0 || in_state(&target, "active"))
		return r < 0 ? r : 1;
	return in_state(&note, "failed") ? -EBUSY : 0;
}

/* systemd takes a moment from the end of a process to the end of its unit, and from there to
 * what comes after it; a job of its own may be before ours. */
static int wait_until(struct units *u, int (*done)(struct units *u), uint64_t deadline)
{
	const struct itimerspec every = {
		.it_interval.tv_nsec = TICK_MS * 1000000L,
		.it_value.tv_nsec = TICK_MS * 1000000L,
	};
	_cleanup_close_ int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t ticks;
	int r;

	if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) < 0)
		return -errno;
	while ((r = done(u)) == 0) {
		if (clock_ms() >= deadline)
			return -ETIMEDOUT;
		if (read(timer, &ticks, sizeof(ticks)) < 0 && errno != EINTR)
			return -errno;
	}
	return r < 0 ? r : 0;
}

/* By a signal, because its unit refuses to be stopped; it ends what it runs itself. */
static int end_supervisor(const struct cmd_ctx *ctx, struct units *u)
{
	_cleanup_unit_state_ struct unit_state s = { 0 };
	_cleanup_close_ int pidfd = -1;
	int r = units_get(u, SUPERVISOR, &s);

	if (r < 0)
		return cmd_failed(r, "ask systemd about " SUPERVISOR);
	if (s.main_pid)
		pidfd = slice_pidfd(&ctx->root, (pid_t)s.main_pid);
	if (pidfd < 0)
		return EXIT_FINE;
	if (pidfd_send_signal(pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		return cmd_failed(-errno, "end " SUPERVISOR);
	if (slice_wait(&pidfd, 1, clock_ms() + SUPERVISOR_MS))
		log_warning("the supervisor does not end by itself");
	return EXIT_FINE;
}

/* Whatever is still there, a supervisor that did not want to end too. */
static int end_rest(const struct cmd_ctx *ctx, struct units *u)
{
	_cleanup_slice_processes_ struct slice_processes list = { 0 };
	_cleanup_free_ char *text = NULL;
	int r = slice_list(&ctx->root, &list);

	if (r < 0)
		return cmd_failed(r, "look for what the supervisor left behind");
	if (list.n) {
		text = slice_processes_text(&list);
		log_info("ending what a supervisor left behind: %s", text);
		r = slice_end_all(&ctx->root, REST_MS);
		if (r < 0)
			return cmd_failed(r, "end %s", text);
	}
	r = wait_until(u, has_ended, clock_ms() + UNIT_MS);
	return r < 0 ? cmd_failed(r, "end " SUPERVISOR) : EXIT_FINE;
}

/* So that neither apt nor a boot of services undoes it. */
static int note_drained(struct units *u)
{
	int r = units_do(u, UNIT_START, NOTE);

	if (r == 0)
		r = wait_until(u, is_noted, clock_ms() + UNIT_MS);
	return r < 0 ? cmd_failed(r, "reach " DRAINED_TARGET " (see systemctl status " NOTE ")") :
		       EXIT_FINE;
}

static void ask_guests(struct drain *d, unsigned wait_ms)
{
	size_t n = drain_living(d);

	if (!n)
		return;
	log_info("asking %zu virtual machine%s to shut down", n, n == 1 ? "" : "s");
	drain_ask(d, wait_ms);
}

/* Their supervisor and what it leaves; who has said yes to the guests has said yes to it. */
static int end_all(const struct cmd_ctx *ctx, struct units *u, struct drain *d)
{
	int code = end_supervisor(ctx, u);

	if (code == EXIT_FINE)
		code = end_rest(ctx, u);
	drain_mark_started(d);
	if (code == EXIT_FINE)
		code = note_drained(u);
	if (code != EXIT_FINE)
		return code;
	/* A supervisor that was killed leaves its unit failed; that is over now. */
	(void)!units_do(u, UNIT_RESET_FAILED, SUPERVISOR);
	log_info("drained; to start the host again: " DRAINED_END);
	return EXIT_FINE;
}

/* systemd ends VMM and supervisor right after this; a target cannot be started any more. */
static int at_shutdown(struct drain *d)
{
	_cleanup_free_ char *trouble = NULL, *names = drain_look(d, &trouble);

	if (names)
		log_info("the system goes down under %s", names);
	if (trouble)
		log_warning("%s; guests are ended without being asked", trouble);
	ask_guests(d, GUEST_AT_SHUTDOWN_MS);
	drain_mark_started(d);
	return EXIT_FINE;
}

static void shut_down(struct drain *d, const char *trouble)
{
	size_t n;

	if (trouble)
		log_warning("%s; guests are ended without being asked", trouble);
	ask_guests(d, GUEST_MS);
	n = drain_living(d);
	if (n)
		log_warning("%zu did not shut down and %s stopped", n, n == 1 ? "is" : "are");
	drain_stop(d);
}

/* The VMM took those that are down already for ones that want to stay away, also after a boot. */
static int give_up(struct drain *d, const char *more, int begun)
{
	_cleanup_free_ char *ended = NULL;

	if (!begun) {
		log_error("nothing was done");
		return EXIT_FAILED;
	}
	log_error("the supervisor runs on, and so does %s", more);
	ended = drain_give_back(d);
	if (ended)
		log_error("shut down already, and marked to start again: %s; to start it now: "
			  "sudo systemctl restart dstack-vmm.service",
			  ended);
	return EXIT_FAILED;
}

/*
 * Looks again before and after: the VMM goes on to start what it is told to, while the operator
 * reads and while guests shut down. What he was not shown is not ended without another yes, and
 * what came back is asked again.
 */
static int end_guests(struct drain *d, int yes)
{
	for (unsigned round = 0;; round++) {
		_cleanup_free_ char *trouble = NULL, *more = drain_look(d, &trouble);

		if (round && !more && !drain_unasked(d))
			break;
		if (more && yes)
			log_info("ending what was started meanwhile: %s", more);
		if (round >= ROUNDS && (yes || !more))
			break;
		if (more && !yes && !confirm("Started meanwhile", more))
			return give_up(d, more, round > 0);
		shut_down(d, trouble);
	}
	return EXIT_FINE;
}

/* From here on no supervisor starts: that would bring up again what this ends. */
static int hold(const struct cmd_ctx *ctx, int *ret_fd)
{
	int r = drain_hold(&ctx->root, ret_fd);

	if (r == -EBUSY)
		log_error("another drain is under way");
	if (r < 0)
		return r == -EBUSY ? EXIT_LOCKED : cmd_failed(r, "keep the supervisor from starting");
	return EXIT_FINE;
}

static int on_request(const struct cmd_ctx *ctx, struct units *u, struct drain *d, int yes)
{
	_cleanup_free_ char *trouble = NULL, *names = drain_look(d, &trouble);
	_cleanup_close_ int held = -1;
	int code;

	if (!yes && !isatty(STDIN_FILENO)) {
		log_error("drain ends every virtual machine of this host; say --yes to do it");
		return EXIT_FAILED;
	}
	if (!yes && !confirm("This ends the supervisor and every virtual machine",
			     names ? names : "none runs")) {
		log_error("nothing was done");
		return EXIT_FAILED;
	}
	code = hold(ctx, &held);
	if (code != EXIT_FINE)
		return code;
	if (yes && names)
		log_info("ending %s", names);
	code = end_guests(d, yes);
	return code == EXIT_FINE ? end_all(ctx, u, d) : code;
}

/* 1: not drained (any more), 0: still, or -errno. */
static int is_over(struct units *u)
{
	uint64_t since;
	int r = drained_since(u, &since);

	return r < 0 ? r : !r;
}

static int end_drain(const struct cmd_ctx *ctx, struct units *u)
{
	_cleanup_close_ int held = -1;
	int code = hold(ctx, &held), r;

	if (code != EXIT_FINE)
		return code;
	r = is_over(u);
	if (r > 0) {
		log_info("this host is not drained");
		return EXIT_FINE;
	}
	if (r == 0)
		r = units_do(u, UNIT_STOP, DRAINED_TARGET);
	if (r == 0)
		r = wait_until(u, is_over, clock_ms() + UNIT_MS);
	if (r < 0)
		return cmd_failed(r, "end " DRAINED_TARGET);
	close(held);
	held = -1;
	/* Not start: one that is under way may have seen the mark, and would be all that comes. */
	r = units_do(u, UNIT_RESTART, STARTER);
	if (r < 0)
		return cmd_failed(r, "start " STARTER);
	log_info("starting; dstack-host status tells how it goes");
	return EXIT_FINE;
}

static int open_units(const struct cmd_ctx *ctx, struct units **u)
{
	int r;

	if (geteuid() != 0) {
		log_error("this ends virtual machines and needs root: try sudo");
		return EXIT_FAILED;
	}
	r = units_open(&ctx->root, u);
	if (r == UNITS_ABSENT) {
		log_error("systemd does not run here: there is nothing to drain");
		return EXIT_FAILED;
	}
	return r < 0 ? cmd_failed(r, "reach systemd") : EXIT_FINE;
}

static int run_drain(const struct cmd_ctx *ctx, int yes, int how)
{
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_free_ char *state = NULL;
	_cleanup_units_ struct units *u = NULL;
	_cleanup_drain_ struct drain d = { .root = &ctx->root, .settings = &s };
	int hidden, r, code = open_units(ctx, &u);

	if (code != EXIT_FINE)
		return code;
	if (how == 'e')
		return end_drain(ctx, u);
	if (how == 's') {
		r = units_system_state(u, &state);
		if (r < 0)
			return cmd_failed(r, "ask systemd whether the system goes down");
		if (strcmp(state, "stopping") != 0)
			return EXIT_FINE;
	}
	r = parts_settings(&ctx->root, &s, &hidden);
	if (r < 0)
		return cmd_failed(r, "read the settings");
	return how == 's' ? at_shutdown(&d) : on_request(ctx, u, &d, yes);
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "yes", no_argument, NULL, 'y' },
		{ "end", no_argument, NULL, 'e' },
		{ "at-shutdown", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL },
	};
	int c, yes = 0, how = 0;

	while ((c = getopt_long(argc, argv, "yh", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_drain);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		if (c == 'y')
			yes = 1;
		else
			how = c;
	}
	if (optind < argc)
		return cmd_usage_error(&cmd_drain, "it takes no argument");
	return run_drain(ctx, yes, how);
}

const struct command cmd_drain = {
	.name = "drain",
	.usage = "[--yes | --end]",
	.summary = "Shuts every virtual machine down, then their supervisor; --end starts them again.",
	.run = run,
};
