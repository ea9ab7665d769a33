// SPDX-License-Identifier: Apache-2.0
/* Checks of the key provider, by what Docker says of its containers. */
#include "check-cases.h"

#define CASE(name)                                                                       \
	static void name(struct host *h _unused_, struct check_view *v _unused_,         \
			 const struct fixture *f _unused_)
#define MOUNT "/etc/sgx_default_qcnl.conf bind "

/* --- journals --- */

static void containers_said(struct check_view *v, const char *text)
{
	journal_tail_add(&v->journal[CHECK_JOURNAL_AESM], v->parts.now_us - 1000000, text,
			 strlen(text));
}

CASE(aesm_error) { containers_said(v, "error: AESM service returned error 31"); }
CASE(aesm_error_before)
{
	unit(h, "aesmd")->main_us = v->parts.now_us;
	aesm_error(h, v, f);
}

/* --- images --- */

CASE(other_aesmd) { container(h, PROBE_AESMD_INSPECT, "elsewhere/a", "always", "0"); }
CASE(other_provider) { container(h, PROBE_SEALING_INSPECT, "k:latest", "always", "0"); }
CASE(by_tag)
{
	set_text(&h->settings.v[KEY_KEY_PROVIDER_IMAGE].value, "k:latest");
	other_provider(h, v, f);
}
CASE(by_tag_in_a_rehearsal)
{
	v->simulated = 1;
	by_tag(h, v, f);
}
CASE(no_container) { answer(h, PROBE_AESMD_INSPECT, 404); }

/* --- restart --- */

CASE(policy_no) { container(h, PROBE_AESMD_INSPECT, "a", "no", "0"); }
CASE(policy_none) { container(h, PROBE_AESMD_INSPECT, "a", NULL, "0"); }
CASE(often) { container(h, PROBE_SEALING_INSPECT, IMAGE_REF, "unless-stopped", "5"); }
CASE(sometimes) { container(h, PROBE_SEALING_INSPECT, IMAGE_REF, "unless-stopped", "4"); }

/* --- QCNL file --- */

static void mounts(struct host *h, const char *mount)
{
	container(h, PROBE_AESMD_INSPECT, "a", "always", "0");
	fact(h, PROBE_AESMD_INSPECT, "mount", "/var/run/aesmd volume /var/lib/docker/x");
	if (mount)
		fact(h, PROBE_AESMD_INSPECT, "mount", mount);
}

CASE(not_mounted) { mounts(h, NULL); }
CASE(mounts_another) { mounts(h, MOUNT "/etc/sgx_default_qcnl.conf"); }
CASE(mounts_a_directory) { put_text(f, QCNL_PATH "/x", ""); }

static void put_mountinfo(const struct fixture *f, const char *source)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "21 20 0:20 / / rw - overlay overlay rw\n"
		 "99 21 0:25 %s /etc/sgx_default_qcnl.conf ro - tmpfs tmpfs rw\n", source);
	put_text(f, "/proc/4242/mountinfo", text);
}

CASE(mounts_what_is_there) { put_mountinfo(f, "/dstack/qcnl/sgx_default_qcnl.conf"); }
CASE(mounts_what_was) { put_mountinfo(f, "/dstack/qcnl/sgx_default_qcnl.conf//deleted"); }

/* --- measurement --- */

CASE(another_sealed) { put_text(f, "/var/lib/dstack/kms/key-provider", "sha256:22\n"); }
CASE(empty_record) { put_text(f, "/var/lib/dstack/kms/key-provider", ""); }
CASE(nothing_recorded)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/var/lib/dstack/kms/key-provider", f->dir);
	assert_int_equal(unlink(path), 0);
}

static const struct check_case cases[] = {
	{ "aesmd.errors", "quiet" },
	{ "aesmd.errors", "error", aesm_error },
	{ "aesmd.errors", "before", aesm_error_before },
	{ "sealing", SKIP_NEEDS, aesm_error },
	{ "sealing", "ok", aesm_error_before },
	{ "key-provider.images", "as-set" },
	{ "key-provider.images", "by-tag", by_tag },
	{ "key-provider.images", "as-set", by_tag_in_a_rehearsal },
	{ "key-provider.images", "other", other_aesmd },
	{ "key-provider.images", "other", other_provider },
	{ "key-provider.images", SKIP_UNKNOWN, no_container },
	{ "key-provider.restart", "restarts" },
	{ "key-provider.restart", "restarts", sometimes },
	{ "key-provider.restart", "never", policy_no },
	{ "key-provider.restart", "never", policy_none },
	{ "key-provider.restart", "often", often },
	{ "key-provider.qcnl", "mounted" },
	{ "key-provider.qcnl", "mounted", mounts_what_is_there },
	{ "key-provider.qcnl", "absent", not_mounted },
	{ "key-provider.qcnl", "other", mounts_another },
	{ "key-provider.qcnl", "directory", mounts_a_directory },
	{ "key-provider.qcnl", "stale", mounts_what_was },
	{ "key-provider.measurement", "recorded" },
	{ "key-provider.measurement", "changed", another_sealed },
	{ "key-provider.measurement", SKIP_UNKNOWN, nothing_recorded },
	{ "key-provider.measurement", SKIP_UNKNOWN, empty_record },
};

CHECK_CASES_MAIN(group_key_provider, cases)
