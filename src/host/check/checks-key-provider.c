// SPDX-License-Identifier: Apache-2.0
/* Checks of the key provider and its containers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/check/checks-attestation.h"
#include "host/check/key-provider-gate.h"
#include "host/check/qcnl-file.h"
#include "host/probe/key-provider.h"

/* See key_provider_gate(). */
#define RESTART "sudo systemctl restart " KEY_PROVIDER_UNIT

enum { MANY_RESTARTS = 5, MOUNTINFO_MAX = 1 << 20 };

static const struct {
	enum probe_id probe;
	enum key_id image;
	const char *name;
} containers[] = {
	{ PROBE_AESMD_INSPECT, KEY_AESMD_IMAGE, CONTAINER_AESMD },
	{ PROBE_SEALING_INSPECT, KEY_KEY_PROVIDER_IMAGE, CONTAINER_KEY_PROVIDER },
};

static const char *not_seen(const struct check_view *v, enum probe_id id, struct verdict *r)
{
	_cleanup_free_ char *trouble = NULL;

	if (probe_answered(&v->parts.probe[id], 200, &trouble))
		return NULL;
	verdict_subject(r, "%s", trouble);
	return SKIP_UNKNOWN;
}

/* --- images --- */

static const struct outcome images_outcomes[] = {
	{ "as-set", CHECK_OK },
	{ "by-tag", CHECK_WARN, "KEY_PROVIDER_IMAGE names an image by tag: what is behind it may "
	  "change, and another key provider opens no disk",
	  "sudo docker image inspect --format '{{index .RepoDigests 0}}' %s" },
	{ "other", CHECK_FAIL, "the container %s runs another image than is set",
	  "sudo docker ps; sudo dstack-host config list" },
	{ 0 },
};

/* The last one is the one that sealed keys depend on. */
static const char *eval_images(const struct check_view *v, struct verdict *r)
{
	const char *want = "";

	for (size_t i = 0; i < ARRAY_SIZE(containers); i++) {
		const char *skip = not_seen(v, containers[i].probe, r);
		const char *image = peer_get(&v->parts.probe[containers[i].probe].answer, "image");

		if (skip)
			return skip;
		want = setting(v->parts.settings, containers[i].image);
		verdict_found(r, "%s", image ? image : "no image");
		verdict_expected(r, "%s", want);
		verdict_subject(r, "%s", containers[i].name);
		if (!image || strcmp(image, want) != 0)
			return "other";
	}
	verdict_subject(r, "%s", want);
	return strstr(want, "@sha256:") || v->simulated ? "as-set" : "by-tag";
}

/* --- restart --- */

static const struct outcome restart_outcomes[] = {
	{ "restarts", CHECK_OK },
	{ "never", CHECK_WARN, "Docker does not start the container %s again when it ends",
	  "sudo docker update --restart=always %s" },
	{ "often", CHECK_WARN, "the container %s has been started again and again",
	  "sudo docker logs --tail 50 %s" },
	{ 0 },
};

static const char *eval_restart(const struct check_view *v, struct verdict *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(containers); i++) {
		const struct peer_answer *a = &v->parts.probe[containers[i].probe].answer;
		const char *skip = not_seen(v, containers[i].probe, r);
		const char *policy = peer_get(a, "restart"), *count = peer_get(a, "restarts");

		if (skip)
			return skip;
		verdict_subject(r, "%s", containers[i].name);
		verdict_found(r, "restart policy %s", policy ? policy : "none");
		if (!policy ||
		    (strcmp(policy, "always") != 0 && strcmp(policy, "unless-stopped") != 0))
			return "never";
		if (count && strtol(count, NULL, 10) >= MANY_RESTARTS) {
			verdict_found(r, "%s restarts", count);
			return "often";
		}
	}
	return "restarts";
}

/* --- aesmd's QCNL file --- */

#define INSIDE "/etc/sgx_default_qcnl.conf"

static const struct outcome qcnl_outcomes[] = {
	{ "mounted", CHECK_OK },
	{ "absent", CHECK_FAIL, "the aesmd container has no QCNL file of this host, so it asks the "
	  "address in its image", RESTART },
	{ "other", CHECK_FAIL, "aesmd has another QCNL file than this host's: %s", RESTART },
	{ "directory", CHECK_FAIL, "%s is a directory: Docker made it when the file was not there",
	  "sudo systemctl stop " KEY_PROVIDER_UNIT "; sudo rmdir " QCNL_RENDERED "; "
	  "sudo systemctl start " KEY_PROVIDER_UNIT },
	{ "stale", CHECK_FAIL, "aesmd still has the QCNL file that was replaced since it was "
	  "started", RESTART },
	{ 0 },
};

/* Where the mount comes from: the facts "mount" = "TO TYPE FROM". */
static const char *source_of(const struct peer_answer *a)
{
	size_t len = strlen(INSIDE);

	for (size_t i = 0; i < a->n_facts; i++) {
		const char *at = a->facts[i].value;

		if (strcmp(a->facts[i].key, "mount") != 0 || strncmp(at, INSIDE " ", len + 1) != 0)
			continue;
		at = strchr(at + len + 1, ' ');
		return at ? at + 1 : NULL;
	}
	return NULL;
}

static int is_directory(const struct root *root, const char *path)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

	return fd >= 0;
}

/* A mounted file is an inode: who replaces the file leaves the container with the old one,
 * which its mount table then calls deleted ("... /dir/file//deleted /etc/file ..."). */
static int is_stale(const struct root *root, const char *pid)
{
	_cleanup_free_ char *path = pid ? xasprintf("/proc/%s/mountinfo", pid) : NULL;
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (!pid || strspn(pid, "0123456789") != strlen(pid) ||
	    file_read(root, path, MOUNTINFO_MAX, &text, NULL) < 0)
		return 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (strstr(line, "//deleted " INSIDE " "))
			return 1;
	return 0;
}

static const char *eval_qcnl(const struct check_view *v, struct verdict *r)
{
	const struct peer_answer *a = &v->parts.probe[PROBE_AESMD_INSPECT].answer;
	const char *skip = not_seen(v, PROBE_AESMD_INSPECT, r), *source = source_of(a);

	if (skip)
		return skip;
	if (!source)
		return "absent";
	verdict_found(r, "%s", source);
	verdict_subject(r, "%s", source);
	if (is_directory(v->parts.root, source))
		return "directory";
	if (strcmp(source, QCNL_RENDERED) != 0) {
		verdict_expected(r, "%s", QCNL_RENDERED);
		return "other";
	}
	return is_stale(v->parts.root, peer_get(a, "pid")) ? "stale" : "mounted";
}

/* --- what sealed keys depend on --- */

static const struct outcome measurement_outcomes[] = {
	{ "recorded", CHECK_OK },
	{ "changed", CHECK_FAIL, "the key provider is another than when disks were sealed: it will "
	  "not open them", "do not restart any CVM; bring back the recorded image: sudo docker "
	  "image ls --no-trunc" },
	{ 0 },
};

static const char *eval_measurement(const struct check_view *v, struct verdict *r)
{
	const char *skip = not_seen(v, PROBE_SEALING_INSPECT, r);
	const char *id = peer_get(&v->parts.probe[PROBE_SEALING_INSPECT].answer, "id");
	_cleanup_free_ char *recorded = NULL;
	int error;

	if (skip)
		return skip;
	error = key_provider_recorded(v->parts.root, &recorded);
	if (error == -EACCES || error == -EPERM)
		return SKIP_PRIVILEGE;
	if (error < 0 || !id) {
		verdict_subject(r, "%s", error == -ENOENT ? "not recorded yet" :
					 error < 0	  ? strerror(-error) :
							    "Docker names no image");
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "%s", id);
	verdict_expected(r, "%s", recorded);
	return strcmp(id, recorded) == 0 ? "recorded" : "changed";
}

#define BOTH PROBE(PROBE_AESMD_INSPECT) | PROBE(PROBE_SEALING_INSPECT)

/* clang-format off */
static const struct check checks[] = {
	{ .id = "docker" },
	{ .id = "aesmd", .probes = KEY_PROVIDER_GATE },
	{ .id = "aesmd.errors", .title = "aesmd has logged no known error since its start",
	  .needs = "aesmd", .flags = CHECK_ROOT | CHECK_LIVE | CHECK_JOURNALS,
	  .outcomes = dcap_log_outcomes, .eval = eval_aesm_errors },
	{ .id = "sealing", .needs = "devices docker aesmd aesmd.errors",
	  .probes = KEY_PROVIDER_GATE },
	{ .id = "key-provider", .probes = KEY_PROVIDER_GATE },
	{ .id = "key-provider.images", .title = "the containers run the images that are set",
	  .needs = "aesmd sealing", .probes = BOTH,
	  .outcomes = images_outcomes, .eval = eval_images },
	{ .id = "key-provider.restart", .title = "Docker starts the containers again",
	  .needs = "aesmd sealing", .probes = BOTH,
	  .outcomes = restart_outcomes, .eval = eval_restart },
	{ .id = "key-provider.qcnl", .title = "aesmd asks the PCCS of this host",
	  .needs = "aesmd", .flags = CHECK_ROOT, .probes = PROBE(PROBE_AESMD_INSPECT),
	  .outcomes = qcnl_outcomes, .eval = eval_qcnl },
	{ .id = "key-provider.measurement", .title = "the key provider is the one that sealed",
	  .needs = "sealing", .flags = CHECK_ROOT, .probes = PROBE(PROBE_SEALING_INSPECT),
	  .outcomes = measurement_outcomes, .eval = eval_measurement },
};
/* clang-format on */

const struct check_group group_key_provider = { "key-provider", checks, ARRAY_SIZE(checks) };
