// SPDX-License-Identifier: Apache-2.0
/* dstack-host kms: deploys the KMS, tells how it is. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "host/kms/kms.h"
#include "host/measure/measure-baseline.h"
#include "host/probe/key-provider.h"

/* Once, while what is on disk is still what it was started with. Without it only a check says
 * less: nothing fails. */
static void record_measurement(const struct cmd_ctx *ctx, const struct settings *s)
{
	_cleanup_(kms_record_free) struct kms_record record = { 0 };
	_cleanup_free_ char *trouble = NULL;

	if (!root_is_host(&ctx->root) || kms_record_load(&ctx->root, &record) != 0 || !*record.vm_id ||
	    baseline_exists(&ctx->root, record.vm_id))
		return;
	if (baseline_record(&ctx->root, s, record.vm_id, NULL, &trouble) == 0)
		log_info("recorded what the KMS measures, in " BASELINES);
	else
		log_warning("cannot record what the KMS measures: %s", trouble);
}

static int deploy(const struct cmd_ctx *ctx)
{
	_cleanup_settings_ struct settings s = { 0 };
	int r = settings_load(&ctx->root, &s);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	if (s.bad & FOR_KMS) {
		diag_print(&s.diag);
		return EXIT_CONFIG;
	}
	r = kms_deploy(&ctx->root, &s);
	if (r == 0)
		key_provider_record(&ctx->root, &s);
	if (r == -EACCES || r == -EPERM)
		log_error("this changes the host and needs root: try sudo");
	if (r == 0)
		record_measurement(ctx, &s);
	return r == 0 ? EXIT_FINE : EXIT_FAILED;
}

static int status(const struct cmd_ctx *ctx, int json)
{
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_(kms_status_free) struct kms_status st = { 0 };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int r = settings_load(&ctx->root, &s);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	r = kms_status(&ctx->root, &s, &st);
	if (r < 0)
		return cmd_failed(r, "look at the KMS");
	if (json)
		kms_status_json(&st, &out);
	else
		kms_status_text(&st, &out);
	fputs(out.data, stdout);
	return st.ready ? EXIT_FINE : EXIT_FAILED;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	int json, r = cmd_json_option(&cmd_kms, argc, argv, &json);

	if (r >= 0)
		return r;
	if (argc - optind == 1 && strcmp(argv[optind], "status") == 0)
		return status(ctx, json);
	if (argc - optind == 1 && strcmp(argv[optind], "deploy") == 0 && !json)
		return deploy(ctx);
	return cmd_usage_error(&cmd_kms, "one of deploy, status");
}

const struct command cmd_kms = {
	.name = "kms",
	.usage = "deploy | status [--json]",
	.summary = "Deploys the KMS once; tells how it is.",
	.run = run,
};
