// SPDX-License-Identifier: Apache-2.0
/*
 * From settings to the files that daemons read. One table of targets; rendering looks,
 * compares and writes only what differs. Everything is below /run/dstack, so nothing can be
 * stale after a reboot and purge has nothing to clean.
 */
#pragma once

#include "base/root.h"
#include "base/strbuf.h"
#include "host/conf/settings.h"

/* The operator's file where there is one, else a link to the rendered one. */
#define OPERATOR_TOML "/etc/dstack/vmm.toml"
#define RENDERED_TOML "/run/dstack/vmm/vmm.toml"

struct render_ctx {
	const struct root *root;
	const struct settings *settings;
	int look_only; /* nothing may be made for it, certificates neither */
};

/* What a builder says. */
enum build {
	BUILD_OK = 0,
	BUILD_OFF = 1,	 /* switched off by a setting: the file is removed */
	BUILD_WAITS = 2, /* something is not set yet (*why names it): the file is removed */
};

struct target {
	const char *name;      /* what `render NAME` takes; several files may share it */
	const char *path;      /* below /run/dstack */
	const char *dir_group; /* reader's group for directory and file, NULL: root alone */
	mode_t dir_mode, file_mode;
	enum component component;
	/* Fills `out`, or names in *why what is missing ("DOMAIN"; static text).
	 * enum build or -errno. */
	int (*build)(const struct render_ctx *ctx, struct strbuf *out, const char **why);
};

/* All targets, in order; the last has no name. */
extern const struct target targets[];

enum render_outcome {
	RENDER_UNCHANGED,
	RENDER_WRITTEN,
	RENDER_REMOVED,
	RENDER_OFF,
	RENDER_WAITS,	/* why[] says for what */
	RENDER_INVALID, /* kept as it was, settings->diag says why */
	RENDER_FAILED,	/* error is set */
};

struct render_result {
	const struct target *target;
	enum render_outcome outcome;
	const char *why;
	int error; /* -errno */
	char *text; /* what it should be, NULL when there should be no file */
	size_t len;
};

/* Evaluates every target whose name is `only` (NULL: all); nothing is written.
 * *ret is an array of *ret_n, to be freed with render_results_free(). */
void render_plan(const struct render_ctx *ctx, const char *only,
		 struct render_result **ret, size_t *ret_n);
/* Is the file already what was planned? 1, 0, or -errno when it cannot be read. */
int render_is_current(const struct render_ctx *ctx, const struct render_result *result)
	_must_check_;
/* Writes one planned result; sets its outcome. */
void render_apply(const struct render_ctx *ctx, struct render_result *result);
/* /etc/dstack/vmm.toml, the name the field knows: a link to the rendered file unless the
 * operator has put something there, which then wins and is not touched. 0 or -errno. */
int render_link(const struct root *root) _must_check_;
void render_results_free(struct render_result *results, size_t n);

/* Builders, one file per component. */
int build_vmm_toml(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_pccs_json(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_pccs_key(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_pccs_cert(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_qcnl(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_registry(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_key_provider(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_front(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_front_cert(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_front_tokens(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_guard(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_kms_compose(const struct render_ctx *ctx, struct strbuf *out, const char **why);
int build_kms_app_compose(const struct render_ctx *ctx, struct strbuf *out,
			  const char **why);
int build_kms_env(const struct render_ctx *ctx, struct strbuf *out, const char **why);
