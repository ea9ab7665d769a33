// SPDX-License-Identifier: Apache-2.0
/* dstack-host diff: this host against a report taken earlier or elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/cmd.h"
#include "host/report/diff.h"
#include "host/report/looked.h"
#include "host/report/report.h"

static int open_reference(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return -errno;
	r = fstat(fd, &st) < 0 ? -errno :
	    S_ISREG(st.st_mode) ? 0 :
	    S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

/* The secrets that the look had to know are gone from memory when it returns. */
static int look(const struct root *root, json_t **ret)
{
	_cleanup_looked_ struct looked l;
	struct report_source src = { .taken = time(NULL) };
	int r = looked_fill(root, 0, &l);

	if (r < 0)
		return r;
	src.view = &l.view;
	src.verdicts = l.verdicts;
	src.redactor = l.redactor;
	*ret = report_build(&src);
	return 0;
}

static void json_free(json_t **doc)
{
	json_decref(*doc);
}

static int diff(const struct cmd_ctx *ctx, const char *path, int json)
{
	_cleanup_(diff_free) struct diff d = { 0 };
	_cleanup_(json_free) json_t *own = NULL;
	_cleanup_strbuf_ struct strbuf out = { 0 };
	_cleanup_free_ char *trouble = NULL;
	_cleanup_close_ int fd = open_reference(path);
	int r = fd < 0 ? fd : 0;

	if (r < 0) {
		log_error("cannot read %s: %s", path, strerror(-r));
		return EXIT_USAGE;
	}
	r = look(&ctx->root, &own);
	if (r < 0)
		return cmd_failed(r, "read the settings");
	r = diff_with_file(own, fd, &d, &trouble);
	if (r < 0)
		return cmd_failed(r, "compare with %s", path);
	if (r > 0) {
		log_error("%s is not a report that can be compared with: %s", path, trouble);
		return EXIT_USAGE;
	}
	(json ? diff_json : diff_text)(&d, &out);
	fputs(out.data, stdout);
	return diff_matters(&d) ? EXIT_FAILED : EXIT_FINE;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	int json, r = cmd_json_option(&cmd_diff, argc, argv, &json);

	if (r >= 0)
		return r;
	if (optind + 1 != argc)
		return cmd_usage_error(&cmd_diff, "one file is needed, made by `dstack-host report "
						  "--format json`");
	return diff(ctx, argv[optind], json);
}

const struct command cmd_diff = {
	.name = "diff",
	.usage = "REFERENCE [--json]",
	.summary = "Compares this host with a report taken earlier or elsewhere.",
	.run = run,
};
