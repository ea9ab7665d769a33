// SPDX-License-Identifier: Apache-2.0
/* Deploying the KMS: look first, create at most once, follow until it is one. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/parse.h"
#include "host/kms-steps.h"
#include "host/kms-view.h"
#include "host/progress.h"

/* Upstream tells nobody when a VM appears or a KMS answers: it is asked again. */
#define TICK_S 1

/* Tells the unit, once per change. */
void deploy_say(struct deploy *d, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		out_of_memory();
	va_end(ap);
	if (!d->said || strcmp(d->said, text) != 0)
		progress_say("%s", text);
	free(d->said);
	d->said = text;
}

enum step deploy_end(struct deploy *d, int code)
{
	d->code = code;
	return STEP_DONE;
}

enum step deploy_trouble(struct deploy *d, int r, const char *what)
{
	log_error("cannot %s: %s", what, strerror(-r));
	return deploy_end(d, 1);
}

static int tick(struct deploy *d)
{
	uint64_t n;

	while (read(d->timer, &n, sizeof(n)) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

void deploy_set(char **to, const char *value)
{
	free(*to);
	*to = xstrdup(value);
}

/* --- there is a VM --- */

static unsigned number(const char *s, unsigned otherwise)
{
	uint64_t v;

	return parse_uint(s, 0, UINT32_MAX, &v) ? otherwise : (unsigned)v;
}

/* It runs, and nothing was recorded: deployed by hand from the same compose, or the record
 * was lost. What the VMM says of it counts, not what the settings would make now. */
static int adopt(struct deploy *d, const struct vmm_vm *vm)
{
	struct kms_record *rec = &d->plan.record;

	deploy_set(&rec->vm_id, vm->id);
	if (*vm->image)
		deploy_set(&rec->image, vm->image);
	rec->vcpu = number(vm->vcpu, rec->vcpu);
	rec->memory_mb = number(vm->memory_mb, rec->memory_mb);
	rec->disk_gb = number(vm->disk_gb, rec->disk_gb);
	log_info("found the KMS as virtual machine %s", vm->id);
	return kms_plan_freeze(d->root, &d->plan);
}

int deploy_reload(struct deploy *d)
{
	int r;

	kms_record_free(&d->record);
	r = kms_record_load(d->root, &d->record);
	d->recorded = r == 0;
	return r;
}

static enum step found(struct deploy *d, const struct kms_look *look)
{
	int r = 0;

	if (!d->recorded) {
		r = adopt(d, look->vm);
	} else if (!*d->record.vm_id) {
		deploy_set(&d->record.vm_id, look->vm->id);
		r = kms_record_save(d->root, &d->record);
	}
	if (r == 0)
		r = deploy_reload(d);
	if (r != 0)
		return deploy_trouble(d, r < 0 ? r : -EBADMSG, "write " KMS_RECORD);
	if (d->planned && strcmp(d->plan.record.compose_hash, d->record.compose_hash) != 0)
		log_warning("the settings have changed since the KMS was deployed; it stays as it "
			    "is, with the compose in " KMS_DIR);
	return STEP_FOLLOW;
}

static enum step act(struct deploy *d, const struct kms_look *look)
{
	const char *name = d->recorded ? d->record.name : d->plan.record.name;

	switch (look->what) {
	case KMS_VM_OURS:
		return found(d, look);
	case KMS_VM_NONE:
		return deploy_none(d, look);
	case KMS_VM_FOREIGN:
		log_error("virtual machine %s is named %s but has another compose (%.16s…): left "
			  "alone; choose another KMS_NAME", look->vm->id, name,
			  look->vm->compose_hash);
		break;
	case KMS_VM_SEVERAL:
		log_error("dstack-vmm shows several virtual machines named %s: left alone", name);
		break;
	case KMS_VM_GONE:
	default:
		log_error("the KMS was deployed as virtual machine %s, which dstack-vmm does not "
			  "show; not making another (%s/%s, journalctl -u dstack-vmm)",
			  d->record.vm_id, setting(d->s, KEY_VM_DIR), d->record.vm_id);
		break;
	}
	return deploy_end(d, 1);
}

/* Waiting for somebody else's end is no failure of a service that waits anyway. */
static enum step take_lock(struct deploy *d, int *ret_fd)
{
	d->code = d->lock->take(d->lock->arg, ret_fd);
	if (d->code == KMS_LOCK_BUSY) {
		deploy_say(d, "waiting for another dstack-host to end");
		return STEP_AGAIN;
	}
	return d->code ? STEP_DONE : STEP_FOLLOW;
}

static enum step look_and_act(struct deploy *d)
{
	struct kms_look look = { 0 };
	_cleanup_free_ char *trouble = NULL;
	_cleanup_close_ int lock = -1;
	enum step step;
	int r;

	if (!d->planned && !d->recorded)
		return deploy_none(d, &look);
	step = take_lock(d, &lock);
	if (step != STEP_FOLLOW)
		return step;
	r = kms_look(d->root, d->s, d->recorded ? &d->record : NULL,
		     d->planned ? &d->plan.record : NULL, &look, &trouble);
	if (r < 0)
		return deploy_trouble(d, r, "ask dstack-vmm");
	if (r > 0) {
		deploy_say(d, "waiting for dstack-vmm: %s", trouble);
		return STEP_AGAIN;
	}
	step = act(d, &look);
	kms_look_free(&look);
	return step;
}

/* --- following it --- */

/* "running, boot: done", the caller's; NULL when the VMM does not know it any more. */
static char *vm_state(struct deploy *d)
{
	_cleanup_free_ char *body = vmm_body_id(d->record.vm_id), *trouble = NULL;
	struct peer_answer answer = { 0 };
	struct vmm_vm *vms = NULL;
	char *text = NULL;
	size_t n = 0;
	int r = vmm_ask(d->root, VMM_GET_INFO, body, &answer);

	trouble = r < 0 ? xstrdup(strerror(-r)) : vmm_trouble(&answer);
	if (!trouble && vmm_list(&answer, &vms, &n) < 0)
		trouble = xstrdup("it makes no sense");
	if (trouble)
		text = xasprintf("dstack-vmm: %s", trouble);
	else if (n && *vms[0].boot_error)
		text = xasprintf("%s, boot failed: %s", vms[0].status, vms[0].boot_error);
	else if (n)
		text = xasprintf("%s, boot: %s", vms[0].status, vms[0].boot_progress);
	vmm_list_free(vms, n);
	peer_answers_free(&answer, 1);
	return text;
}

static enum step onboard(struct deploy *d)
{
	_cleanup_free_ char *ca = NULL, *trouble = NULL;
	int r = kms_ca_load(d->root, &ca);

	if (r < 0)
		return deploy_trouble(d, r, "read " KMS_CA);
	if (ca) {
		log_error("the KMS has no keys any more, although its CA is on record in " KMS_CA
			  "; not making new ones: nothing sealed with the old ones would open");
		return deploy_end(d, 1);
	}
	deploy_say(d, "making the KMS's keys");
	r = kms_bootstrap(d->record.host_port, d->record.domain, &trouble);
	if (r < 0)
		return deploy_trouble(d, r, "reach the KMS");
	if (r > 0)
		deploy_say(d, "waiting for the KMS to make its keys: %s", trouble);
	else
		log_info("the KMS has made its keys");
	return STEP_AGAIN;
}

static enum step record_ca(struct deploy *d, const struct kms_view *view)
{
	_cleanup_close_ int lock = -1;
	enum step step = take_lock(d, &lock);
	int r;

	if (step != STEP_FOLLOW)
		return step;
	r = kms_ca_record(d->root, view->ca_pem);
	if (r == -EEXIST) {
		log_error("the KMS shows another CA than the one on record in " KMS_CA ", which "
			  "stays: it is not the KMS that guests of this host were sealed by");
		return deploy_end(d, 1);
	}
	if (r < 0)
		return deploy_trouble(d, r, "write " KMS_CA);
	if (r != FILE_UNCHANGED)
		log_info("recorded its CA in " KMS_CA);
	deploy_say(d, "ready: %s", view->detail);
	log_info("the KMS is ready (%s)", view->detail);
	return deploy_end(d, 0);
}

static enum step ready(struct deploy *d, const struct kms_view *view)
{
	_cleanup_free_ char *wrong = kms_disobeys(view, d->s), *trouble = NULL;
	int r;

	if (wrong) {
		log_error("the KMS is not the one that was asked for: %s", wrong);
		return deploy_end(d, 1);
	}
	r = kms_check_certificate(d->record.host_port, d->record.domain, view->ca_pem, &trouble);
	if (r < 0)
		return deploy_trouble(d, r, "reach the KMS");
	if (r > 0) {
		log_error("the KMS's certificate is not for %s, or not by its own CA: %s",
			  d->record.domain, trouble);
		return deploy_end(d, 1);
	}
	return record_ca(d, view);
}

static enum step follow(struct deploy *d)
{
	_cleanup_(kms_view_free) struct kms_view view = { 0 };
	_cleanup_free_ char *state = vm_state(d);
	int r;

	if (!state) {
		log_error("virtual machine %s is gone", d->record.vm_id);
		return deploy_end(d, 1);
	}
	r = kms_view(d->record.host_port, &view);
	if (r < 0)
		return deploy_trouble(d, r, "look at the KMS");
	if (view.phase == KMS_READY)
		return ready(d, &view);
	if (view.phase == KMS_ONBOARDING)
		return onboard(d);
	deploy_say(d, "waiting for the KMS: %s; virtual machine %s", view.detail, state);
	return STEP_AGAIN;
}

static int loop(struct deploy *d)
{
	enum step (*stage)(struct deploy *d) = look_and_act;

	for (;;) {
		enum step step = stage(d);
		int r = 0;

		if (step == STEP_DONE)
			return d->code;
		if (step == STEP_FOLLOW)
			stage = follow;
		else
			r = tick(d);
		if (r < 0) {
			log_error("cannot wait: %s", strerror(-r));
			return 1;
		}
	}
}

static void deploy_free(struct deploy *d)
{
	kms_plan_free(&d->plan);
	kms_record_free(&d->record);
	free(d->said);
	if (d->timer >= 0)
		close(d->timer);
}

int kms_deploy(const struct root *root, const struct settings *s, const struct kms_lock *lock)
{
	const struct itimerspec every = { .it_interval.tv_sec = TICK_S,
					  .it_value.tv_sec = TICK_S };
	_cleanup_(deploy_free) struct deploy d = { .root = root, .s = s, .lock = lock,
						   .timer = -1 };
	int r = kms_plan(root, s, &d.plan, &d.why);

	d.planned = r == 0;
	if (r >= 0)
		r = kms_record_load(root, &d.record);
	if (r < 0) {
		log_error("cannot read %s: %s", r == -EBADMSG ? KMS_RECORD : "what to deploy",
			  strerror(-r));
		return 1;
	}
	d.recorded = r == 0;
	d.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (d.timer < 0 || timerfd_settime(d.timer, 0, &every, NULL) < 0) {
		log_error("cannot make a timer: %s", strerror(errno));
		return 1;
	}
	return loop(&d);
}
