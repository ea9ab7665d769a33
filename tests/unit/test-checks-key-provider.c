// SPDX-License-Identifier: Apache-2.0
/* Checks of the key provider, by what Docker says of its containers. */
#include "check-cases.h"

#include "host/check/key-provider-gate.h"

#define CASE(name)                                                                       \
	static void name(struct host *h _unused_, struct check_view *v _unused_,         \
			 const struct fixture *f _unused_)
#define RESTART "sudo systemctl restart " KEY_PROVIDER_UNIT
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

/* --- fixes that would start it --- */

#define RUNNING KEY_PROVIDER_ID
#define OTHER "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define TAG "k:latest"

static void here_is(struct host *h, long status, const char *id)
{
	answer(h, PROBE_SEALING_IMAGE, status);
	if (id)
		fact(h, PROBE_SEALING_IMAGE, "id", id);
}

static void stopped(struct host *h)
{
	answer(h, PROBE_KEY_PROVIDER, 0);
	h->view.probe[PROBE_KEY_PROVIDER].answer.error = PEER_UNREACHABLE;
	set_unit(h, "key-provider", "inactive", "dead");
}

CASE(nothing_sealed)
{
	nothing_recorded(h, v, f);
	assert_int_equal(unlinkat(f->root.fd, &(KMS_CA)[1], 0), 0);
}
CASE(tag_moved)
{
	set_text(&h->settings.v[KEY_KEY_PROVIDER_IMAGE].value, TAG);
	not_mounted(h, v, f);
	here_is(h, 200, OTHER);
}
CASE(digest_moved)
{
	not_mounted(h, v, f);
	here_is(h, 200, OTHER);
}
CASE(tag_moved_unrecorded)
{
	tag_moved(h, v, f);
	nothing_recorded(h, v, f);
	put_text(f, KMS_RECORD, "{}");
}
/* No KMS is needed for a disk to be sealed. */
CASE(tag_moved_under_a_machine)
{
	tag_moved(h, v, f);
	nothing_sealed(h, v, f);
	put_text(f, "/var/lib/dstack/vm/7/shared/app-compose.json",
		 "{\"local_key_provider_enabled\": true}");
}
CASE(tag_moved_and_nothing_sealed)
{
	tag_moved(h, v, f);
	nothing_sealed(h, v, f);
	put_text(f, "/var/lib/dstack/vm/7/shared/app-compose.json", "{\"kms_enabled\": true}");
}
CASE(tag_moved_to_a_simulation)
{
	tag_moved(h, v, f);
	fact(h, PROBE_SEALING_IMAGE, "simulated", "yes");
}
CASE(simulation_upgraded)
{
	tag_moved_to_a_simulation(h, v, f);
	put_text(f, "/var/lib/dstack/kms/key-provider", "sha256:22\nsimulated\n");
}
CASE(simulation_becomes_real)
{
	tag_moved(h, v, f);
	put_text(f, "/var/lib/dstack/kms/key-provider", RUNNING "\nsimulated\n");
}
CASE(tag_kept_unrecorded)
{
	not_mounted(h, v, f);
	nothing_recorded(h, v, f);
}
/* Another one runs than the one on record, which the name has got back. */
CASE(record_wins)
{
	not_mounted(h, v, f);
	another_sealed(h, v, f);
	here_is(h, 200, "sha256:22");
}
CASE(not_here) { not_mounted(h, v, f); here_is(h, 404, NULL); }
CASE(not_asked)
{
	not_mounted(h, v, f);
	here_is(h, 0, NULL);
	h->view.probe[PROBE_SEALING_IMAGE].asked = 0;
}
CASE(record_is_empty) { not_mounted(h, v, f); empty_record(h, v, f); }
CASE(directory_and_tag_moved) { tag_moved(h, v, f); mounts_a_directory(h, v, f); mounts(h, MOUNT QCNL_PATH); }
CASE(aesm_lost_its_device)
{
	tag_moved(h, v, f);
	mounts(h, MOUNT QCNL_PATH);
	containers_said(v, "error: AESM service returned error 2");
}
CASE(stopped_as_recorded) { stopped(h); }
CASE(stopped_and_moved) { stopped(h); here_is(h, 200, OTHER); }
CASE(gone_and_nothing_sealed)
{
	stopped(h);
	nothing_sealed(h, v, f);
	answer(h, PROBE_SEALING_INSPECT, 404);
	here_is(h, 404, NULL);
}
CASE(gone_and_unrecorded)
{
	gone_and_nothing_sealed(h, v, f);
	put_text(f, KMS_RECORD, "{}");
}
CASE(ordinary_user)
{
	stopped(h);
	v->privileged = 0;
}

static const struct {
	const char *id;
	void (*arrange)(struct host *h, struct check_view *v, const struct fixture *f);
	const char *fix; /* the start of it */
} starts[] = {
	{ "key-provider.qcnl", not_mounted, RESTART },
	{ "key-provider.qcnl", tag_kept_unrecorded, RESTART },
	{ "key-provider.qcnl", record_wins, RESTART },
	{ "key-provider.qcnl", tag_moved,
	  "do not start the key provider: " TAG " is " OTHER " here; first give the name back to the "
	  "image that has sealed: sudo docker tag " RUNNING " " TAG },
	{ "key-provider.qcnl", tag_moved_unrecorded,
	  "do not start the key provider: " TAG " is " OTHER " here; first give the name back to the "
	  "image that has sealed: sudo docker tag " RUNNING " " TAG },
	{ "key-provider.qcnl", tag_moved_under_a_machine,
	  "do not start the key provider: " TAG " is " OTHER " here; first" },
	{ "key-provider.qcnl", tag_moved_and_nothing_sealed, RESTART },
	{ "key-provider.qcnl", tag_moved_to_a_simulation, "do not start the key provider: " TAG },
	{ "key-provider.qcnl", simulation_upgraded, RESTART },
	{ "key-provider.qcnl", simulation_becomes_real, "do not start the key provider: " TAG },
	{ "key-provider.qcnl", digest_moved, "do not start the key provider: r.example/k@sha256:" },
	{ "key-provider.qcnl", not_here, "do not start the key provider: r.example/k@" },
	{ "key-provider.qcnl", not_asked, "do not start the key provider: what is r.example/k@" },
	{ "key-provider.qcnl", record_is_empty,
	  "do not start the key provider: which image has sealed is not known" },
	{ "key-provider.qcnl", directory_and_tag_moved, "do not start the key provider: " TAG },
	{ "aesmd.errors", aesm_lost_its_device, "do not start the key provider: " TAG },
	{ "key-provider", stopped_as_recorded, "sudo systemctl start " KEY_PROVIDER_UNIT },
	{ "key-provider", stopped_and_moved, "do not start the key provider: r.example/k@" },
	{ "key-provider", gone_and_nothing_sealed, "sudo systemctl start " KEY_PROVIDER_UNIT },
	{ "key-provider", gone_and_unrecorded, "do not start the key provider: which image" },
	{ "key-provider", ordinary_user, "sudo dstack-host check key-provider" },
};

static void starts_only_what_has_sealed(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		const struct check_case c = { starts[i].id, "", starts[i].arrange };
		_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(),
								  sizeof(*verdicts));
		const struct verdict *r = &verdicts[check_find(c.id)];
		void *own = NULL;

		assert_int_equal(fixture_setup(&own), 0);
		judge_all(&c, own, verdicts);
		if (r->outcome->status != CHECK_FAIL || !r->fix ||
		    strncmp(r->fix, starts[i].fix, strlen(starts[i].fix)) != 0)
			fail_msg("%zu: %s ended as %s (%s), fix: %s", i, c.id, r->outcome->name,
				 r->cause, r->fix);
		if (strncmp(r->fix, "do not", 6) == 0)
			assert_null(strstr(r->fix, KEY_PROVIDER_UNIT));
		verdicts_free(verdicts, checks_count());
		fixture_teardown(&own);
	}
}

#undef CHECK_CASES_MORE
#define CHECK_CASES_MORE cmocka_unit_test(starts_only_what_has_sealed),

CHECK_CASES_MAIN(group_key_provider, cases)
