// SPDX-License-Identifier: Apache-2.0
/* Which machines are measured, and running it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "cmd/cmd-measure.h"
#include "host/measure/measure-baseline.h"

#define QEMU "/usr/bin/qemu-system-x86_64"

char *measure_path(const struct cmd_ctx *ctx, const char *path)
{
	_cleanup_free_ char *here = NULL;

	if (*path == '/' || !root_is_host(&ctx->root))
		return xstrdup(path);
	here = get_current_dir_name();
	return here ? xasprintf("%s/%s", here, path) : xstrdup(path);
}

/* Debian's QEMU has its modules in a package of the same version; apt puts both into one
 * directory. NULL: it is not there. */
static char *find_common(const struct cmd_ctx *ctx, const char *package)
{
	static const char own[] = "qemu-system-x86_", common[] = "qemu-system-common_";
	const char *slash = strrchr(package, '/'), *base = slash ? slash + 1 : package;
	_cleanup_free_ char *path = NULL;

	if (!measure_is_package(package) || strncmp(base, own, strlen(own)) != 0)
		return NULL;
	path = xasprintf("%.*s%s%s", (int)(base - package), package, common, base + strlen(own));
	return root_exists(&ctx->root, path) ? steal_ptr(path) : NULL;
}

int measure_record(const struct cmd_ctx *ctx, const struct measure_args *a)
{
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_free_ char *trouble = NULL, *path = a->qemu ? measure_path(ctx, a->qemu) : NULL;
	_cleanup_free_ char *common = path && !a->beside.n ? find_common(ctx, path) : NULL;
	const struct measure_qemu qemu = {
		.path = path,
		.beside = common ? (const char *const *)&common : a->beside.v,
		.n_beside = common ? 1 : a->beside.n,
	};
	int r = settings_load(&ctx->root, &s);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	if (!root_is_host(&ctx->root))
		return cmd_usage_error(&cmd_measure, "--record is about machines that run here");
	r = baseline_record(&ctx->root, &s, a->vm, path ? &qemu : NULL, &trouble);
	if (r < 0) {
		log_error("cannot put on record what %.64s measures: %s", a->vm, trouble);
		return EXIT_FAILED;
	}
	printf("%s: %s in %s\n", a->vm, r == FILE_UNCHANGED ? "is on record" : "put on record",
	       BASELINES);
	return EXIT_FINE;
}

static void set_qemu(const struct cmd_ctx *ctx, const struct measure_args *a,
		     struct measure_target *t)
{
	t->qemu_path = a->qemu ? measure_path(ctx, a->qemu) :
				 xstrdup(t->config.qemu ? t->config.qemu : QEMU);
	t->common = a->beside.n ? NULL : find_common(ctx, t->qemu_path);
	t->qemu = (struct measure_qemu){ .path = t->qemu_path, .beside = a->beside.v,
					 .n_beside = a->beside.n };
	if (t->common) {
		t->qemu.beside = (const char *const *)&t->common;
		t->qemu.n_beside = 1;
	}
}

static int from_image(const struct cmd_ctx *ctx, const struct measure_args *a,
		      const struct settings *s, struct measure_target *t)
{
	_cleanup_free_ char *named = strchr(a->image, '/') ? measure_path(ctx, a->image) :
							     xstrdup(a->image);
	_cleanup_free_ char *dir = config_image_dir(named, setting(s, KEY_IMAGE_DIR));
	_cleanup_free_ char *trouble = NULL;
	int r = config_from_size(a->vcpu, a->memory_mb, a->more.v, a->more.n, &t->config,
				 &trouble);

	if (r == 0)
		r = config_set_image(&ctx->root, dir, &t->config, &trouble);
	if (r < 0) {
		log_error("%s", trouble);
		return EXIT_FAILED;
	}
	t->config.what = xasprintf("%s with %u vCPU and %llu MiB", a->image, a->vcpu,
				   (unsigned long long)a->memory_mb);
	return EXIT_FINE;
}

static int is_wanted(const struct measure_args *a, const struct measure_vm *vm)
{
	return a->all || strcmp(vm->id, a->vm) == 0 || strcmp(vm->name, a->vm) == 0;
}

static int from_machines(const struct cmd_ctx *ctx, const struct measure_args *a,
			 const struct settings *s, struct measure_target **ret, size_t *n)
{
	_cleanup_free_ char *trouble = NULL;
	struct measure_vm *vms = NULL;
	size_t n_vms = 0;
	int r = EXIT_FINE;

	if (measure_vms(&ctx->root, s, &vms, &n_vms, &trouble) < 0) {
		log_error("cannot tell which machines there are: %s", trouble);
		return EXIT_FAILED;
	}
	*ret = xcalloc(n_vms + 1, sizeof(**ret));
	for (size_t i = 0; i < n_vms; i++) {
		if (!is_wanted(a, &vms[i]))
			continue;
		if (vms[i].trouble) {
			log_error("%s: %s", vms[i].name, vms[i].trouble);
			r = EXIT_FAILED;
			continue;
		}
		config_copy(&vms[i].config, &(*ret)[(*n)++].config);
	}
	measure_vms_free(vms, n_vms);
	if (r == EXIT_FINE && !*n && !a->all) {
		log_error("no machine \"%.64s\" on this host; see dstack-host status", a->vm);
		r = EXIT_FAILED;
	}
	return r;
}

int measure_targets(const struct cmd_ctx *ctx, const struct measure_args *a,
		    struct measure_target **ret, size_t *n)
{
	_cleanup_settings_ struct settings s = { 0 };
	int r = settings_load(&ctx->root, &s);

	*ret = NULL;
	*n = 0;
	if (r < 0)
		return cmd_failed(r, "read the settings");
	if (a->image) {
		*ret = xcalloc(1, sizeof(**ret));
		*n = 1;
		r = from_image(ctx, a, &s, *ret);
	} else {
		r = from_machines(ctx, a, &s, ret, n);
	}
	if (r != EXIT_FINE && !a->all) {
		measure_targets_free(*ret, *n);
		*ret = NULL;
		*n = 0;
	}
	for (size_t i = 0; i < *n; i++)
		set_qemu(ctx, a, &(*ret)[i]);
	return r;
}

void measure_targets_free(struct measure_target *targets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		config_free(&targets[i].config);
		free(targets[i].qemu_path);
		free(targets[i].common);
	}
	free(targets);
}

/* One QEMU for all that name the same: it is read in one jail. */
static void share(struct measure_run *runs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; runs[i].qemu && j < i; j++)
			if (runs[j].qemu && strcmp(runs[j].qemu->path, runs[i].qemu->path) == 0) {
				runs[i].qemu = runs[j].qemu;
				break;
			}
}

static void complain(const struct measure_run *run)
{
	const char *error = run->result.error;

	/* The next step where there is one that the cause does not name itself. */
	log_error("cannot measure %s: %s%s", run->config->what, error,
		  strncmp(error, "QEMU", 4) == 0 && strstr(error, "No such file") ?
			  "; apt install qemu-system-x86, or name one with --qemu" :
		  strstr(error, "sandbox") ? "; needs root, or user namespaces" :
		  strstr(error, "error while loading shared libraries") ?
			  "; name the package that has it with --with FILE.deb" :
		  strstr(error, "could not load module") ?
			  "; its modules are in qemu-system-common of the same version: --with "
			  "FILE.deb" : "");
}

int measure_run(const struct cmd_ctx *ctx, const struct measure_args *a,
		struct measure_run *runs, size_t n)
{
	int r, code = EXIT_FINE;

	share(runs, n);
	r = measure_all(&ctx->root, runs, n, &a->options);
	if (r < 0)
		return cmd_failed(r, "measure");
	for (size_t i = 0; i < n; i++) {
		if (!runs[i].result.error)
			continue;
		complain(&runs[i]);
		code = EXIT_FAILED;
	}
	return code;
}
