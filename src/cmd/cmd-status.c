// SPDX-License-Identifier: Apache-2.0
/* dstack-host status: every part of the host, what it waits for, what comes next. */
#include <getopt.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "host/part/status.h"

static int status(const struct cmd_ctx *ctx, int json)
{
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_(part_view_free) struct part_view v = { 0 };
	_cleanup_(status_free) struct status st = { 0 };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int hidden, r = parts_settings(&ctx->root, &s, &hidden);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	v.settings_hidden = hidden;
	v.look_too = status_look;
	v.look_too_arg = &v;
	part_view_fill(&v, &ctx->root, &s, parts_probes(), 0, 1);
	status_collect(&v, &st);
	if (json)
		status_json(&st, &out);
	else
		status_text(&st, cmd_colour(), &out);
	fputs(out.data, stdout);
	return status_fine(&st) ? EXIT_FINE : EXIT_FAILED;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	int json, r = cmd_json_option(&cmd_status, argc, argv, &json);

	if (r >= 0)
		return r;
	if (optind < argc)
		return cmd_usage_error(&cmd_status, "no argument is taken");
	return status(ctx, json);
}

const struct command cmd_status = {
	.name = "status",
	.usage = "[--json]",
	.summary = "Shows every part of the host and what comes next.",
	.run = run,
};
