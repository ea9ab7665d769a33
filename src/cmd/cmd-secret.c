// SPDX-License-Identifier: Apache-2.0
/* dstack-host secret: stores secrets, which come in by standard input only. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "host/conf/import.h"
#include "host/conf/secrets.h"

static int list(const struct cmd_ctx *ctx)
{
	for (int id = 0; id < SECRET_COUNT; id++) {
		_cleanup_secret_ char *value = NULL;
		int r = secret_read(&ctx->root, (enum secret_id)id, &value);

		if (r < 0)
			return cmd_failed(r, "read the secret %s", secrets[id].name);
		printf("%-20s %-9s %s\n", secrets[id].name, value ? "(set)" : "(not set)",
		       secrets[id].help);
	}
	return EXIT_FINE;
}

/* The value without the line break that `echo` and the keyboard put behind it. A NUL byte
 * inside would hide what follows it. */
static int read_value(char **ret)
{
	size_t len;
	int r = fd_read_all(STDIN_FILENO, SECRET_MAX, ret, &len);

	if (r < 0)
		return r;
	if (strlen(*ret) != len)
		return 1;
	if (len && (*ret)[len - 1] == '\n')
		(*ret)[len - 1] = '\0';
	return 0;
}

static int set(const struct cmd_ctx *ctx, const char *name)
{
	_cleanup_(import_free) struct import im = { 0 };
	_cleanup_secret_ char *value = NULL;
	_cleanup_close_ int lock = -1;
	int id = secret_find(name), r;

	if (id < 0)
		return cmd_usage_error(&cmd_secret, "no secret \"%.64s\"; see secret list", name);
	if (isatty(STDIN_FILENO))
		log_info("%s, then Ctrl-D:", name);
	r = read_value(&value);
	if (r != 0) {
		log_error("%s: %s; nothing was changed", name,
			  r > 0	       ? "holds a NUL byte" :
			  r == -EFBIG ? "longer than 4 KiB" :
					strerror(-r));
		return r > 0 || r == -EFBIG ? EXIT_CONFIG : EXIT_FAILED;
	}
	r = cmd_lock(ctx, &lock);
	if (r != EXIT_FINE)
		return r;
	r = import_begin(&ctx->root, &im);
	if (r == 0)
		r = import_secret(&ctx->root, &im, (enum secret_id)id, value);
	if (r == 0)
		r = import_commit_all(&ctx->root, &im);
	if (r < 0 && !im.diag.n)
		return cmd_failed(r, "store the secret %s", name);
	diag_print(&im.diag);
	if (im.diag.n)
		log_error("nothing was changed");
	else
		log_info("stored; to apply it: sudo systemctl start dstack-host-start");
	return im.diag.n ? EXIT_CONFIG : EXIT_FINE;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		cmd_help(&cmd_secret);
		return EXIT_FINE;
	}
	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return list(ctx);
	if (argc == 3 && strcmp(argv[1], "set") == 0)
		return set(ctx, argv[2]);
	return cmd_usage_error(&cmd_secret, "one of list, set NAME (value on stdin)");
}

const struct command cmd_secret = {
	.name = "secret",
	.usage = "list | set NAME < FILE",
	.summary = "Stores secrets (PCCS key and tokens, VMM token).",
	.run = run,
};
