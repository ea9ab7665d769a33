// SPDX-License-Identifier: Apache-2.0
/* dstack-host metrics: for node exporter, by a timer. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/fileio.h"
#include "base/parse.h"
#include "cmd/cmd.h"
#include "host/report/metrics.h"

/* Everybody may read it: node exporter does, and no secret is in it. */
static int write_file(const struct root *root, const char *path, const struct strbuf *text)
{
	struct file_spec spec = { text->data, text->len, 0644, (uid_t)-1, (gid_t)-1 };
	int r = file_replace(root, path, &spec);

	return r < 0 ? cmd_failed(r, "write %s%s", root->path, path) : EXIT_FINE;
}

static int metrics(const struct cmd_ctx *ctx, const char *output)
{
	_cleanup_looked_ struct looked l = { 0 };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int64_t age_s;
	int r = metrics_look(&ctx->root, &l, &age_s);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	metrics_text(&l, age_s, &out);
	if (output)
		return write_file(&ctx->root, output, &out);
	fputs(out.data, stdout);
	return EXIT_FINE;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *output = NULL, *bad;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_metrics);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		output = optarg;
		bad = check_path(output);
		if (bad)
			return cmd_usage_error(&cmd_metrics, "--output %.100s: %s", output, bad);
	}
	if (optind < argc)
		return cmd_usage_error(&cmd_metrics, "no argument is taken");
	return metrics(ctx, output);
}

const struct command cmd_metrics = {
	.name = "metrics",
	.usage = "[--output FILE]",
	.summary = "Writes the checks and what can run out as OpenMetrics.",
	.run = run,
};
