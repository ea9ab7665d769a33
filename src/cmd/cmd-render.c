// SPDX-License-Identifier: Apache-2.0
/* dstack-host render: writes the files that the daemons read. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "host/render/render.h"
#include "host/conf/secrets.h"

/* systemd takes 1-254 of an ExecCondition= as "not now", without a word. */
#define EXECCONDITION_FAILED 255

enum mode { MODE_WRITE, MODE_CHECK, MODE_DIFF, MODE_WANTED };

struct totals {
	unsigned written, unchanged, waiting, invalid, failed, differ;
};

/* Rendered files hold tokens: a difference is named by file, its text is shown only where
 * everybody may read the file anyway. */
static void show_difference(const struct render_ctx *ctx, const struct render_result *res)
{
	_cleanup_close_ int fd = root_openat(ctx->root, res->target->path, O_PATH | O_CLOEXEC, 0);

	if (fd < 0 && fd != -ENOENT) {
		log_error("cannot look at %s%s: %s", ctx->root->path, res->target->path,
			  strerror(-fd));
		return;
	}
	printf("%s%s: %s\n", ctx->root->path, res->target->path,
	       !res->text ? "would be removed" : fd >= 0 ? "would change" : "would be made");
	if (res->text && (res->target->file_mode & 004))
		fputs(res->text, stdout);
}

static int differs(const struct render_ctx *ctx, const struct render_result *res, int show)
{
	int r = render_is_current(ctx, res);

	if (r < 0)
		log_error("cannot read %s%s: %s", ctx->root->path, res->target->path,
			  strerror(-r));
	else if (r == 0 && show)
		show_difference(ctx, res);
	return r != 1;
}

static void count(struct totals *n, const struct render_ctx *ctx,
		  const struct render_result *res)
{
	switch (res->outcome) {
	case RENDER_WRITTEN:
	case RENDER_REMOVED:
		n->written++;
		log_debug("%s: %s", res->target->path,
			  res->outcome == RENDER_WRITTEN ? "written" : "removed");
		break;
	case RENDER_UNCHANGED:
	case RENDER_OFF:
		n->unchanged++;
		break;
	case RENDER_WAITS:
		n->waiting++;
		log_debug("%s: waits for %s", res->target->path, res->why);
		break;
	case RENDER_INVALID:
		n->invalid++;
		break;
	case RENDER_FAILED:
	default:
		n->failed++;
		log_error("cannot write %s%s: %s", ctx->root->path, res->target->path,
			  strerror(-res->error));
		break;
	}
}

static int finish(const struct settings *s, const struct totals *n, enum mode mode)
{
	if (n->invalid) {
		diag_print(&s->diag);
		log_error("not rendered: the settings above are wrong (see dstack-host config)");
		return EXIT_CONFIG;
	}
	if (n->failed)
		return EXIT_FAILED;
	if (mode != MODE_WRITE)
		return n->differ ? EXIT_FAILED : EXIT_FINE;
	if (n->written)
		log_debug("%u written, %u unchanged", n->written, n->unchanged);
	else
		log_debug("unchanged");
	return EXIT_FINE;
}

static int render(const struct cmd_ctx *ctx, const char *only, enum mode mode)
{
	_cleanup_settings_ struct settings s = { 0 };
	struct render_ctx rc = { &ctx->root, &s, mode != MODE_WRITE };
	struct render_result *results;
	struct totals n = { 0 };
	size_t n_results;
	int r = settings_load(&ctx->root, &s);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	if (mode == MODE_WRITE) {
		r = secrets_generate(&ctx->root);
		if (r < 0)
			return cmd_failed(r, "generate secrets");
		r = render_link(&ctx->root);
		if (r < 0)
			return cmd_failed(r, "make the link /etc/dstack/vmm.toml");
	}
	render_plan(&rc, only, &results, &n_results);
	for (size_t i = 0; i < n_results; i++) {
		if (mode == MODE_WRITE)
			render_apply(&rc, &results[i]);
		else if (results[i].outcome != RENDER_INVALID &&
			 results[i].outcome != RENDER_FAILED &&
			 differs(&rc, &results[i], mode == MODE_DIFF))
			n.differ++;
		count(&n, &rc, &results[i]);
	}
	render_results_free(results, n_results);
	return finish(&s, &n, mode);
}

/* For ExecCondition=: is there something to run at all? What is wrong counts as wanted, so
 * that the unit's own render fails with the reason. */
static int wanted(const struct cmd_ctx *ctx, const char *name)
{
	_cleanup_settings_ struct settings s = { 0 };
	struct render_ctx rc = { &ctx->root, &s, 1 };
	struct render_result *results;
	int r = settings_load(&ctx->root, &s), code = EXIT_FINE;
	size_t n;

	if (r < 0) {
		cmd_failed(r, "read the settings");
		return EXECCONDITION_FAILED;
	}
	render_plan(&rc, name, &results, &n);
	for (size_t i = 0; i < n; i++) {
		if (results[i].outcome == RENDER_OFF)
			log_info("%s: switched off", name);
		else if (results[i].outcome == RENDER_WAITS)
			log_info("%s: waits for %s", name, results[i].why);
		else
			continue;
		code = EXIT_FAILED;
		break;
	}
	render_results_free(results, n);
	return code;
}

static int known_target(const char *name)
{
	for (const struct target *t = targets; t->name; t++)
		if (strcmp(t->name, name) == 0)
			return 1;
	return 0;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "diff", no_argument, NULL, 'd' },
		{ "check", no_argument, NULL, 'c' },
		{ "wanted", no_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	_cleanup_close_ int lock = -1;
	enum mode mode = MODE_WRITE;
	int c, r;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_render);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		mode = c == 'd' ? MODE_DIFF : c == 'c' ? MODE_CHECK : MODE_WANTED;
	}
	if (argc - optind > 1)
		return cmd_usage_error(&cmd_render, "at most one NAME");
	if (optind < argc && !known_target(argv[optind]))
		return cmd_usage_error(&cmd_render, "nothing named \"%.40s\" is rendered",
				       argv[optind]);
	if (mode == MODE_WANTED)
		return optind < argc ? wanted(ctx, argv[optind]) :
				       cmd_usage_error(&cmd_render, "--wanted takes a NAME");
	if (mode == MODE_WRITE) {
		r = cmd_lock(ctx, &lock);
		if (r != EXIT_FINE)
			return r;
	}
	return render(ctx, argv[optind], mode);
}

const struct command cmd_render = {
	.name = "render",
	.usage = "[--diff | --check] [NAME]",
	.summary = "Writes the files that the daemons read, from the settings.",
	.run = run,
};
