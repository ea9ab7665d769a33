// SPDX-License-Identifier: Apache-2.0
/* dstack-host devices: SGX nodes, their groups and members; --fix mends them. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "host/devices.h"
#include "host/json.h"
#include "host/units.h"

static const char *const state_names[] = {
	[DEVICE_OK] = "ok",
	[DEVICE_WRONG] = "wrong",
	[DEVICE_ABSENT] = "absent",
	[DEVICE_NOTE] = "note",
};

static const char *const kind_names[] = {
	[DEVICE_NODE] = "device",
	[DEVICE_GROUP] = "group",
	[DEVICE_MEMBER] = "member",
	[DEVICE_OTHER] = "device",
};

static int all_good(const struct device_report *report)
{
	return !devices_bad(report, DEVICE_NODE) && !devices_bad(report, DEVICE_GROUP) &&
	       !devices_bad(report, DEVICE_MEMBER);
}

static void print_table(const struct device_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		const struct device_row *row = &report->rows[i];
		int bad = row->state == DEVICE_WRONG || row->state == DEVICE_ABSENT;

		printf("%-7s %-19s %-6s  %s", kind_names[row->kind], row->name,
		       state_names[row->state], row->found);
		if (bad)
			printf(" (wanted: %s)", row->wanted);
		putchar('\n');
		if (row->cause)
			printf("%36s%s\n", "", row->cause);
	}
}

static void print_json(const struct device_report *report)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	json_t *rows = json_array();

	for (size_t i = 0; i < report->n; i++) {
		const struct device_row *row = &report->rows[i];

		json_array_append_new(rows,
				      json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?}", "kind",
						kind_names[row->kind], "name", row->name,
						"state", state_names[row->state], "found",
						row->found, "wanted", row->wanted, "cause",
						row->cause));
	}
	json_write(&out, json_pack("{s:s, s:o}", "schema", "dstack-host.devices/1", "rows",
				   rows));
	fputs(out.data, stdout);
}

/* qgsd has the groups it was started with. */
static void restart_qgsd(const struct root *root)
{
	_cleanup_units_ struct units *units = NULL;
	int r = units_open(root, &units);

	if (r == 0)
		r = units_do(units, UNIT_TRY_RESTART, "qgsd.service");
	if (r < 0)
		log_warning("qgsd was not restarted (%s): sudo systemctl try-restart qgsd",
			    strerror(-r));
}

static int do_steps(const struct root *root, const struct device_plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		_cleanup_free_ char *text = device_step_text(&plan->steps[i]);
		int r = device_step_do(root, &plan->steps[i]);

		if (r < 0)
			return cmd_failed(r, "do this: %s", text);
		if (r > 0) {
			log_error("exit status %d: %s", r, text);
			return EXIT_FAILED;
		}
		log_info("done: %s", text);
	}
	return EXIT_FINE;
}

static int fix(const struct cmd_ctx *ctx, const struct device_report *report)
{
	_cleanup_device_plan_ struct device_plan plan = { 0 };
	_cleanup_close_ int lock = -1;
	int code = cmd_lock(ctx, &lock);

	if (code != EXIT_FINE)
		return code;
	devices_plan(&ctx->root, report, &plan);
	code = do_steps(&ctx->root, &plan);
	if (plan.member && code == EXIT_FINE)
		restart_qgsd(&ctx->root);
	if (plan.refused)
		log_warning("%s", plan.refused);
	return code;
}

static int devices(const struct cmd_ctx *ctx, int mend, int json)
{
	_cleanup_device_report_ struct device_report report = { 0 };
	int code = EXIT_FINE;

	devices_check(&ctx->root, &report);
	if (mend && !all_good(&report)) {
		code = fix(ctx, &report);
		device_report_free(&report);
		devices_check(&ctx->root, &report);
	}
	if (json)
		print_json(&report);
	else
		print_table(&report);
	if (code == EXIT_FINE && !all_good(&report))
		code = EXIT_FAILED;
	return code;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = {
		{ "fix", no_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int mend = 0, json = 0, c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_devices);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		if (c == 'f')
			mend = 1;
		else
			json = 1;
	}
	if (optind < argc)
		return cmd_usage_error(&cmd_devices, "no argument is taken");
	return devices(ctx, mend, json);
}

const struct command cmd_devices = {
	.name = "devices",
	.usage = "[--fix] [--json]",
	.summary = "Checks the SGX devices and their groups; --fix mends them.",
	.run = run,
};
