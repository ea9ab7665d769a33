// SPDX-License-Identifier: Apache-2.0
/* dstack-host compose: upstream's `vmm-cli.py compose`, its flags and its bytes, without
 * Python. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "host/compose.h"
#include "host/pyjson.h"

#define TEXT_MAX (8 << 20)

struct args {
	const char *docker_compose, *output, *prelaunch, *env_file, *swap;
	struct app_compose app;
};

/* What was read from files; the compose points into it. */
struct inputs {
	char *docker_compose, *prelaunch;
	char **keys;
	size_t n_keys;
};

static void inputs_free(struct inputs *in)
{
	free(in->docker_compose);
	free(in->prelaunch);
	for (size_t i = 0; i < in->n_keys; i++)
		free(in->keys[i]);
	free(in->keys);
}

/* Any file that can be read, pipes too: `--env-file <(…)`. */
static int read_file(const char *path, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : fd_read_all(fd, TEXT_MAX, ret, ret_len);

	if (r < 0)
		cmd_failed(r, "read %s", path);
	return r;
}

static int read_env_file(const char *path, struct inputs *in)
{
	_cleanup_free_ char *data = NULL;
	const char *reason;
	size_t len;
	int r = read_file(path, &data, &len);

	if (r < 0)
		return r;
	reason = pyjson_unfit(data, len);
	if (!reason)
		env_file_keys(data, &in->keys, &in->n_keys);
	/* Python strips blanks that are not ASCII; no variable's name has any. */
	for (size_t i = 0; i < in->n_keys; i++)
		for (const char *p = in->keys[i]; *p; p++)
			if ((unsigned char)*p >= 0x80)
				reason = "has a key with other than ASCII characters";
	/* The values are secrets, and nobody here needs them. */
	explicit_bzero(data, len);
	if (!reason)
		return 0;
	log_error("%s %s", path, reason);
	return -EINVAL;
}

static int read_inputs(struct args *a, struct inputs *in)
{
	int r = read_file(a->docker_compose, &in->docker_compose, &a->app.docker_compose_len);

	if (r == 0 && a->prelaunch && *a->prelaunch)
		r = read_file(a->prelaunch, &in->prelaunch, &a->app.prelaunch_script_len);
	if (r == 0 && a->env_file && *a->env_file)
		r = read_env_file(a->env_file, in);
	a->app.docker_compose = in->docker_compose;
	a->app.prelaunch_script = in->prelaunch;
	a->app.allowed_envs = in->keys;
	a->app.n_allowed_envs = in->n_keys;
	return r;
}

static int write_through(const char *path, const char *text)
{
	size_t left = strlen(text);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (left) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			left -= (size_t)n;
		}
	}
	return 0;
}

/* A regular file is replaced in one step; into a pipe or device it is written. */
static int write_output(const char *path, const char *text)
{
	_cleanup_root_ struct root here = { .fd = -1 };
	_cleanup_close_ int lock = -1;
	const char *base;
	_cleanup_free_ char *full = NULL, *cwd = NULL;
	struct file_spec spec = { text, strlen(text), 0644, (uid_t)-1, (gid_t)-1 };
	struct stat st;
	int r;

	if (stat(path, &st) == 0) {
		if (!S_ISREG(st.st_mode))
			return write_through(path, text);
		/* The mode stays, and a link keeps leading to it. */
		spec.mode = st.st_mode & 07777;
		full = realpath(path, NULL);
	} else if (errno == ENOENT) {
		cwd = getcwd(NULL, 0);
		full = *path == '/' ? xstrdup(path) : cwd ? xasprintf("%s/%s", cwd, path) : NULL;
	}
	if (!full)
		return -errno;
	r = root_open(NULL, &here);
	if (r < 0)
		return r;
	/* Not the host's lock: anybody may write a file of his own, and two runs take turns. */
	lock = root_open_parent(&here, full, &base);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return lock < 0 ? lock : -errno;
	r = file_replace(&here, full, &spec);
	return r < 0 ? r : 0;
}

static int compose(struct args *a)
{
	_cleanup_(inputs_free) struct inputs in = { 0 };
	_cleanup_free_ char *text = NULL;
	const char *reason, *what;
	char hash[SHA256_HEX + 1];
	int r;

	r = read_inputs(a, &in);
	if (r < 0)
		return r == -EINVAL ? EXIT_CONFIG : EXIT_FAILED;
	reason = app_compose_unfit(&a->app, &what);
	if (reason) {
		log_error("--%s %s", what, reason);
		return EXIT_CONFIG;
	}
	r = app_compose_text(&a->app, &text);
	if (r == 0 && strcmp(a->output, "-") == 0)
		fputs(text, stdout);
	else if (r == 0)
		r = write_output(a->output, text);
	if (r < 0)
		return cmd_failed(r, "write %s", a->output);
	compose_hash(text, hash);
	log_info("compose hash %s, app id %.*s", hash, COMPOSE_APP_ID, hash);
	return EXIT_FINE;
}

enum { O_NAME = 1, O_DOCKER, O_PRELAUNCH, O_PROVIDER_ID, O_ENV, O_SWAP, O_OUTPUT };

static int parse(struct args *a, int argc, char *argv[])
{
	struct app_compose *s = &a->app;
	int flag[7] = { 0 }, c;
	const struct option options[] = {
		{ "name", required_argument, NULL, O_NAME },
		{ "docker-compose", required_argument, NULL, O_DOCKER },
		{ "output", required_argument, NULL, O_OUTPUT },
		{ "prelaunch-script", required_argument, NULL, O_PRELAUNCH },
		{ "key-provider-id", required_argument, NULL, O_PROVIDER_ID },
		{ "env-file", required_argument, NULL, O_ENV },
		{ "swap", required_argument, NULL, O_SWAP },
		{ "kms", no_argument, &flag[0], 1 },
		{ "gateway", no_argument, &flag[1], 1 },
		{ "local-key-provider", no_argument, &flag[2], 1 },
		{ "public-logs", no_argument, &flag[3], 1 },
		{ "public-sysinfo", no_argument, &flag[4], 1 },
		{ "no-instance-id", no_argument, &flag[5], 1 },
		{ "secure-time", no_argument, &flag[6], 1 },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char **values[] = { [O_NAME] = &s->name,	     [O_DOCKER] = &a->docker_compose,
				  [O_OUTPUT] = &a->output,   [O_PRELAUNCH] = &a->prelaunch,
				  [O_ENV] = &a->env_file,    [O_SWAP] = &a->swap,
				  [O_PROVIDER_ID] = &s->key_provider_id };

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h' || c == '?')
			return c;
		if (c)
			*values[c] = optarg;
	}
	s->kms = flag[0];
	s->gateway = flag[1];
	s->local_key_provider = flag[2];
	s->public_logs = flag[3];
	s->public_sysinfo = flag[4];
	s->no_instance_id = flag[5];
	s->secure_time = flag[6];
	return 0;
}

static int run(const struct cmd_ctx *ctx _unused_, int argc, char *argv[])
{
	struct args a = { 0 };
	const char *reason;
	int c = parse(&a, argc, argv);

	if (c == 'h') {
		cmd_help(&cmd_compose);
		return EXIT_FINE;
	}
	if (c == '?')
		return EXIT_USAGE;
	if (optind < argc)
		return cmd_usage_error(&cmd_compose, "unexpected \"%.40s\"", argv[optind]);
	if (!a.app.name || !a.docker_compose || !a.output)
		return cmd_usage_error(&cmd_compose, "--%s is needed",
				       !a.app.name	 ? "name" :
				       !a.docker_compose ? "docker-compose" :
							   "output");
	reason = a.swap ? parse_memory_size(a.swap, &a.app.swap_bytes) : NULL;
	if (reason)
		return cmd_usage_error(&cmd_compose, "--swap: %s: \"%.40s\"", reason, a.swap);
	a.app.swap_bytes <<= 20;
	return compose(&a);
}

const struct command cmd_compose = {
	.name = "compose",
	.usage = "--name NAME --docker-compose FILE --output FILE|- [--local-key-provider]\n"
		 "         [--kms] [--gateway] [--key-provider-id ID] [--env-file FILE]\n"
		 "         [--prelaunch-script FILE] [--swap SIZE] [--public-logs]\n"
		 "         [--public-sysinfo] [--no-instance-id] [--secure-time]",
	.summary = "Makes an app-compose.json, byte for byte as vmm-cli.py does.",
	.run = run,
};
