// SPDX-License-Identifier: Apache-2.0
/*
 * dstack-host await: for units whose daemon tells nobody when it is ready, and for those
 * that need another one's answer. Connection refused is no error here, it is the wait.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "cmd/cmd.h"
#include "host/part/parts.h"
#include "host/progress.h"
#include "host/render/vmm-toml.h"

#define TICK_MS 200
#define EXPLAIN_MS 500
/* Nobody can tell us when a port opens, so it is asked; after this time less often. */
#define EAGER_MS 30000
#define SLOW_TICKS 10

struct await {
	const struct cmd_ctx *ctx;
	size_t part;
	int if_needed; /* only while some virtual machine needs the key provider */
	uint64_t start, deadline; /* 0: none */
	int pidfd;		  /* of the process that is to answer, -1: not known */
	char *cause;		  /* what it really waits for, when last looked; NULL: itself */
	char *said;
};

/* Tells the unit, once per change. */
static void say(struct await *a, const char *detail)
{
	const char *title = parts[a->part].title;
	char *text = a->cause ? xasprintf("waiting for %s", a->cause) :
		     detail && strncmp(detail, "for ", 4) == 0 ?
				xasprintf("waiting %s", detail) :
				xasprintf("waiting for %s: %s", title,
					  detail ? detail : "no answer");

	if (!a->said || strcmp(a->said, text) != 0)
		progress_say("%s", text);
	free(a->said);
	a->said = text;
}

/* Its own silence says little where what it needs has failed: that is asked too, now and then. */
static void look_for_cause(struct await *a, const struct settings *s, int hidden,
			   unsigned timeout_ms)
{
	_cleanup_(part_view_free) struct part_view v = { .settings_hidden = hidden };

	part_view_fill(&v, &a->ctx->root, s, part_needs_probes(a->part), timeout_ms, 1);
	free(a->cause);
	a->cause = part_cause(&v, a->part);
}

/* One look: 1 done, 0 not yet, or -errno. thorough: at what it needs, too. */
static int look(struct await *a, int thorough)
{
	_cleanup_(part_view_free) struct part_view v = { 0 };
	_cleanup_settings_ struct settings s = { 0 };
	const struct part *p = &parts[a->part];
	struct finding f = { 0 };
	int done, hidden, r = parts_settings(&a->ctx->root, &s, &hidden);

	if (r < 0)
		return r;
	if (a->if_needed) {
		_cleanup_free_ char *dir = vmm_dir(&a->ctx->root, &s);

		r = vmdir_needs_key_provider(&a->ctx->root, dir);
		if (r <= 0)
			return r < 0 ? r : 1;
	}
	v.settings_hidden = hidden;
	part_view_fill(&v, &a->ctx->root, &s, p->probes, 0, !p->judge);
	part_judge_alone(&v, a->part, &f);
	done = f.state == PART_OK || f.state == PART_OFF;
	if (!done && thorough && p->needs)
		look_for_cause(a, &s, hidden, 0);
	if (!done)
		say(a, f.detail);
	findings_free(&f, 1);
	return done;
}

/* In the end, when there is no time left to ask long. */
static void explain(struct await *a)
{
	_cleanup_settings_ struct settings s = { 0 };
	int hidden;

	if (!parts[a->part].needs || parts_settings(&a->ctx->root, &s, &hidden) < 0)
		return;
	look_for_cause(a, &s, hidden, EXPLAIN_MS);
	if (a->cause)
		say(a, NULL);
}

/* Until the next tick; -ESRCH when the process that is to answer has ended: systemd would
 * only look at that once this wait is over. */
static int wait_tick(const struct await *a, int timer)
{
	struct pollfd fds[] = { { .fd = timer, .events = POLLIN },
				{ .fd = a->pidfd, .events = POLLIN } };
	uint64_t ticks;

	while (poll(fds, ARRAY_SIZE(fds), -1) < 0)
		if (errno != EINTR)
			return -errno;
	if (fds[1].revents)
		return -ESRCH;
	return read(timer, &ticks, sizeof(ticks)) < 0 && errno != EINTR ? -errno : 0;
}

static int await_loop(struct await *a, int timer)
{
	for (unsigned n = 0;; n++) {
		int r = 0;

		/* The first ten are the time that a start takes. */
		if (clock_ms() - a->start < EAGER_MS || n % SLOW_TICKS == 0)
			r = look(a, n && n % SLOW_TICKS == 0);
		if (r != 0)
			return r < 0 ? r : 0;
		if (a->deadline && clock_ms() >= a->deadline) {
			explain(a);
			return -ETIMEDOUT;
		}
		r = wait_tick(a, timer);
		if (r < 0)
			return r;
	}
}

static int await(struct await *a)
{
	const struct itimerspec every = {
		.it_interval.tv_nsec = TICK_MS * 1000000L,
		.it_value.tv_nsec = TICK_MS * 1000000L,
	};
	_cleanup_close_ int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	int r;

	if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) < 0)
		return cmd_failed(-errno, "make a timer");
	r = await_loop(a, timer);
	if (r == -ETIMEDOUT)
		log_error("%s", a->said ? a->said : "no answer");
	else if (r == -ESRCH)
		log_error("%s ended before it answered", parts[a->part].title);
	else if (r < 0)
		return cmd_failed(r, "wait for %s", parts[a->part].title);
	/* The unit's own words again. */
	if (a->said)
		progress_say("%s", "");
	return r < 0 ? EXIT_FAILED : EXIT_FINE;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "timeout", required_argument, NULL, 't' },
		{ "pid", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	_cleanup_close_ int pidfd = -1;
	struct await a = { .ctx = ctx, .start = clock_ms() };
	const char *name;
	uint64_t seconds;
	int c, part, code;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_await);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		if (parse_uint(optarg, 0, 1u << 30, &seconds))
			return cmd_usage_error(&cmd_await, "--timeout and --pid take numbers");
		if (c == 'p') {
			pidfd = (int)syscall(SYS_pidfd_open, (pid_t)seconds, 0);
			if (pidfd < 0)
				return cmd_failed(-errno, "watch process %s", optarg);
			continue;
		}
		/* With 0 it is asked once. */
		a.deadline = a.start + seconds * 1000;
	}
	if (argc - optind != 1)
		return cmd_usage_error(&cmd_await, "one PART");
	name = argv[optind];
	a.if_needed = strcmp(name, "key-provider-if-needed") == 0;
	part = part_find(a.if_needed ? "key-provider" : name);
	if (part < 0)
		return cmd_usage_error(&cmd_await, "no part is named \"%.40s\"", name);
	a.part = (size_t)part;
	a.pidfd = pidfd;
	code = await(&a);
	free(a.cause);
	free(a.said);
	return code;
}

const struct command cmd_await = {
	.name = "await",
	.usage = "PART|key-provider-if-needed [--timeout SECONDS] [--pid PID]",
	.summary = "Returns when a part answers in its own protocol.",
	.flags = CMD_INTERNAL,
	.run = run,
};
