// SPDX-License-Identifier: Apache-2.0
/* dstack-host apply: what dstack-host-start.service runs after apt, a change and at boot. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cmd/cmd.h"
#include "host/apply.h"
#include "host/conf/secrets.h"
#include "host/probe/key-provider.h"
#include "host/vmm/drain.h"

static struct timespec changed_at(const struct root *root, const char *path)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH, 0);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return (struct timespec){ 0 };
	return st.st_mtim;
}

static struct rendered rendered_for(const struct cmd_ctx *ctx, const char *name,
				    const struct render_result *results, size_t n)
{
	struct rendered ret = { 0 };

	for (size_t i = 0; i < n; i++) {
		const struct render_result *res = &results[i];
		struct timespec at;

		if (strcmp(res->target->name, name) != 0)
			continue;
		if (res->outcome == RENDER_INVALID || res->outcome == RENDER_FAILED)
			ret.kept = 1;
		if (!res->text)
			continue;
		ret.present = 1;
		at = changed_at(&ctx->root, res->target->path);
		if (at.tv_sec > ret.changed.tv_sec ||
		    (at.tv_sec == ret.changed.tv_sec && at.tv_nsec > ret.changed.tv_nsec))
			ret.changed = at;
	}
	return ret;
}

/* A restart stops first, and its unit looks only then. */
static int may_restart(const struct cmd_ctx *ctx, const struct settings *s, const char *unit)
{
	_cleanup_free_ char *why = NULL;

	if (strcmp(unit, KEY_PROVIDER_UNIT) != 0)
		return 1;
	why = key_provider_start_refused(&ctx->root, s);
	if (why)
		log_warning("%s keeps its old settings and runs on: %s", unit, why);
	return !why;
}

static int refresh_one(const struct cmd_ctx *ctx, const struct settings *s, struct units *u,
		       const struct consumer *c, const struct render_result *results, size_t n)
{
	_cleanup_unit_state_ struct unit_state state = { 0 };
	struct rendered rendered = rendered_for(ctx, c->target, results, n);
	int r = units_get(u, c->unit, &state);

	if (r < 0)
		return r;
	/* Failed with the old settings: the new ones get a fresh try with the target. */
	if (state.active && strcmp(state.active, "failed") == 0)
		return units_do(u, UNIT_RESET_FAILED, c->unit);
	if (!consumer_is_stale(&state, &rendered) || !may_restart(ctx, s, c->unit))
		return 0;
	log_info("%s takes its new settings", c->unit);
	return units_do(u, c->verb, c->unit);
}

/* A host that somebody has drained stays so, whatever is changed or installed meanwhile. */
static int start_host(struct units *u)
{
	_cleanup_free_ char *text = NULL;
	uint64_t since;
	int r = drained_since(u, &since);

	if (r > 0) {
		text = drained_text(since);
		log_info("%s, and stays so; to start this host: " DRAINED_END, text);
		return EXIT_FINE;
	}
	if (r == 0)
		r = units_do(u, UNIT_START, "dstack-host.target");
	return r < 0 ? cmd_failed(r, "start dstack-host.target") : EXIT_FINE;
}

static int refresh(const struct cmd_ctx *ctx, const struct settings *s,
		   const struct render_result *results, size_t n)
{
	_cleanup_units_ struct units *u = NULL;
	int r = units_open(&ctx->root, &u);

	if (r == UNITS_ABSENT) {
		log_info("systemd does not run here; nothing was started");
		return EXIT_FINE;
	}
	if (r < 0)
		return cmd_failed(r, "reach systemd");
	for (size_t i = 0; i < n_consumers; i++) {
		r = refresh_one(ctx, s, u, &consumers[i], results, n);
		if (r < 0)
			log_warning("%s: %s", consumers[i].unit, strerror(-r));
	}
	return start_host(u);
}

static int render_everything(const struct cmd_ctx *ctx, const struct render_ctx *rc,
			     struct render_result **results, size_t *n)
{
	_cleanup_close_ int lock = -1;
	int code = cmd_lock(ctx, &lock), r;

	if (code != EXIT_FINE)
		return code;
	r = secrets_generate(&ctx->root);
	if (r == 0)
		r = render_link(&ctx->root);
	if (r < 0)
		return cmd_failed(r, "prepare /etc/dstack");
	render_plan(rc, NULL, results, n);
	for (size_t i = 0; i < *n; i++) {
		render_apply(rc, &(*results)[i]);
		if ((*results)[i].outcome == RENDER_FAILED) {
			log_error("cannot write %s: %s", (*results)[i].target->path,
				  strerror(-(*results)[i].error));
			code = EXIT_FAILED;
		}
	}
	return code;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[] _unused_)
{
	_cleanup_settings_ struct settings s = { 0 };
	struct render_ctx rc = { &ctx->root, &s, 0 };
	struct render_result *results = NULL;
	size_t n = 0;
	int code, r;

	if (argc != 1)
		return cmd_usage_error(&cmd_apply, "takes no argument");
	r = settings_load(&ctx->root, &s);
	if (r < 0)
		return cmd_failed(r, "read the settings");
	code = render_everything(ctx, &rc, &results, &n);
	/* Nothing was planned: who runs with what is not known, so nobody is restarted. */
	if (results) {
		int started = refresh(ctx, &s, results, n);

		code = code == EXIT_FINE ? started : code;
	}
	render_results_free(results, n);
	diag_print(&s.diag);
	return code == EXIT_FINE && s.diag.n ? EXIT_CONFIG : code;
}

const struct command cmd_apply = {
	.name = "apply",
	.usage = "",
	.summary = "Renders, restarts what runs with older files, starts a host that is not drained.",
	.flags = CMD_INTERNAL,
	.run = run,
};
