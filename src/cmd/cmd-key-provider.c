// SPDX-License-Identifier: Apache-2.0
/* dstack-host key-provider: what its unit asks before it starts, and the operator's word for a
 * record that is to change. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/cmd.h"
#include "host/probe/key-provider.h"

static int gate(const struct cmd_ctx *ctx)
{
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_free_ char *why = NULL;
	int r = settings_load(&ctx->root, &s);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	why = key_provider_start_refused(&ctx->root, &s);
	if (!why)
		return EXIT_FINE;
	log_error("another key provider opens no disk, so it is not started: %s (see KEY PROVIDER "
		  "in dstack-host(8))", why);
	return EXIT_FAILED;
}

static int is_image_id(const char *s)
{
	return strncmp(s, "sha256:", 7) == 0 && strlen(s) == 7 + 64 &&
	       strspn(s + 7, "0123456789abcdef") == 64;
}

static int record(const struct cmd_ctx *ctx, const char *id)
{
	_cleanup_free_ char *before = NULL;
	int r;

	if (!is_image_id(id))
		return cmd_usage_error(&cmd_key_provider, "ID is sha256: and 64 hexadecimal digits");
	if (key_provider_recorded(&ctx->root, &before) < 0)
		before = NULL;
	r = key_provider_record_as(&ctx->root, id);
	if (r == -EACCES || r == -EPERM)
		log_error("this changes the host and needs root: try sudo");
	if (r < 0)
		return cmd_failed(r, "write %s", KEY_PROVIDER_RECORD);
	log_info("recorded %s; before it was %s", id, before ? before : "none");
	return EXIT_FINE;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c != 'h')
			return EXIT_USAGE;
		cmd_help(&cmd_key_provider);
		return EXIT_FINE;
	}
	if (argc - optind == 1 && strcmp(argv[optind], "gate") == 0)
		return gate(ctx);
	if (argc - optind == 2 && strcmp(argv[optind], "record") == 0)
		return record(ctx, argv[optind + 1]);
	return cmd_usage_error(&cmd_key_provider, "one of gate, record ID");
}

const struct command cmd_key_provider = {
	.name = "key-provider",
	.usage = "gate | record ID",
	.summary = "Refuses another key provider than the one that sealed; records which that is.",
	.flags = CMD_INTERNAL,
	.run = run,
};
