// SPDX-License-Identifier: Apache-2.0
/* dstack-host measure --compare A B: QEMUs, images, sizes or saved results. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/parse.h"
#include "cmd/cmd-measure.h"
#include "host/json.h"
#include "host/measure/measure-print.h"

enum kind { KIND_QEMU, KIND_IMAGE, KIND_SIZE, KIND_SAVED };

struct side {
	enum kind kind;
	const char *word;
	char *path;
	unsigned vcpu;
	uint64_t memory_mb;
	/* What is measured for it. */
	struct measure_target *targets;
	size_t n;
	struct measure_result result;
	char *what;
};

/* "4x8192" */
static int is_size(const char *word, struct side *side)
{
	const char *x = strchr(word, 'x');
	_cleanup_free_ char *vcpu = x ? xstrndup(word, (size_t)(x - word)) : NULL;
	uint64_t value;

	if (!x || parse_uint(vcpu, 1, 4096, &value) ||
	    parse_uint(x + 1, 64, UINT64_C(1) << 32, &side->memory_mb))
		return 0;
	side->vcpu = (unsigned)value;
	return 1;
}

static int classify(const struct cmd_ctx *ctx, const char *word, struct side *side)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	side->word = word;
	if (is_size(word, side)) {
		side->kind = KIND_SIZE;
		return EXIT_FINE;
	}
	side->kind = KIND_QEMU;
	if (strcmp(word, "installed") == 0)
		return EXIT_FINE;
	side->path = measure_path(ctx, word);
	if (measure_is_package(word))
		return EXIT_FINE;
	fd = root_openat(&ctx->root, side->path, O_PATH | O_CLOEXEC, 0);
	side->kind = KIND_IMAGE;
	if (fd < 0 && strchr(word, '/'))
		return cmd_failed(fd, "compare with %s", word);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		side->kind = st.st_mode & 0111 ? KIND_QEMU : KIND_SAVED;
	return EXIT_FINE;
}

static int prepare(const struct cmd_ctx *ctx, const struct measure_args *base, struct side *side)
{
	struct measure_args a = *base;
	_cleanup_free_ char *trouble = NULL;

	if (side->kind == KIND_SAVED) {
		side->what = xasprintf("%s (saved)", side->word);
		if (measure_load(&ctx->root, side->path, &side->result, &trouble) == 0)
			return EXIT_FINE;
		log_error("%s", trouble);
		return EXIT_FAILED;
	}
	if (side->kind == KIND_QEMU && side->path)
		a.qemu = side->path;
	if (side->kind == KIND_SIZE) {
		a.vcpu = side->vcpu;
		a.memory_mb = side->memory_mb;
	}
	if (side->kind == KIND_IMAGE && !a.vm)
		a.image = side->word;
	if (!a.vm && (!a.image || !a.vcpu || !a.memory_mb))
		return cmd_usage_error(&cmd_measure, "--compare %s: of which machine? --vm ID, or "
				       "--image NAME --vcpu N --memory MIB", side->word);
	if (a.vm && side->kind == KIND_SIZE)
		return cmd_usage_error(&cmd_measure, "--compare %s: a size goes with --image",
				       side->word);
	return measure_targets(ctx, &a, &side->targets, &side->n);
}

/* Another image under the machine's own command line. */
static int replace_image(const struct cmd_ctx *ctx, const struct measure_args *a,
			 struct side *side)
{
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_free_ char *dir = NULL, *trouble = NULL;
	int r;

	if (side->kind != KIND_IMAGE || !a->vm)
		return EXIT_FINE;
	r = settings_load(&ctx->root, &s);
	if (r < 0)
		return cmd_failed(r, "read the settings");
	dir = config_image_dir(strchr(side->word, '/') ? side->path : side->word,
			       setting(&s, KEY_IMAGE_DIR));
	if (config_set_image(&ctx->root, dir, &side->targets[0].config, &trouble) == 0)
		return EXIT_FINE;
	log_error("%s", trouble);
	return EXIT_FAILED;
}

static int measure_sides(const struct cmd_ctx *ctx, const struct measure_args *a,
			 struct side *sides)
{
	struct measure_run runs[2] = { 0 };
	struct side *of[2];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < 2; i++) {
		if (!sides[i].n)
			continue;
		of[n] = &sides[i];
		runs[n++] = (struct measure_run){
			.config = &sides[i].targets[0].config,
			.qemu = a->without_qemu ? NULL : &sides[i].targets[0].qemu,
		};
	}
	r = n ? measure_run(ctx, a, runs, n) : EXIT_FINE;
	for (size_t i = 0; i < n; i++) {
		const struct measure_run *run = &runs[i];

		of[i]->result = run->result;
		of[i]->what = of[i]->kind == KIND_QEMU && run->qemu ?
				      xasprintf("%s, QEMU %s (%s)", run->config->what,
						run->result.version ? run->result.version : "",
						of[i]->targets[0].qemu.path) :
				      xasprintf("%s: %s", run->config->what, of[i]->word);
	}
	return r;
}

static int tell(const struct measure_args *a, const struct side *sides)
{
	static const char *const nouns[] = {
		[KIND_QEMU] = "this QEMU", [KIND_IMAGE] = "this image",
		[KIND_SIZE] = "this size", [KIND_SAVED] = "B",
	};
	const struct measure_side x = { sides[0].what, "A", &sides[0].result };
	const struct measure_side y = { sides[1].what, nouns[sides[1].kind], &sides[1].result };
	_cleanup_strbuf_ struct strbuf out = { 0 };

	if (!x.result->td != !y.result->td) {
		log_error("%s was read from a paused TD and the other was not: their tables cannot be "
			  "compared", x.result->td ? "A" : "B");
		return EXIT_FAILED;
	}
	if (a->json)
		json_write(&out, measure_compared_json(&x, &y));
	else
		measure_print_compared(&out, &x, &y, a->vm);
	fputs(out.data, stdout);
	return measure_same(x.result, y.result) ? EXIT_FINE : EXIT_FAILED;
}

int measure_compare(const struct cmd_ctx *ctx, const struct measure_args *a,
		    const char *const words[2])
{
	struct side sides[2] = { 0 };
	int r = EXIT_FINE;

	for (size_t i = 0; r == EXIT_FINE && i < 2; i++) {
		r = classify(ctx, words[i], &sides[i]);
		if (r == EXIT_FINE)
			r = prepare(ctx, a, &sides[i]);
		if (r == EXIT_FINE)
			r = replace_image(ctx, a, &sides[i]);
	}
	if (r == EXIT_FINE)
		r = measure_sides(ctx, a, sides);
	if (r == EXIT_FINE)
		r = tell(a, sides);
	for (size_t i = 0; i < 2; i++) {
		measure_targets_free(sides[i].targets, sides[i].n);
		measure_result_free(&sides[i].result);
		free(sides[i].path);
		free(sides[i].what);
	}
	return r;
}
