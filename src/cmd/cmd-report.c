// SPDX-License-Identifier: Apache-2.0
/* dstack-host report: this host as a document, and as a bundle for who helps. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/cmd.h"
#include "host/report/bundle.h"
#include "host/report/looked.h"
#include "host/report/report.h"

struct format {
	const char *name;
	void (*print)(const json_t *doc, struct strbuf *out);
};

static const struct format formats[] = {
	{ "md", report_md },
	{ "json", report_json },
	{ "html", report_html },
};

struct options {
	const struct format *format;
	const char *bundle; /* NULL: none */
};

static void json_free(json_t **doc)
{
	json_decref(*doc);
}

static int print(const struct format *format, const json_t *doc)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };

	format->print(doc, &out);
	fputs(out.data, stdout);
	return EXIT_FINE;
}

static int write_bundle(const char *path, const struct report_source *src, const json_t *doc)
{
	_cleanup_strbuf_ struct strbuf left_out = { 0 };
	int r = bundle_write(path, src, doc, &left_out);

	if (r < 0)
		return cmd_failed(r, "write %s", path);
	printf("%s\n%s", path, left_out.data);
	return EXIT_FINE;
}

static int report(const struct cmd_ctx *ctx, const struct options *o)
{
	_cleanup_looked_ struct looked l;
	_cleanup_(json_free) json_t *doc = NULL;
	struct report_source src = { .taken = time(NULL) };
	int r = bundle_may_write(o->bundle);

	/* Before the work, not after it. */
	if (r < 0) {
		l = (struct looked){ 0 };
		return cmd_failed(r, "write %s", o->bundle);
	}
	r = looked_fill(&ctx->root, 0, &l);
	if (r < 0)
		return cmd_failed(r, "read the settings");
	src.view = &l.view;
	src.verdicts = l.verdicts;
	src.redactor = l.redactor;
	doc = report_build(&src);
	return o->bundle ? write_bundle(o->bundle, &src, doc) : print(o->format, doc);
}

static const struct format *find_format(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (strcmp(formats[i].name, name) == 0)
			return &formats[i];
	return NULL;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "format", required_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ "bundle", required_argument, NULL, 'b' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options o = { .format = &formats[0] };
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_report);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		if (c == 'b')
			o.bundle = optarg;
		else
			o.format = find_format(c == 'j' ? "json" : optarg);
		if (!o.format)
			return cmd_usage_error(&cmd_report, "--format %.20s: not one of md, json, "
							    "html", optarg);
	}
	if (optind < argc)
		return cmd_usage_error(&cmd_report, "no argument is taken");
	return report(ctx, &o);
}

const struct command cmd_report = {
	.name = "report",
	.usage = "[--format md|json|html] [--bundle FILE]",
	.summary = "Describes this host as a document, without its secrets.",
	.run = run,
};
