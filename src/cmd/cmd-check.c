// SPDX-License-Identifier: Apache-2.0
/* dstack-host check: the host proved, or the cause and the next command. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "cmd/cmd.h"
#include "host/check/check-print.h"
#include "host/image/image-record.h"

#define TIMEOUT_MS 3000

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_TAP, FORMAT_LIST };

struct options {
	enum format format;
	unsigned timeout_ms;
	int full;
};

struct judged {
	size_t n;
	struct verdict *verdicts;
};

static void judged_free(struct judged *j)
{
	if (j->verdicts)
		verdicts_free(j->verdicts, j->n);
	free(j->verdicts);
}

static int list(const char *wanted)
{
	for (size_t i = 0; i < checks_count(); i++)
		if (wanted[i])
			printf("%-28s %s\n", check_at(i)->id, check_title(check_at(i)));
	return EXIT_FINE;
}

static void print(const struct verdict *verdicts, const char *wanted, enum format format)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };

	if (format == FORMAT_JSON)
		check_json(verdicts, wanted, &out);
	else if (format == FORMAT_TAP)
		check_tap(verdicts, wanted, &out);
	else
		check_text(verdicts, wanted, cmd_colour(), &out);
	fputs(out.data, stdout);
}

static int check(const struct cmd_ctx *ctx, const struct options *o, const char *wanted)
{
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_(check_view_free) struct check_view v = { 0 };
	_cleanup_(judged_free) struct judged j = { .n = checks_count() };
	_cleanup_free_ char *image = NULL;
	int hidden, r = parts_settings(&ctx->root, &s, &hidden);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	image = image_directory(&s);
	r = o->full ? image_record_make(&ctx->root, image) : 0;
	if (r < 0)
		return cmd_failed(r, "record what the guest image's files are");
	check_view_fill(&v, &ctx->root, &s, hidden, wanted, checks_probes(wanted), o->timeout_ms);
	j.verdicts = xcalloc(j.n, sizeof(*j.verdicts));
	checks_run(&v, j.verdicts);
	verdicts_clean(j.verdicts);
	print(j.verdicts, wanted, o->format);
	if (s.diag.n)
		return EXIT_CONFIG;
	return check_summarize(j.verdicts, wanted).n[CHECK_FAIL] ? EXIT_FAILED : EXIT_FINE;
}

static int parse_timeout(const char *text, unsigned *ret_ms)
{
	uint64_t seconds;

	if (parse_uint(text, 1, 60, &seconds))
		return cmd_usage_error(&cmd_check, "--timeout %.20s: not a number of seconds "
						   "(1-60)", text);
	*ret_ms = (unsigned)seconds * 1000;
	return EXIT_FINE;
}

static int parse_options(int argc, char *argv[], struct options *o)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },	 { "tap", no_argument, NULL, 't' },
		{ "list", no_argument, NULL, 'l' },	 { "timeout", required_argument, NULL, 'T' },
		{ "full", no_argument, NULL, 'f' },	 { "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, r;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		r = c == 'T' ? parse_timeout(optarg, &o->timeout_ms) : EXIT_FINE;
		if (c == '?' || r != EXIT_FINE)
			return EXIT_USAGE;
		if (c == 'h') {
			cmd_help(&cmd_check);
			return -1;
		}
		if (c == 'f')
			o->full = 1;
		else if (c != 'T')
			o->format = c == 'j' ? FORMAT_JSON : c == 't' ? FORMAT_TAP : FORMAT_LIST;
	}
	return EXIT_FINE;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	struct options o = { .timeout_ms = TIMEOUT_MS };
	_cleanup_free_ char *wanted = xcalloc(checks_count(), 1);
	int r = parse_options(argc, argv, &o);

	if (r != EXIT_FINE)
		return r < 0 ? EXIT_FINE : r;
	for (int i = optind; i < argc; i++)
		if (!checks_select(argv[i], wanted))
			return cmd_usage_error(&cmd_check, "no check or group \"%.40s\"; "
							   "--list shows all", argv[i]);
	if (optind == argc)
		memset(wanted, 1, checks_count());
	return o.format == FORMAT_LIST ? list(wanted) : check(ctx, &o, wanted);
}

const struct command cmd_check = {
	.name = "check",
	.usage = "[GROUP|ID...] [--json|--tap|--list] [--timeout SECONDS] [--full]",
	.summary = "Proves the host, and says cause and fix of what fails.",
	.run = run,
};
