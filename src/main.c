// SPDX-License-Identifier: Apache-2.0
/* The verb table and the global options. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cmd/cmd.h"

#ifndef VERSION
#define VERSION "unknown"
#endif

static const struct command *const commands[] = {
	&cmd_status,  &cmd_check,   &cmd_up,	  &cmd_config,	&cmd_secret,  &cmd_render,
	&cmd_report,  &cmd_diff,    &cmd_metrics, &cmd_compose, &cmd_devices, &cmd_kms,
	&cmd_image,   &cmd_measure, &cmd_drain,   &cmd_apply,   &cmd_await,	&cmd_guard,   &cmd_supervisor_gate,
	&cmd_key_provider,
};

static void help(void)
{
	printf("Usage: dstack-host [--root DIR] [-v] COMMAND [ARGUMENT...]\n\n"
	       "Keeps this machine a dstack host. Commands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!(commands[i]->flags & CMD_INTERNAL))
			printf("  %-9s %s\n", commands[i]->name, commands[i]->summary);
	printf("\n  --root DIR     work on the system below DIR\n"
	       "  -v, --verbose  say more\n"
	       "  -h, --help     this text; COMMAND --help tells more\n"
	       "      --version  version\n\n"
	       "Settings are in /etc/dstack/host.conf. Manual: dstack-host(8).\n");
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* A secret in memory must not end in a core file, nor be read by a debugger. */
static void protect_memory(void)
{
	struct rlimit none = { 0 };

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

/* As in host/lib/lib-crypto.c. */
static void libraries_end_without_memory(void)
{
	json_set_alloc_funcs(xmalloc, free);
}

/* Nothing that was printed may be lost silently ("status > /dev/full"). */
static int finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	log_error("cannot write the output: %s", strerror(errno));
	return code == EXIT_FINE ? EXIT_FAILED : code;
}

static int run(const struct command *cmd, const char *dir, int argc, char *argv[])
{
	_cleanup_(root_close) struct root root = { .fd = -1 };
	struct cmd_ctx ctx;
	int r = root_open(dir, &root);

	if (r < 0)
		return cmd_failed(r, "open --root %s", dir ? dir : "/");
	ctx.root = root;
	optind = 0;
	return finish(cmd->run(&ctx, argc, argv));
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "root", required_argument, NULL, 'r' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	const struct command *cmd;
	const char *dir = NULL;
	int c;

	umask(077);
	protect_memory();
	libraries_end_without_memory();
	while ((c = getopt_long(argc, argv, "+vh", options, NULL)) >= 0) {
		if (c == 'h') {
			help();
			return finish(EXIT_FINE);
		}
		if (c == 'V') {
			puts("dstack-host " VERSION);
			return finish(EXIT_FINE);
		}
		if (c == '?')
			return EXIT_USAGE;
		if (c == 'r')
			dir = optarg;
		else
			log_verbose = 1;
	}
	if (optind >= argc) {
		log_error("no command given; see dstack-host --help");
		return EXIT_USAGE;
	}
	if (strcmp(argv[optind], "help") == 0) {
		help();
		return finish(EXIT_FINE);
	}
	cmd = find(argv[optind]);
	if (!cmd) {
		log_error("no command \"%.40s\"; see dstack-host --help", argv[optind]);
		return EXIT_USAGE;
	}
	return run(cmd, dir, argc - optind, argv + optind);
}
