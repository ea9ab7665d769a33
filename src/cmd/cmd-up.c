// SPDX-License-Identifier: Apache-2.0
/*
 * dstack-host up: walks the parts in bring-up order, does what can be done and names the
 * rest. It keeps nothing between runs, so after a reboot the same command goes on.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/parse.h"
#include "cmd/cmd.h"
#include "host/vmm/adopt.h"
#include "host/conf/import.h"
#include "host/part/parts.h"
#include "host/vmm/drain.h"

#define STARTER "dstack-host-start.service"

struct look {
	struct settings settings;
	struct part_view view;
	struct finding *findings;
};

struct plan {
	int ask[KEY_COUNT];
	int n_ask, mend, adopt, start, by_hand, drained;
};

static int look(const struct cmd_ctx *ctx, struct look *l)
{
	int hidden, r = parts_settings(&ctx->root, &l->settings, &hidden);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	l->view.settings_hidden = hidden;
	part_view_fill(&l->view, &ctx->root, &l->settings, parts_probes(), 0, 1);
	l->findings = xcalloc(n_parts, sizeof(*l->findings));
	parts_judge(&l->view, l->findings);
	return EXIT_FINE;
}

static void look_free(struct look *l)
{
	if (l->findings)
		findings_free(l->findings, n_parts);
	free(l->findings);
	part_view_free(&l->view);
	settings_free(&l->settings);
}

static int startable(const struct look *l, size_t i)
{
	const struct unit_state *u = l->view.unit ? &l->view.unit[i] : NULL;

	return parts[i].unit && l->view.units_error == 0 && !l->view.drained && u->load &&
	       strcmp(u->load, "loaded") == 0 &&
	       (strcmp(u->active, "inactive") == 0 || strcmp(u->active, "failed") == 0);
}

static void plan_key(struct plan *plan, int id)
{
	for (int i = 0; i < plan->n_ask; i++)
		if (plan->ask[i] == id)
			return;
	plan->ask[plan->n_ask++] = id;
	printf("  set    %-24s %s\n", keys[id].name, keys[id].help);
}

struct unset_keys {
	struct plan *plan;
	const struct settings *s;
};

static int plan_unset(const char *word, void *arg)
{
	struct unset_keys *u = arg;
	int id = key_find(word);

	/* The registry's name comes with the domain. */
	if (id >= 0 && id != KEY_REGISTRY && !setting_is_set(u->s, (enum key_id)id))
		plan_key(u->plan, id);
	return 0;
}

static void plan_keys(const struct look *l, const struct part *p, int first, struct plan *plan)
{
	struct unset_keys u = { plan, &l->settings };

	plan_key(plan, first);
	for_each_word(p->settings, plan_unset, &u);
	if (p->also && p->also(&l->settings) >= 0)
		plan_key(plan, p->also(&l->settings));
}

static void plan_part(const struct look *l, size_t i, struct plan *plan)
{
	const struct part *p = &parts[i];
	const struct finding *f = &l->findings[i];
	int missing = part_missing(&l->settings, p);

	if (f->state == PART_OK || f->state == PART_OFF)
		return;
	if (f->state == PART_UNKNOWN) {
		plan->by_hand++;
		printf("  ?      %-24s %s\n", p->title, f->detail);
	} else if (strcmp(p->id, "settings") == 0 && !l->settings.configured) {
		plan_key(plan, KEY_DOMAIN);
	} else if (missing >= 0) {
		plan_keys(l, p, missing, plan);
	} else if (strcmp(p->group, "devices") == 0 && f->fix && strstr(f->fix, "--fix")) {
		plan->mend = 1;
		printf("  mend   %-24s %s\n", p->title, f->detail);
	} else if (strcmp(p->id, "programs") == 0 && adopt_possible(l->view.root)) {
		plan->adopt = 1;
		printf("  adopt  %-24s copies of " ADOPT_FROM "/{dstack-vmm,supervisor}\n", p->title);
	} else if (startable(l, i) && !(f->fix && strstr(f->fix, "drain"))) {
		plan->start = 1;
		/* Containers come with the service that is their own row. */
		if (strcmp(p->group, "containers") != 0)
			printf("  start  %-24s %s\n", p->title, p->unit);
	} else if (f->fix && strcmp(f->fix, DRAINED_END) != 0) {
		plan->by_hand++;
		printf("  yours  %-24s %s\n", p->title, f->fix);
	} else {
		printf("  wait   %-24s %s\n", p->title, f->detail);
	}
}

static void make_plan(const struct look *l, struct plan *plan)
{
	if (parts_fine(l->findings)) {
		puts("All parts are up.");
		return;
	}
	puts("What is missing, in this order:");
	if (l->view.drained) {
		_cleanup_free_ char *text = drained_text(l->view.drained_us);

		plan->drained = 1;
		printf("  start  %-24s %s\n", "this host", text);
	}
	for (size_t i = 0; i < n_parts; i++)
		plan_part(l, i, plan);
}

/* The line typed, the caller's; NULL at the end of input. */
static char *ask(const char *prompt)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	fputs(prompt, stdout);
	fflush(stdout);
	n = getline(&line, &size, stdin);
	if (n < 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static int store(const struct cmd_ctx *ctx, const char *word)
{
	_cleanup_(import_free) struct import im = { 0 };
	_cleanup_close_ int lock = -1;
	int code = cmd_lock(ctx, &lock), r;

	if (code != EXIT_FINE)
		return code;
	r = import_begin(&ctx->root, &im);
	if (r == 0) {
		import_word(&im, word);
		r = import_commit_all(&ctx->root, &im);
	}
	diag_print(&im.diag);
	if (r == -EINVAL)
		return EXIT_CONFIG;
	return r < 0 ? cmd_failed(r, "write " HOSTCONF_PATH) : EXIT_FINE;
}

/* Asks until the answer is good; an empty one leaves the key unset. */
static int ask_key(const struct cmd_ctx *ctx, int id)
{
	_cleanup_free_ char *prompt = xasprintf("%s (empty: later): ", keys[id].name);

	for (;;) {
		_cleanup_free_ char *line = ask(prompt), *word = NULL;
		int code;

		if (!line || !*line)
			return EXIT_FINE;
		word = xasprintf("%s=%s", keys[id].name, line);
		code = store(ctx, word);
		if (code != EXIT_CONFIG)
			return code;
	}
}

static int mend(const struct cmd_ctx *ctx)
{
	char verb[] = "devices", option[] = "--fix";
	char *argv[] = { verb, option, NULL };

	optind = 0;
	return cmd_devices.run(ctx, 2, argv);
}

static int adopt(const struct cmd_ctx *ctx)
{
	_cleanup_free_ char *trouble = NULL;
	_cleanup_close_ int lock = -1;
	int code = cmd_lock(ctx, &lock), r;

	if (code != EXIT_FINE)
		return code;
	r = adopt_pair(&ctx->root, &trouble);
	if (r < 0 && trouble)
		log_error("%s", trouble);
	return r < 0 ? cmd_failed(r, "adopt the programs in " ADOPT_FROM) : EXIT_FINE;
}

static int start(const struct cmd_ctx *ctx)
{
	_cleanup_units_ struct units *u = NULL;
	int r = units_open(&ctx->root, &u);

	if (r == UNITS_ABSENT) {
		log_error("systemd does not run here: nothing can be started");
		return EXIT_FAILED;
	}
	if (r == 0)
		r = units_do(u, UNIT_START, STARTER);
	return r < 0 ? cmd_failed(r, "start " STARTER) : EXIT_FINE;
}

/* What somebody has drained is started for nobody who was not asked. */
static int end_drain(const struct cmd_ctx *ctx)
{
	char verb[] = "drain", option[] = "--end";
	char *argv[] = { verb, option, NULL };

	optind = 0;
	return cmd_drain.run(ctx, 2, argv);
}

static int act(const struct cmd_ctx *ctx, const struct plan *plan, int terminal, int yes)
{
	int code = EXIT_FINE, asked = 0;

	for (int i = 0; terminal && code == EXIT_FINE && i < plan->n_ask; i++, asked++)
		code = ask_key(ctx, plan->ask[i]);
	if (code == EXIT_FINE && plan->mend)
		code = mend(ctx);
	/* What cannot be mended here does not keep the other parts down. */
	if ((code == EXIT_FINE || code == EXIT_FAILED) && plan->adopt)
		code = adopt(ctx);
	if ((code == EXIT_FINE || code == EXIT_FAILED) && plan->drained && !yes)
		return end_drain(ctx);
	if ((code == EXIT_FINE || code == EXIT_FAILED) && (plan->start || plan->adopt || asked))
		return start(ctx);
	return code;
}

static int last_line(const struct cmd_ctx *ctx)
{
	struct look l = { 0 };
	int code = look(ctx, &l), hands = 0;
	_cleanup_free_ char *next = NULL;

	if (code == EXIT_FINE) {
		next = parts_next(l.findings, geteuid() == 0);
		for (size_t i = 0; i < n_parts; i++)
			hands |= l.findings[i].fix != NULL ||
				 l.findings[i].state == PART_UNKNOWN;
		printf("Next: %s\n", next ? next : "nothing to do");
		code = hands ? EXIT_FAILED : EXIT_FINE;
	}
	look_free(&l);
	return code;
}

static int up(const struct cmd_ctx *ctx, int only_plan, int yes)
{
	int terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO), code;
	struct plan plan = { 0 };
	struct look l = { 0 };

	code = look(ctx, &l);
	if (code == EXIT_FINE)
		make_plan(&l, &plan);
	look_free(&l);
	if (code != EXIT_FINE || only_plan)
		return code;
	if (plan.drained && yes)
		log_info("this host stays drained; to start it: " DRAINED_END);
	if (!plan.n_ask && !plan.mend && !plan.adopt && !plan.start && (!plan.drained || yes))
		return last_line(ctx);
	if (!yes && !terminal) {
		log_error("this is no terminal; dstack-host up --yes does what can be done");
		return EXIT_FAILED;
	}
	if (!yes) {
		_cleanup_free_ char *answer = ask("Do it? [y/N] ");

		if (!answer || (*answer != 'y' && *answer != 'Y'))
			return EXIT_FAILED;
	}
	code = act(ctx, &plan, terminal, yes);
	return code == EXIT_FINE ? last_line(ctx) : code;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "plan", no_argument, NULL, 'p' },
		{ "yes", no_argument, NULL, 'y' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int only_plan = 0, yes = 0, c;

	while ((c = getopt_long(argc, argv, "hy", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_up);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		if (c == 'p')
			only_plan = 1;
		else
			yes = 1;
	}
	if (optind < argc)
		return cmd_usage_error(&cmd_up, "no argument is taken");
	return up(ctx, only_plan, yes);
}

const struct command cmd_up = {
	.name = "up",
	.usage = "[--plan | --yes]",
	.summary = "Brings the host up: shows what is missing and does what can be done.",
	.run = run,
};
