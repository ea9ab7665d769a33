// SPDX-License-Identifier: Apache-2.0
/*
 * What a sealed disk hangs on: would its machine measure the same at its next start, with the
 * QEMU and the image that lie on disk now? Nothing here is mended by starting, deploying or
 * recording anything: a fix brings back what was there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/check/checks-vmm.h"
#include "host/image/image-record.h"
#include "host/kms/kms.h"
#include "host/vmm/vmdir.h"

static const struct outcome disks_outcomes[] = {
	{ "same", CHECK_OK },
	{ "other-qemu", CHECK_FAIL, "the QEMU on disk would not open the disk of %s",
	  "leave it running; put the former version of the package back (snapshot.debian.org has "
	  "it) and keep it: sudo apt-mark hold qemu-system-x86" },
	{ "other-image", CHECK_FAIL, "the guest image on disk would not open the disk of %s",
	  "leave it running; put the image's former files back (sudo dstack-host check image)" },
	{ "no-record", CHECK_SKIP,
	  "what is sealed and not on record cannot be compared: %s; while one runs as it was started: "
	  "sudo dstack-host measure --vm ID --record" },
	{ "late", CHECK_SKIP, "no time was left to read QEMU for %s; a longer --timeout gives it" },
	{ "none", CHECK_SKIP, "no sealed machine is on record" },
	{ 0 },
};

static const char *outcome_of(enum baseline_verdict verdict)
{
	static const char *const names[] = {
		[BASELINE_SAME] = "same",
		[BASELINE_OTHER_QEMU] = "other-qemu",
		[BASELINE_OTHER_IMAGE] = "other-image",
		[BASELINE_UNKNOWN] = SKIP_UNKNOWN,
		[BASELINE_LATE] = "late",
	};

	return names[verdict];
}

static const char *name_of(const struct baseline *b)
{
	return b->name ? b->name : b->id;
}

/* Those that end like that, by name and with the reason; the caller's. NULL: there is none. */
static char *list(const struct check_view *v, enum baseline_verdict verdict)
{
	struct strbuf out = { 0 };

	for (size_t i = 0; i < v->n_baselines; i++) {
		const struct baseline *b = &v->baselines[i];

		if (b->verdict != verdict)
			continue;
		if (out.len)
			sb_add(&out, "; ");
		sb_add(&out, name_of(b));
		if (b->text)
			sb_addf(&out, ": %.300s", b->text);
	}
	return out.len ? sb_steal(&out) : NULL;
}

static void tell_found(const struct check_view *v, struct verdict *r)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };

	for (size_t i = 0; i < v->n_baselines; i++) {
		const struct baseline *b = &v->baselines[i];

		sb_addf(&out, "%s%s %s", i ? "; " : "", name_of(b), outcome_of(b->verdict));
		if (b->was && b->now && strcmp(b->was, b->now) != 0)
			sb_addf(&out, ", QEMU %.60s instead of %.60s", b->now, b->was);
		else if (b->now)
			sb_addf(&out, ", QEMU %.60s", b->now);
	}
	if (out.len)
		verdict_found(r, "%s", out.data);
}

static int has_record(const struct check_view *v, const char *id)
{
	for (size_t i = 0; i < v->n_baselines; i++)
		if (strcmp(v->baselines[i].id, id) == 0)
			return 1;
	return 0;
}

/* Sealed machines of which nothing is on record: the KMS, and those that say so. */
static int lacks_records(const struct check_view *v, struct verdict *r)
{
	_cleanup_(kms_record_free) struct kms_record kms = { 0 };
	_cleanup_free_ char *dir = vmm_dir(v->parts.root, v->parts.settings);
	_cleanup_strbuf_ struct strbuf names = { 0 };
	char **ids;
	size_t n;

	if (kms_record_load(v->parts.root, &kms) == 0 && *kms.vm_id && !has_record(v, kms.vm_id))
		sb_add(&names, kms.name);
	/* Where nobody can look, it is the KMS alone. */
	if (vmdir_sealed(v->parts.root, dir, &ids, &n) < 0)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		if (!has_record(v, ids[i]) && (!kms.vm_id || strcmp(ids[i], kms.vm_id) != 0))
			sb_addf(&names, "%s%.60s", names.len ? ", " : "", ids[i]);
		free(ids[i]);
	}
	free(ids);
	if (names.len)
		verdict_subject(r, "%.300s", names.data);
	return names.len != 0;
}

/* Is it the image that image.files finds changed? That is the finding of image.files alone. */
static int is_found_elsewhere(const struct check_view *v)
{
	_cleanup_free_ char *dir = image_directory(v->parts.settings);
	struct verdict files = { 0 };
	const char *outcome;

	for (size_t i = 0; i < v->n_baselines; i++)
		if (v->baselines[i].verdict == BASELINE_OTHER_IMAGE &&
		    (!v->baselines[i].image || strcmp(v->baselines[i].image, dir) != 0))
			return 0;
	outcome = eval_image_files(v, &files);
	verdicts_free(&files, 1);
	return strcmp(outcome, "differs") == 0;
}

static const char *eval_disks(const struct check_view *v, struct verdict *r)
{
	/* What is worst comes first. */
	static const enum baseline_verdict order[] = { BASELINE_OTHER_QEMU, BASELINE_OTHER_IMAGE,
						       BASELINE_UNKNOWN, BASELINE_LATE };

	if (v->baselines_error < 0) {
		verdict_subject(r, BASELINES ": %s", strerror(-v->baselines_error));
		return SKIP_UNKNOWN;
	}
	tell_found(v, r);
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		_cleanup_free_ char *names = list(v, order[i]);

		if (!names)
			continue;
		if (order[i] == BASELINE_OTHER_IMAGE && is_found_elsewhere(v)) {
			verdict_subject(r, "image.files");
			return SKIP_NEEDS;
		}
		verdict_subject(r, "%s", names);
		return outcome_of(order[i]);
	}
	if (lacks_records(v, r))
		return "no-record";
	return v->n_baselines ? "same" : "none";
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "measure.disks", .title = "sealed disks would open after the next restart",
	  .flags = CHECK_ROOT | CHECK_LIVE | CHECK_BASELINES, .outcomes = disks_outcomes,
	  .eval = eval_disks },
};
/* clang-format on */

const struct check_group group_measure = { "measure", checks, ARRAY_SIZE(checks) };
