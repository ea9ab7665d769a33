// SPDX-License-Identifier: Apache-2.0
/* The table of rendered files: plan and apply. */
#include "host/render/render.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/conf/secrets.h"
#include "host/accounts.h"

/* clang-format off */
const struct target targets[] = {
	{ "vmm", RENDERED_TOML, "dstack-front", 02750, 0600, FOR_VMM,
	  build_vmm_toml },
	{ "pccs", "/run/dstack/pccs/local.json", "pccs", 0750, 0640, FOR_PCCS,
	  build_pccs_json },
	{ "pccs", "/run/dstack/pccs/ssl_key/private.pem", "pccs", 0750, 0640, FOR_PCCS,
	  build_pccs_key },
	{ "pccs", "/run/dstack/pccs/ssl_key/file.crt", "pccs", 0750, 0644, FOR_PCCS,
	  build_pccs_cert },
	{ "qcnl", "/run/dstack/qcnl/sgx_default_qcnl.conf", NULL, 0755, 0644, FOR_QCNL,
	  build_qcnl },
	{ "key-provider", "/run/dstack/key-provider/docker-compose.yaml", NULL, 0700, 0600,
	  FOR_KEY_PROVIDER, build_key_provider },
	{ "registry", "/run/dstack/registry/config.yml", "docker-registry", 03770, 0640,
	  FOR_REGISTRY, build_registry },
	{ "front", "/run/dstack/front/haproxy.cfg", "dstack-front", 0750, 0640, FOR_FRONT,
	  build_front },
	{ "front", "/run/dstack/front/tokens.map", "dstack-front", 0750, 0640, FOR_FRONT,
	  build_front_tokens },
	{ "front", "/run/dstack/front/registry.pem", "dstack-front", 0750, 0640, FOR_FRONT,
	  build_front_cert },
	{ "guard", "/run/dstack/guard/guard.nft", NULL, 0700, 0600, FOR_GUARD, build_guard },
	{ "kms", "/run/dstack/kms/docker-compose.yaml", NULL, 0700, 0600, FOR_KMS,
	  build_kms_compose },
	{ "kms", "/run/dstack/kms/auth-eth.env", NULL, 0700, 0600, FOR_KMS, build_kms_env },
	{ "kms", "/run/dstack/kms/app-compose.json", NULL, 0700, 0600, FOR_KMS,
	  build_kms_app_compose },
	{ 0 },
};
/* clang-format on */

static void plan_one(const struct render_ctx *ctx, const struct target *t,
		     struct render_result *ret)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int r;

	*ret = (struct render_result){ .target = t };
	if (ctx->settings->bad & t->component) {
		ret->outcome = RENDER_INVALID;
		return;
	}
	r = t->build(ctx, &out, &ret->why);
	if (r < 0) {
		ret->outcome = RENDER_FAILED;
		ret->error = r;
	} else if (r == BUILD_OK) {
		ret->len = out.len;
		ret->text = sb_steal(&out);
	} else {
		ret->outcome = r == BUILD_OFF ? RENDER_OFF : RENDER_WAITS;
	}
}

void render_plan(const struct render_ctx *ctx, const char *only,
		 struct render_result **ret, size_t *ret_n)
{
	struct render_result *results = NULL;
	size_t n = 0;

	for (const struct target *t = targets; t->name; t++) {
		if (only && strcmp(only, t->name) != 0)
			continue;
		results = xrealloc(results, (n + 1) * sizeof(*results));
		plan_one(ctx, t, &results[n++]);
	}
	*ret = results;
	*ret_n = n;
}

/* The group may not exist yet (Intel's package brings its own): then root alone reads. */
static int group_id(const struct root *root, const struct target *t, gid_t *ret)
{
	_cleanup_account_ struct account g = { 0 };
	int r = t->dir_group ? group_lookup(root, t->dir_group, &g) : -ENOENT;

	*ret = r == 0 ? g.gid : 0;
	return r == -ENOENT ? 0 : r;
}

static int set_directory(int fd, gid_t gid, mode_t mode)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (geteuid() == 0 && (st.st_gid != gid || st.st_uid != 0) && fchown(fd, 0, gid) < 0)
		return -errno;
	/* chown clears the setgid bit, so the mode comes second. */
	if (((st.st_mode & 07777) != mode || st.st_gid != gid) && fchmod(fd, mode) < 0)
		return -errno;
	return 0;
}

static int prepare_directory(const struct root *root, const struct target *t, gid_t gid)
{
	_cleanup_free_ char *dir = xstrndup(t->path, (size_t)(strrchr(t->path, '/') - t->path));
	_cleanup_close_ int fd = -1;
	int r;

	r = root_mkdirs(root, "/run/dstack", 0755);
	if (r == 0)
		r = root_mkdirs(root, dir, 0755);
	if (r < 0)
		return r;
	fd = root_openat(root, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return fd < 0 ? fd : set_directory(fd, gid, t->dir_mode);
}

static int put_file(const struct render_ctx *ctx, const struct render_result *result)
{
	const struct target *t = result->target;
	struct file_spec spec = {
		.data = result->text,
		.len = result->len,
		.mode = t->file_mode,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	gid_t gid;
	int r = group_id(ctx->root, t, &gid);

	if (r == 0)
		r = prepare_directory(ctx->root, t, gid);
	/* The socket's directory belongs to the front's group, the file in it to root. */
	if (geteuid() == 0)
		spec.gid = t->file_mode & 070 ? gid : 0;
	return r < 0 ? r : file_replace(ctx->root, t->path, &spec);
}

int render_is_current(const struct render_ctx *ctx, const struct render_result *result)
{
	_cleanup_secret_ char *old = NULL;
	size_t len = 0;
	int r = file_read(ctx->root, result->target->path, 1 << 20, &old, &len);

	if (r < 0 && r != -ENOENT)
		return r;
	if (!result->text)
		return r == -ENOENT;
	return r == 0 && len == result->len && memcmp(old, result->text, len) == 0;
}

void render_apply(const struct render_ctx *ctx, struct render_result *result)
{
	int r;

	if (result->outcome == RENDER_INVALID || result->outcome == RENDER_FAILED)
		return;
	if (result->text) {
		r = put_file(ctx, result);
		result->outcome = r == FILE_UNCHANGED ? RENDER_UNCHANGED : RENDER_WRITTEN;
	} else {
		r = file_remove(ctx->root, result->target->path);
		if (r == 0)
			result->outcome = RENDER_REMOVED;
	}
	if (r < 0) {
		result->outcome = RENDER_FAILED;
		result->error = r;
	}
}

int render_link(const struct root *root)
{
	static const char path[] = OPERATOR_TOML;
	_cleanup_close_ int fd = root_openat(root, path, O_PATH | O_NOFOLLOW, 0);
	int r;

	if (fd != -ENOENT)
		return fd < 0 ? fd : 0;
	r = root_mkdirs(root, "/etc/dstack", 0755);
	if (r == 0)
		r = file_symlink(root, RENDERED_TOML, path);
	return r < 0 ? r : 0;
}

void render_results_free(struct render_result *results, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (results[i].text)
			explicit_bzero(results[i].text, results[i].len);
		free(results[i].text);
	}
	free(results);
}
