// SPDX-License-Identifier: Apache-2.0
/* Judges of what lies on this machine: settings, devices, rendered files, programs, image. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/vmm/adopt.h"
#include "host/devices.h"
#include "host/peer/foreign.h"
#include "host/part/parts.h"
#include "host/render/render.h"
#include "host/vmm/vmm-version.h"
#include "host/sha256.h"

enum part_state judge_settings(const struct part_view *v, struct finding *f)
{
	const struct settings *s = v->settings;

	if (v->settings_hidden)
		return finding_set(f, PART_UNKNOWN, "needs root to be read");
	if (!s->configured) {
		finding_fix(f, "sudo dstack-host config set DOMAIN=…");
		return finding_set(f, PART_WAITING, "for the first setting");
	}
	if (s->diag.n) {
		const char *key = s->diag.items[0].key;

		if (key && key_find(key) >= 0)
			finding_fix(f, "sudo dstack-host config set %s=…", key);
		else
			finding_fix(f, "sudo dstack-host config validate");
		return finding_set(f, PART_FAILED, "%zu %s, see below", s->diag.n,
				   s->diag.n == 1 ? "problem" : "problems");
	}
	if (!setting_is_set(s, KEY_DOMAIN)) {
		finding_fix(f, "sudo dstack-host config set DOMAIN=…");
		return finding_set(f, PART_WAITING, "for DOMAIN");
	}
	return finding_set(f, PART_OK, "%s", setting(s, KEY_DOMAIN));
}

static enum part_state judge_rows(const struct device_row *bad, struct finding *f,
				  const char *good)
{
	if (!bad)
		return finding_set(f, PART_OK, "%s", good);
	/* A device that is not there is nothing that a program can mend. */
	finding_fix(f, bad->kind == DEVICE_NODE && bad->state == DEVICE_ABSENT ?
			       "dstack-host devices" :
			       "sudo dstack-host devices --fix");
	return finding_set(f, PART_FAILED, "%s: %s", bad->name,
			   bad->cause ? bad->cause : bad->found);
}

enum part_state judge_devices(const struct part_view *v, struct finding *f)
{
	_cleanup_device_report_ struct device_report report = { 0 };

	devices_check(v->root, &report);
	return judge_rows(devices_bad(&report, DEVICE_NODE), f, "enclave, provision, vepc");
}

enum part_state judge_groups(const struct part_view *v, struct finding *f)
{
	_cleanup_device_report_ struct device_report report = { 0 };
	const struct device_row *bad;

	devices_check(v->root, &report);
	bad = devices_bad(&report, DEVICE_GROUP);
	if (!bad)
		bad = devices_bad(&report, DEVICE_MEMBER);
	return judge_rows(bad, f, "system groups");
}

/* Is the file what it would be made now? 1, 0, or -errno when it cannot be told or made. */
static int is_current(const struct render_ctx *ctx, const struct render_result *res)
{
	int r;

	if (res->outcome == RENDER_INVALID)
		return 1;
	if (res->outcome == RENDER_FAILED)
		return res->error;
	r = render_is_current(ctx, res);
	/* What cannot be read for another reason than privilege is not the file we made. */
	return r < 0 && r != -EACCES && r != -EPERM ? 0 : r;
}

enum part_state judge_files(const struct part_view *v, struct finding *f)
{
	struct render_ctx rc = { v->root, v->settings, 1 };
	struct render_result *results;
	const char *stale = NULL;
	size_t n, n_files = 0;
	int error = 0;

	if (v->settings_hidden)
		return finding_set(f, PART_UNKNOWN, "needs root to be compared");
	if (!v->settings->configured)
		return f->state = PART_SILENT;
	render_plan(&rc, NULL, &results, &n);
	for (size_t i = 0; i < n; i++) {
		int r = is_current(&rc, &results[i]);

		n_files += results[i].text != NULL;
		if (r < 0)
			error = r;
		else if (!r && !stale)
			stale = results[i].target->path;
	}
	render_results_free(results, n);
	if (error == -EACCES || error == -EPERM)
		return finding_set(f, PART_UNKNOWN, "needs root to be compared");
	finding_fix(f, "sudo systemctl start dstack-host-start");
	if (error < 0)
		return finding_set(f, PART_FAILED, "cannot be made: %s", strerror(-error));
	if (stale)
		return finding_set(f, PART_WAITING, "for the settings to be applied (%s)", stale);
	free(f->fix);
	f->fix = NULL;
	return finding_set(f, PART_OK, "%zu, up to date", n_files);
}

static int is_program(const struct root *root, const char *path)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH, 0);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0100);
}

enum part_state judge_programs(const struct part_view *v, struct finding *f)
{
	static const char *const names[] = { "supervisor", "dstack-vmm" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = xasprintf(PROGRAMS_CURRENT "/%s", names[i]);

		if (is_program(v->root, path))
			continue;
		if (adopt_possible(v->root))
			finding_fix(f, "sudo dstack-host up");
		else
			finding_fix(f, "sudo install -D -t " PROGRAMS_DIR "/VERSION dstack-vmm "
				       "supervisor && sudo ln -sfn VERSION " PROGRAMS_CURRENT);
		return finding_set(f, PART_WAITING, "for %s", path);
	}
	return finding_set(f, PART_OK, PROGRAMS_CURRENT);
}

/* Files that an image cannot boot without, as metadata.json names them. */
static const char *image_lacks(const struct root *root, const char *dir,
			       const struct foreign_file *metadata)
{
	static const char *const members[] = { "bios", "kernel", "initrd", "rootfs" };

	if (metadata->error)
		return "metadata.json (no JSON)";
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *name = peer_get(&metadata->answer, members[i]);
		_cleanup_free_ char *path = NULL;

		if (!name || strchr(name, '/'))
			return members[i];
		path = xasprintf("%s/%s", dir, name);
		if (!root_exists(root, path))
			return members[i];
	}
	return peer_get(&metadata->answer, "cmdline") ? NULL : "cmdline";
}

/* The KMS refuses an image without digest.txt, which is the SHA-256 of sha256sum.txt. */
static int digest_is_right(const struct root *root, const char *dir)
{
	_cleanup_free_ char *sums_path = xasprintf("%s/sha256sum.txt", dir);
	_cleanup_free_ char *digest_path = xasprintf("%s/digest.txt", dir);
	_cleanup_free_ char *sums = NULL, *digest = NULL;
	char hex[SHA256_HEX + 1];
	size_t len;

	if (file_read(root, sums_path, 1 << 20, &sums, &len) < 0 ||
	    file_read(root, digest_path, 4096, &digest, NULL) < 0)
		return 0;
	sha256_hex(sums, len, hex);
	return strncmp(digest, hex, SHA256_HEX) == 0;
}

static enum part_state judge_contents(const struct part_view *v, const char *dir,
				      const struct foreign_file *metadata, struct finding *f)
{
	const char *version = setting(v->settings, KEY_IMAGE_VERSION);
	const char *lacks = image_lacks(v->root, dir, metadata);

	if (!lacks && !digest_is_right(v->root, dir))
		lacks = "digest.txt, equal to the SHA-256 of sha256sum.txt";
	if (lacks)
		return finding_set(f, PART_FAILED, "dstack-%s lacks %s", version, lacks);
	free(f->fix);
	f->fix = NULL;
	return finding_set(f, PART_OK, "dstack-%s", version);
}

/* What its unit says while it fetches, NULL when it does not. */
static const char *fetching(const struct part_view *v)
{
	int i = part_find("image");
	const struct unit_state *u = v->unit && v->units_error == 0 ? &v->unit[i] : NULL;

	if (!u || !u->active || strcmp(u->active, "activating") != 0 || !u->main_pid)
		return NULL;
	return u->status && *u->status ? u->status : "it is being fetched";
}

enum part_state judge_image(const struct part_view *v, struct finding *f)
{
	const char *images = setting(v->settings, KEY_IMAGE_DIR);
	const char *version = setting(v->settings, KEY_IMAGE_VERSION);
	_cleanup_free_ char *dir = xasprintf("%s/dstack-%s", images, version);
	struct foreign_file metadata = {
		.path = xasprintf("%s/metadata.json", dir),
		.digest = foreign_digest_image,
	};
	int r = foreign_read(v->root, &metadata, 1);

	if (r == 0 && metadata.error != -EBADMSG)
		r = metadata.error;
	if (r != -ENOENT || !fetching(v))
		finding_fix(f, r == -ENOENT ? "sudo dstack-host image pull" :
					      "sudo dstack-host image pull --replace");
	if (r == -ENOENT && fetching(v))
		finding_set(f, PART_WAITING, "%s", fetching(v));
	else if (r == -ENOENT)
		finding_set(f, PART_WAITING, "for %s", dir);
	else if (r < 0)
		finding_set(f, PART_UNKNOWN, "%s: %s", metadata.path, strerror(-r));
	else
		judge_contents(v, dir, &metadata, f);
	foreign_free(&metadata, 1);
	return f->state;
}
