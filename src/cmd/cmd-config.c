// SPDX-License-Identifier: Apache-2.0
/* dstack-host config: looks at and edits /etc/dstack/host.conf. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "host/conf/import.h"
#include "host/conf/settings.h"
#include "host/conf/shown.h"

/* The table in scdoc, for the manual. */
static int list_man(void)
{
	for (int id = 0; id < KEY_COUNT; id++) {
		const struct key *k = &keys[id];

		printf("*%s*%s%s\n\t%s", k->name, k->flags & KEY_MEASURED ? " _(sealed)_" : "",
		       k->choices ? " " : "", k->help);
		if (k->choices)
			printf(" One of: %s.", k->choices);
		if (k->fallback)
			printf(" Default: %s", *k->fallback ? k->fallback : "empty");
		printf("\n\n");
	}
	return EXIT_FINE;
}

static int list(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	_cleanup_settings_ struct settings s = { 0 };
	int r;

	if (argc == 2 && strcmp(argv[1], "--man") == 0)
		return list_man();
	if (argc != 1)
		return cmd_usage_error(&cmd_config, "list takes no argument");
	r = settings_load(&ctx->root, &s);
	if (r < 0)
		return cmd_failed(r, "read the settings");
	for (int id = 0; id < KEY_COUNT; id++) {
		_cleanup_free_ char *shown = shown_value(&s, (enum key_id)id);

		printf("# %s\n# %s", keys[id].help, source_name(s.v[id].source));
		if (s.v[id].source == SOURCE_SUPPLIED)
			printf(" by %s", s.v[id].file);
		printf("\n%s%s=%s\n\n", s.v[id].source == SOURCE_FILE ? "" : "#", keys[id].name,
		       shown);
	}
	diag_print(&s.diag);
	return s.diag.n ? EXIT_CONFIG : EXIT_FINE;
}

static int find_key(const char *name)
{
	int id = key_find(name);

	if (id < 0) {
		_cleanup_free_ char *hint = key_hint(name);

		log_error("unknown key \"%.64s\"; %s", name, hint);
	}
	return id;
}

static int get(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	_cleanup_settings_ struct settings s = { 0 };
	int id, r;

	if (argc != 2)
		return cmd_usage_error(&cmd_config, "get takes one KEY");
	id = find_key(argv[1]);
	if (id < 0)
		return EXIT_USAGE;
	r = settings_load(&ctx->root, &s);
	if (r < 0)
		return cmd_failed(r, "read the settings");
	if (!setting_is_set(&s, (enum key_id)id)) {
		log_error("%s is not set; sudo dstack-host config set %s=VALUE", argv[1],
			  argv[1]);
		return EXIT_FAILED;
	}
	puts(setting(&s, (enum key_id)id));
	return EXIT_FINE;
}

/* Exit code for the outcome of a change; says what happened. */
static int report(int r, const struct diag *diag)
{
	diag_print(diag);
	if (r == -EINVAL) {
		log_error("nothing was changed");
		return EXIT_CONFIG;
	}
	if (r < 0)
		return cmd_failed(r, "write " HOSTCONF_PATH);
	if (r == FILE_UNCHANGED)
		log_info("unchanged");
	else
		log_info("changed; to apply it: sudo systemctl start dstack-host-start");
	return EXIT_FINE;
}

static int change(const struct cmd_ctx *ctx, int argc, char *argv[], int unset)
{
	_cleanup_(import_free) struct import im = { 0 };
	_cleanup_close_ int lock = -1;
	int r;

	if (argc < 2)
		return cmd_usage_error(&cmd_config, "%s", unset ? "unset takes KEY..." :
								   "set takes KEY=VALUE...");
	r = cmd_lock(ctx, &lock);
	if (r != EXIT_FINE)
		return r;
	r = import_begin(&ctx->root, &im);
	for (int i = 1; r == 0 && i < argc; i++) {
		if (unset)
			import_unset(&im, argv[i]);
		else
			import_word(&im, argv[i]);
	}
	return report(r == 0 ? import_commit_all(&ctx->root, &im) : r, &im.diag);
}

static int set(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	return change(ctx, argc, argv, 0);
}

static int unset(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	return change(ctx, argc, argv, 1);
}

/* From the maintainer script: debconf's answers on stdin. Total: what is wrong is reported
 * and not stored, and the package configures all the same. */
static int import(const struct cmd_ctx *ctx, int argc, char *argv[] _unused_)
{
	_cleanup_(import_free) struct import im = { 0 };
	_cleanup_secret_ char *text = NULL;
	_cleanup_close_ int lock = -1;
	size_t len;
	int r;

	if (argc != 1)
		return cmd_usage_error(&cmd_config, "import reads its standard input");
	r = fd_read_all(STDIN_FILENO, IMPORT_MAX, &text, &len);
	if (r < 0)
		return cmd_failed(r, "read the answers");
	r = cmd_lock(ctx, &lock);
	if (r != EXIT_FINE)
		return r;
	r = import_begin(&ctx->root, &im);
	if (r == 0)
		r = import_answers(&ctx->root, &im, text, len);
	diag_print(&im.diag);
	return r < 0 ? cmd_failed(r, "store the answers") : EXIT_FINE;
}

static int validate(const struct cmd_ctx *ctx, int argc, char *argv[] _unused_)
{
	_cleanup_settings_ struct settings s = { 0 };
	int r;

	if (argc != 1)
		return cmd_usage_error(&cmd_config, "validate takes no argument");
	r = settings_load(&ctx->root, &s);
	if (r < 0)
		return cmd_failed(r, "read the settings");
	diag_print(&s.diag);
	if (!s.diag.n)
		log_info("%s%s is good", ctx->root.path, HOSTCONF_PATH);
	return s.diag.n ? EXIT_CONFIG : EXIT_FINE;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	static const struct {
		const char *name;
		int (*run)(const struct cmd_ctx *ctx, int argc, char *argv[]);
	} verbs[] = {
		{ "list", list },	{ "get", get },		  { "set", set },
		{ "unset", unset },	{ "import", import },	  { "validate", validate },
	};

	if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
		cmd_help(&cmd_config);
		return EXIT_FINE;
	}
	for (size_t i = 0; argc >= 2 && i < ARRAY_SIZE(verbs); i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].run(ctx, argc - 1, argv + 1);
	return cmd_usage_error(&cmd_config, "one of list, get, set, unset, import, validate");
}

const struct command cmd_config = {
	.name = "config",
	.usage = "list | get KEY | set KEY=VALUE... | unset KEY... | import | validate",
	.summary = "Shows and changes the settings.",
	.run = run,
};
