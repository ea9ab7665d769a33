// SPDX-License-Identifier: Apache-2.0
/*
 * Checks of the key management service. What it was deployed with is frozen, and its disk is
 * sealed to it: no fix here deploys, changes or restarts it into anything else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/peer/cert-facts.h"
#include "host/check/check-files.h"
#include "host/check/checks-chain.h"
#include "host/check/checks-vmm.h"
#include "host/kms/kms-view.h"
#include "host/kms/kms.h"
#include "host/vmm/vmm.h"

#define LOOK "sudo dstack-host kms status"
#define FROZEN_COMPOSE KMS_DIR "/app-compose.json"

/* The record of the deployed one: 0, or the outcome that there is none. */
static const char *load_record(const struct check_view *v, struct kms_record *ret,
			       struct verdict *r)
{
	int e = kms_record_load(v->parts.root, ret);

	if (e == 0)
		return NULL;
	if (e == -EACCES || e == -EPERM)
		return SKIP_PRIVILEGE;
	if (e == KMS_NO_RECORD)
		verdict_subject(r, "no KMS has been deployed yet");
	else
		verdict_subject(r, KMS_RECORD ": %s", strerror(-e));
	return SKIP_UNKNOWN;
}

/* --- kms.boot --- */

static const struct outcome boot_outcomes[] = {
	{ "running", CHECK_OK },
	{ "booting", CHECK_WARN, "its guest is still starting: %s", LOOK },
	{ "time", CHECK_FAIL,
	  "its guest waits for the time (secure_time), and no NTS server can be reached: %s",
	  "let guests out on tcp 4460 and udp 123 (sudo dstack-host check kms.time)" },
	{ "boot-error", CHECK_FAIL, "its guest cannot start: %s", LOOK },
	{ "stopped", CHECK_FAIL, "somebody has stopped the KMS's virtual machine", KMS_START },
	{ "exited", CHECK_FAIL,
	  "the KMS's virtual machine ends again and again; the VMM starts it every 20 seconds",
	  "sudo journalctl -b -e -u dstack-vmm.service" },
	{ "gone", CHECK_FAIL, "the VMM does not show the KMS that was deployed: %s",
	  "sudo journalctl -b -e -u dstack-vmm.service" },
	{ 0 },
};

static const char *judge_running(const struct vmm_vm *vm, struct verdict *r)
{
	const char *says = *vm->boot_error ? vm->boot_error : vm->boot_progress;

	verdict_found(r, "%.40s%s%.200s", vm->status, *says ? ", " : "", says);
	verdict_subject(r, "%.200s", says);
	if (strcasestr(says, "system time") || strcasestr(says, "chronyc"))
		return "time";
	if (*vm->boot_error)
		return "boot-error";
	/* After a restart of the VMM it says "running" for ever. */
	if (!*says || strcmp(says, "done") == 0 || strcmp(says, "running") == 0)
		return "running";
	return "booting";
}

static const char *judge_vm(const struct vmm_vm *vm, struct verdict *r)
{
	if (strcmp(vm->status, "running") == 0)
		return judge_running(vm, r);
	verdict_found(r, "%.40s", vm->status);
	if (strcmp(vm->status, "exited") == 0)
		return *vm->boot_error ? judge_running(vm, r) : "exited";
	return "stopped";
}

static const char *eval_boot(const struct check_view *v, struct verdict *r)
{
	_cleanup_(kms_record_free) struct kms_record record = { 0 };
	const char *outcome = load_record(v, &record, r);
	struct vmm_vm *vms;
	size_t n;

	if (outcome)
		return outcome;
	if (vmm_list(&v->parts.probe[PROBE_VMM].answer, &vms, &n) < 0) {
		verdict_subject(r, "the VMM's list makes no sense");
		return SKIP_UNKNOWN;
	}
	for (size_t i = 0; i < n && !outcome; i++)
		if (*record.vm_id ? strcmp(vms[i].id, record.vm_id) == 0 :
				    strcmp(vms[i].name, record.name) == 0)
			outcome = judge_vm(&vms[i], r);
	vmm_list_free(vms, n);
	if (outcome)
		return outcome;
	verdict_subject(r, "%s", *record.vm_id ? record.vm_id : record.name);
	return "gone";
}

/* --- kms: as `status` judges it, and why --- */

static const struct outcome kms_outcomes[] = {
	{ "ok", CHECK_OK },
	{ "waiting", CHECK_FAIL, "waiting" },
	{ "failed", CHECK_FAIL, "failed" },
	{ "hangs", CHECK_FAIL,
	  "TLS is there at once and GetMeta is not: the KMS waits for its Ethereum endpoint, "
	  "which answers this host",
	  "wait; the endpoint is measured into the KMS and stays (sudo dstack-host kms status)" },
	{ "other-ca", CHECK_FAIL,
	  "another KMS answers than the one that was verified: its CA is not the recorded one",
	  LOOK },
	{ "other-settings", CHECK_FAIL, "the KMS is not what the settings demand: %s", LOOK },
	{ 0 },
};

/* Does it wait for its chain, rather than for anything of this host? */
static int waits_for_chain(const struct check_view *v, const struct kms_view *view)
{
	const struct probe_result *tls = &v->parts.probe[PROBE_KMS_TLS];

	return view->phase == KMS_TROUBLED &&
	       (v->parts.probe[PROBE_KMS].answer.error != PEER_TIMEOUT ||
		(tls->asked && !tls->error && tls->answer.error == PEER_OK));
}

/* Is the endpoint of another chain than CHAIN_ID says? */
static int chain_is_other(const struct check_view *v)
{
	const char *chain = peer_get(&v->parts.probe[PROBE_CHAIN].answer, "chain");

	return chain && strcmp(chain, setting(v->parts.settings, KEY_CHAIN_ID)) != 0;
}

/* What is behind a failure that the table of parts tells in one line. NULL: nothing more. */
static const char *look_closer(const struct check_view *v, struct verdict *r)
{
	_cleanup_(kms_view_free) struct kms_view view = { 0 };
	const struct probe_result *meta = &v->parts.probe[PROBE_KMS];
	_cleanup_free_ char *disobeys = NULL, *wrong = NULL;
	const char *chain;

	if (!meta->asked || meta->error < 0)
		return NULL;
	kms_view_of(&meta->answer, &v->parts.probe[PROBE_KMS_PAGE].answer, &view);
	if (waits_for_chain(v, &view)) {
		chain = chain_first(v);
		if (chain && strcmp(chain, "answers") != 0) {
			verdict_subject(r, "chain.endpoint");
			return SKIP_NEEDS;
		}
		verdict_found(r, "%s", view.detail);
		return meta->answer.error == PEER_TIMEOUT ? "hangs" : NULL;
	}
	if (view.phase != KMS_READY ||
	    kms_verdict(v->parts.root, v->parts.settings, &view, &wrong) != KMS_WRONG)
		return NULL;
	disobeys = kms_disobeys(&view, v->parts.settings);
	/* KMS and chain agree: the setting is what is wrong. */
	if (disobeys && chain_is_other(v)) {
		verdict_subject(r, "chain.id");
		return SKIP_NEEDS;
	}
	verdict_found(r, "%s", wrong);
	verdict_subject(r, "%s", wrong);
	return disobeys ? "other-settings" : "other-ca";
}

static int is_down(const struct check_view *v, const char *part)
{
	enum part_state state = v->findings[part_find(part)].state;

	return state == PART_WAITING || state == PART_FAILED;
}

/* A KMS that runs needs neither, one that is to start waits for both. */
static const char *what_comes_first(const struct check_view *v)
{
	return is_down(v, "key-provider") ? "key-provider" : is_down(v, "image") ? "image" : NULL;
}

static const char *eval_kms(const struct check_view *v, struct verdict *r)
{
	enum part_state state = v->findings[part_find("kms")].state;
	int down = state == PART_WAITING || state == PART_FAILED;
	const char *closer = down ? look_closer(v, r) : NULL;

	if (closer || !down || !what_comes_first(v))
		return closer ? closer : check_as_part(v, "kms", r);
	verdict_subject(r, "%s", what_comes_first(v));
	return SKIP_NEEDS;
}

/* --- kms.speed --- */

enum { SLOW_MS = 1000, LATE_MS = 2000 };

static const struct outcome speed_outcomes[] = {
	{ "quick", CHECK_OK },
	{ "slow", CHECK_WARN, "GetMeta takes as long as its three questions to the chain: %s",
	  "dstack-host check chain" },
	{ "late", CHECK_FAIL, "GetMeta takes longer than guests may wait: %s",
	  "dstack-host check chain" },
	{ 0 },
};

static const char *eval_speed(const struct check_view *v, struct verdict *r)
{
	unsigned ms = v->parts.probe[PROBE_KMS].answer.ms;

	verdict_found(r, "GetMeta in %u ms", ms);
	verdict_expected(r, "less than %u ms", (unsigned)LATE_MS);
	verdict_subject(r, "%u ms", ms);
	return ms > LATE_MS ? "late" : ms > SLOW_MS ? "slow" : "quick";
}

/* --- kms.certificate --- */

static const struct outcome certificate_outcomes[] = {
	{ "good", CHECK_OK },
	{ "issuer", CHECK_FAIL, "its certificate is not of the recorded CA: %s", LOOK },
	{ "name", CHECK_FAIL, "its certificate is not for %s, by which guests ask it", LOOK },
	{ "expired", CHECK_FAIL, "its certificate has expired; a KMS makes a new one when it "
				 "starts", LOOK },
	{ "expiring", CHECK_WARN, "its certificate ends in %s; a KMS makes a new one when it "
				  "starts", LOOK },
	{ 0 },
};

enum { DAYS_MIN = 30 };

static const char *eval_certificate(const struct check_view *v, struct verdict *r)
{
	_cleanup_(kms_record_free) struct kms_record record = { 0 };
	const struct peer_answer *a = &v->parts.probe[PROBE_KMS_TLS].answer;
	const char *none = load_record(v, &record, r);
	_cleanup_free_ char *names = NULL;
	struct cert_facts cert;
	long days;

	if (none)
		return none;
	cert_facts_of(a, &cert);
	if (!cert.seen || !cert.ca) {
		verdict_subject(r, cert.seen ? "no CA is on record" : "no TLS handshake");
		return SKIP_UNKNOWN;
	}
	names = cert_names(a);
	days = cert_days_left(&cert, v->parts.now_us);
	verdict_found(r, "%.200s, %ld days left", names, days);
	if (strcmp(cert.ca, "ok") != 0) {
		verdict_subject(r, "%.200s", cert.ca);
		return "issuer";
	}
	verdict_subject(r, "%s", record.domain);
	if (!cert.host)
		return "name";
	verdict_subject(r, "%ld days", days);
	return days < 0 ? "expired" : days < DAYS_MIN ? "expiring" : "good";
}

/* --- what is frozen --- */

/* What the frozen compose says of `fact`; NULL and the outcome, when there is none. */
static const char *frozen_says(const struct check_view *v, const char *fact, struct verdict *r,
			 const char **outcome)
{
	_cleanup_(kms_record_free) struct kms_record record = { 0 };
	const char *says;
	int e;
	const struct foreign_file *file = check_file(v, CHECK_FILE_KMS_COMPOSE, &e);

	*outcome = load_record(v, &record, r);
	says = *outcome || e ? NULL : peer_get(&file->answer, fact);
	if (!says && !*outcome) {
		verdict_subject(r, FROZEN_COMPOSE ": %s", strerror(e ? -e : EBADMSG));
		*outcome = SKIP_UNKNOWN;
	}
	return says;
}

static const struct outcome provider_outcomes[] = {
	{ "local", CHECK_OK },
	{ "other", CHECK_FAIL,
	  "the KMS was deployed without the local key provider: nobody gives it the key of its "
	  "disk", LOOK },
	{ 0 },
};

static const char *eval_provider(const struct check_view *v, struct verdict *r)
{
	const char *outcome;
	const char *says = frozen_says(v, "local-key", r, &outcome);

	if (!says)
		return outcome;
	return strcmp(says, "true") == 0 ? "local" : "other";
}

static const struct outcome time_outcomes[] = {
	{ "off", CHECK_OK },
	{ "on", CHECK_WARN,
	  "secure_time is on: at every start the guest waits up to 200 s for NTS servers, on tcp "
	  "4460 and udp 123, and restarts for ever where these are shut", LOOK },
	{ "unwritten", CHECK_WARN,
	  "secure_time is not written in its compose, which a guest takes for true: at every start "
	  "it waits up to 200 s for NTS servers, on tcp 4460 and udp 123", LOOK },
	{ 0 },
};

static const char *eval_time(const struct check_view *v, struct verdict *r)
{
	const char *outcome;
	const char *says = frozen_says(v, "secure-time", r, &outcome);

	if (!says)
		return outcome;
	verdict_found(r, "secure_time is %s", says);
	return strcmp(says, "false") == 0 ? "off" : strcmp(says, "unwritten") == 0 ? "unwritten" :
										     "on";
}

static const struct outcome frozen_outcomes[] = {
	{ "same", CHECK_OK },
	{ "record", CHECK_FAIL,
	  FROZEN_COMPOSE " is not what was deployed: its SHA-256 is not the recorded one", LOOK },
	{ "machine", CHECK_FAIL,
	  "the virtual machine's compose is not what was deployed: at its next start the key of "
	  "its disk would be another", LOOK },
	{ 0 },
};

/* 1: its SHA-256 is this; 0; or -errno. */
static int has_hash(const struct root *root, const char *path, const char *hash)
{
	char own[SHA256_HEX + 1];
	int r = sha256_file(root, path, 16 << 20, own);

	return r < 0 ? r : strcmp(own, hash) == 0;
}

static const char *eval_frozen(const struct check_view *v, struct verdict *r)
{
	_cleanup_(kms_record_free) struct kms_record record = { 0 };
	const char *outcome = load_record(v, &record, r);
	_cleanup_free_ char *dir = NULL, *path = NULL;
	int as;

	if (outcome)
		return outcome;
	as = has_hash(v->parts.root, FROZEN_COMPOSE, record.compose_hash);
	if (as == 0)
		return "record";
	dir = vmm_dir(v->parts.root, v->parts.settings);
	path = xasprintf("%s/%s/shared/app-compose.json", dir, record.vm_id);
	if (as > 0 && *record.vm_id)
		as = has_hash(v->parts.root, path, record.compose_hash);
	if (as == 0)
		return "machine";
	verdict_found(r, "compose %.12s…", record.compose_hash);
	if (as > 0)
		return "same";
	verdict_subject(r, "its compose: %s", strerror(-as));
	return SKIP_UNKNOWN;
}

static const struct outcome settings_outcomes[] = {
	{ "as-deployed", CHECK_OK },
	{ "changed", CHECK_WARN,
	  "settings are not those that the KMS was deployed with: %s; the deployed one stays as it "
	  "is", LOOK },
	{ 0 },
};

static const char *difference(const struct kms_record *a, const struct kms_record *b)
{
	if (strcmp(a->compose_hash, b->compose_hash) != 0)
		return "its compose";
	if (strcmp(a->image, b->image) != 0)
		return "IMAGE_VERSION";
	if (a->vcpu != b->vcpu)
		return "KMS_VCPU";
	if (a->memory_mb != b->memory_mb)
		return "KMS_MEMORY_MB";
	if (a->disk_gb != b->disk_gb)
		return "KMS_DISK_GB";
	return a->host_port == b->host_port ? NULL : "KMS_PORT";
}

static const char *eval_settings(const struct check_view *v, struct verdict *r)
{
	_cleanup_(kms_record_free) struct kms_record record = { 0 };
	_cleanup_(kms_plan_free) struct kms_plan plan = { 0 };
	const char *outcome = load_record(v, &record, r), *why = NULL, *what;
	int e;

	if (outcome)
		return outcome;
	e = kms_plan(v->parts.root, v->parts.settings, &plan, &why);
	if (e > 0) {
		verdict_subject(r, "%s", why);
		return SKIP_UNSET;
	}
	if (e < 0) {
		verdict_subject(r, "the next KMS: %s", strerror(-e));
		return SKIP_UNKNOWN;
	}
	what = difference(&record, &plan.record);
	if (!what)
		return "as-deployed";
	verdict_found(r, "another: %s", what);
	verdict_subject(r, "%s", what);
	return "changed";
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "kms.boot", .title = "the KMS's virtual machine runs", .needs = "vmm",
	  .probes = PROBE(PROBE_VMM), .outcomes = boot_outcomes, .eval = eval_boot },
	{ .id = "kms", .title = "the KMS answers, as the one that was verified",
	  .needs = "vmm kms.boot",
	  .probes = PROBE(PROBE_KMS) | PROBE(PROBE_KMS_PAGE) | PROBE(PROBE_KMS_TLS) |
		    PROBE(PROBE_CHAIN) | PROBE(PROBE_VMM),
	  .outcomes = kms_outcomes, .eval = eval_kms },
	{ .id = "kms.speed", .title = "GetMeta takes less than two seconds", .needs = "kms",
	  .probes = PROBE(PROBE_KMS), .outcomes = speed_outcomes, .eval = eval_speed },
	{ .id = "kms.certificate", .title = "its certificate is for its name, by the recorded CA",
	  .needs = "kms", .probes = PROBE(PROBE_KMS_TLS), .outcomes = certificate_outcomes,
	  .eval = eval_certificate },
	{ .id = "kms.key-provider", .title = "the local key provider seals its disk",
	  .flags = CHECK_ROOT | CHECK_AHEAD, .outcomes = provider_outcomes,
	  .eval = eval_provider },
	{ .id = "kms.time", .title = "its guest does not wait for NTS servers",
	  .flags = CHECK_ROOT | CHECK_AHEAD, .outcomes = time_outcomes, .eval = eval_time },
	{ .id = "kms.frozen", .title = "its compose is the one that was deployed",
	  .flags = CHECK_ROOT, .outcomes = frozen_outcomes, .eval = eval_frozen },
	{ .id = "kms.settings", .title = "the settings are those it was deployed with",
	  .needs = "settings", .flags = CHECK_ROOT, .outcomes = settings_outcomes,
	  .eval = eval_settings },
};
/* clang-format on */

const struct check_group group_kms = { "kms", checks, ARRAY_SIZE(checks) };
