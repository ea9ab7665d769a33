// SPDX-License-Identifier: Apache-2.0
/* Deploying the KMS: look first, create at most once, follow until it is one. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/parse.h"
#include "host/kms/kms-steps.h"
#include "host/kms/kms-view.h"
#include "host/progress.h"
#include "host/render/vmm-toml.h"

/* Upstream tells nobody when a VM appears or a KMS answers: it is asked again. */
#define TICK_S 1
#define LOCK_SECONDS 30
/* Besides the lock of all writing verbs, which is not held while the VMM is asked. */
#define ONCE "/run/dstack/.kms-lock"

/* Tells the unit, once per change. */
void deploy_say(struct deploy *d, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	if (!d->said || strcmp(d->said, text) != 0)
		progress_say("%s", text);
	free(d->said);
	d->said = text;
}

enum step deploy_end(struct deploy *d, int result)
{
	d->result = result;
	return STEP_DONE;
}

enum step deploy_trouble(struct deploy *d, int r, const char *what)
{
	log_error("cannot %s: %s", what, strerror(-r));
	return deploy_end(d, r);
}

/* Waiting for somebody else's end is no failure of a service that waits anyway. */
enum step deploy_lock(struct deploy *d, int *ret_fd)
{
	int r = lock_take(d->root, LOCK_SECONDS, ret_fd);

	if (r == 0)
		return STEP_FOLLOW;
	if (r != -EAGAIN)
		return deploy_trouble(d, r, "take the lock");
	deploy_say(d, "waiting for another dstack-host to end");
	return STEP_AGAIN;
}

/* Between the look and the record another deployment would make another KMS; while one makes its
 * keys, others. */
static enum step take_once(struct deploy *d)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd, r = root_mkdirs(d->root, "/run/dstack", 0755);

	if (d->once >= 0)
		return STEP_FOLLOW;
	fd = r < 0 ? r : root_openat(d->root, ONCE, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return deploy_trouble(d, fd, "open " ONCE);
	if (fcntl(fd, F_OFD_SETLK, &fl) < 0) {
		r = -errno;
		close(fd);
		if (r != -EAGAIN && r != -EACCES)
			return deploy_trouble(d, r, "lock " ONCE);
		deploy_say(d, "waiting for another kms deploy");
		return STEP_AGAIN;
	}
	d->once = fd;
	/* It may have been its end that we waited for. */
	r = deploy_reload(d);
	return r < 0 ? deploy_trouble(d, r, "read " KMS_RECORD) : STEP_FOLLOW;
}

static void drop_once(struct deploy *d)
{
	if (d->once >= 0)
		close(d->once);
	d->once = -1;
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

/* The VMM waits for no disk. What is on record and was taken by a power cut looks like a KMS that
 * somebody has removed, and no other one would be made. 0 or -errno. */
static int make_durable(struct deploy *d, const char *id)
{
	_cleanup_free_ char *dir = vmm_dir(d->root, d->s);
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, id);
	_cleanup_close_ int fd = root_openat(d->root, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	return syncfs(fd) < 0 ? -errno : 0;
}

static enum step record_found(struct deploy *d, const struct vmm_vm *vm)
{
	_cleanup_close_ int lock = -1;
	int r = make_durable(d, vm->id);
	enum step step;

	if (r < 0)
		return deploy_trouble(d, r, "make the KMS's virtual machine durable");
	step = deploy_lock(d, &lock);
	if (step != STEP_FOLLOW)
		return step;
	if (!d->recorded) {
		r = adopt(d, vm);
	} else {
		deploy_set(&d->record.vm_id, vm->id);
		r = kms_record_save(d->root, &d->record);
	}
	if (r == 0)
		r = deploy_reload(d);
	return r == 0 ? STEP_FOLLOW :
			deploy_trouble(d, r < 0 ? r : -EBADMSG, "write " KMS_RECORD);
}

static enum step found(struct deploy *d, const struct kms_look *look)
{
	d->may_start = d->recorded && *d->record.vm_id;
	if (!d->may_start) {
		enum step step = record_found(d, look->vm);

		if (step != STEP_FOLLOW)
			return step;
	}
	if (d->planned && strcmp(d->plan.record.compose_hash, d->record.compose_hash) != 0)
		log_warning("the settings have changed since the KMS was deployed; it stays as it "
			    "is, with the compose in " KMS_DIR);
	return STEP_FOLLOW;
}

static enum step act(struct deploy *d, const struct kms_look *look)
{
	const char *name = d->recorded ? d->record.name : d->plan.record.name;
	_cleanup_free_ char *dir = NULL;

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
		dir = vmm_dir(d->root, d->s);
		log_error("the KMS was deployed as virtual machine %s, which dstack-vmm does not "
			  "show; not making another (%s/%s, journalctl -u dstack-vmm)",
			  d->record.vm_id, dir, d->record.vm_id);
		break;
	}
	return deploy_end(d, KMS_FAILED);
}

static enum step look_and_act(struct deploy *d)
{
	struct kms_look look = { 0 };
	_cleanup_free_ char *trouble = NULL;
	enum step step = take_once(d);
	int r;

	if (step != STEP_FOLLOW)
		return step;
	if (!d->planned && !d->recorded)
		return deploy_none(d, &look);
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

/* While an answer is lost nobody else may look: the VM is not there yet, or never will be. */
static enum step look_once(struct deploy *d)
{
	enum step step = look_and_act(d);

	if (step != STEP_AGAIN || !d->lost)
		drop_once(d);
	return step;
}

/* --- following it --- */

/* *text: "running, boot: done", the caller's; NULL when the VMM does not know it any more.
 * Was it stopped by somebody? (What only exited, the VMM starts again by itself.) */
static int vm_stopped(struct deploy *d, char **text)
{
	_cleanup_free_ char *body = vmm_body_id(d->record.vm_id), *trouble = NULL;
	struct peer_answer answer = { 0 };
	struct vmm_vm *vms = NULL;
	size_t n = 0;
	int stopped, r = vmm_ask(d->root, VMM_GET_INFO, body, &answer);

	trouble = r < 0 ? xstrdup(strerror(-r)) : vmm_trouble(&answer);
	if (!trouble && vmm_list(&answer, &vms, &n) < 0)
		trouble = xstrdup("it makes no sense");
	if (trouble)
		*text = xasprintf("dstack-vmm: %s", trouble);
	else if (n && *vms[0].boot_error)
		*text = xasprintf("%s, boot failed: %s", vms[0].status, vms[0].boot_error);
	else if (n)
		*text = xasprintf("%s, boot: %s", vms[0].status, vms[0].boot_progress);
	stopped = n && strcmp(vms[0].status, KMS_STOPPED) == 0;
	vmm_list_free(vms, n);
	peer_answers_free(&answer, 1);
	return stopped;
}

/* Of a VM that our record named: nothing is made, its sealed disk stays what it is. Once, so
 * that whoever stops it meanwhile has his way. */
static enum step start_vm(struct deploy *d)
{
	_cleanup_free_ char *body = vmm_body_id(d->record.vm_id), *trouble = NULL;
	struct peer_answer answer = { 0 };
	int r;

	d->may_start = 0;
	deploy_say(d, "starting virtual machine %s", d->record.vm_id);
	r = vmm_ask(d->root, VMM_START_VM, body, &answer);
	trouble = r < 0 ? xstrdup(strerror(-r)) : vmm_trouble(&answer);
	if (trouble)
		log_warning("cannot start the KMS, which is stopped: %s", trouble);
	else
		log_info("started the KMS, which was stopped");
	peer_answers_free(&answer, 1);
	return STEP_AGAIN;
}

/* Kept by the KMS from its next start on: Finish. Asked for again until it has heard it. */
static enum step start_with_keys(struct deploy *d)
{
	_cleanup_free_ char *trouble = NULL;
	int r = kms_finish(d->record.host_port, &trouble);

	if (r < 0)
		return deploy_trouble(d, r, "reach the KMS");
	deploy_say(d, "waiting for the KMS to start with its keys%s%s", trouble ? ": " : "",
		   trouble ? trouble : "");
	return STEP_AGAIN;
}

/* By one deployment, once: the KMS makes other keys each time that it is asked, also while it
 * starts with the first ones, and would then run with a mixture of both. */
static enum step make_keys(struct deploy *d)
{
	_cleanup_free_ char *trouble = NULL;
	int r, held = d->once >= 0;
	enum step step = take_once(d);

	if (step != STEP_FOLLOW || !held)
		return step; /* if newly held: look again, somebody may have made them meanwhile */
	if (d->keys_made)
		return start_with_keys(d);
	deploy_say(d, "making the KMS's keys");
	r = kms_bootstrap(d->record.host_port, d->record.domain, &trouble);
	if (r < 0)
		return deploy_trouble(d, r, "reach the KMS");
	if (r > 0) {
		deploy_say(d, "waiting for the KMS to make its keys: %s", trouble);
		return STEP_AGAIN;
	}
	log_info("the KMS has made its keys");
	d->keys_made = 1;
	return start_with_keys(d);
}

static enum step onboard(struct deploy *d)
{
	_cleanup_free_ char *ca = NULL;
	int r = kms_ca_load(d->root, &ca);

	if (r < 0)
		return deploy_trouble(d, r, "read " KMS_CA);
	if (ca) {
		log_error("the KMS has no keys any more, although its CA is on record in " KMS_CA
			  "; not making new ones: nothing sealed with the old ones would open");
		return deploy_end(d, KMS_FAILED);
	}
	return make_keys(d);
}

static enum step record_ca(struct deploy *d, const struct kms_view *view)
{
	_cleanup_close_ int lock = -1;
	enum step step = deploy_lock(d, &lock);
	int r;

	if (step != STEP_FOLLOW)
		return step;
	r = kms_ca_record(d->root, view->ca_pem);
	if (r == -EEXIST) {
		log_error("the KMS shows another CA than the one on record in " KMS_CA ", which "
			  "stays: it is not the KMS that guests of this host were sealed by");
		return deploy_end(d, KMS_FAILED);
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
		return deploy_end(d, KMS_FAILED);
	}
	r = kms_check_certificate(d->record.host_port, d->record.domain, view->ca_pem, &trouble);
	if (r < 0)
		return deploy_trouble(d, r, "reach the KMS");
	if (r > 0) {
		log_error("the KMS's certificate is not for %s, or not by its own CA: %s",
			  d->record.domain, trouble);
		return deploy_end(d, KMS_FAILED);
	}
	return record_ca(d, view);
}

static enum step follow(struct deploy *d)
{
	_cleanup_(kms_view_free) struct kms_view view = { 0 };
	_cleanup_free_ char *state = NULL;
	int r, stopped = vm_stopped(d, &state);

	if (!state) {
		log_error("virtual machine %s is gone", d->record.vm_id);
		return deploy_end(d, KMS_FAILED);
	}
	if (stopped && d->may_start)
		return start_vm(d);
	if (stopped) {
		deploy_say(d, "waiting for the KMS: its virtual machine is stopped; " KMS_START
			      " starts it");
		return STEP_AGAIN;
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
	enum step (*stage)(struct deploy *d) = look_once;

	for (;;) {
		enum step step = stage(d);
		int r = 0;

		if (step == STEP_DONE)
			return d->result;
		if (step == STEP_FOLLOW)
			stage = follow;
		else
			r = tick(d);
		if (r < 0) {
			log_error("cannot wait: %s", strerror(-r));
			return r;
		}
	}
}

static void deploy_free(struct deploy *d)
{
	kms_plan_free(&d->plan);
	kms_record_free(&d->record);
	free(d->said);
	drop_once(d);
	if (d->timer >= 0)
		close(d->timer);
}

int kms_deploy(const struct root *root, const struct settings *s)
{
	const struct itimerspec every = { .it_interval.tv_sec = TICK_S,
					  .it_value.tv_sec = TICK_S };
	_cleanup_(deploy_free) struct deploy d = { .root = root, .s = s, .timer = -1,
						   .once = -1 };
	int r = kms_plan(root, s, &d.plan, &d.why);

	d.planned = r == 0;
	if (r >= 0)
		r = kms_record_load(root, &d.record);
	if (r < 0) {
		log_error("cannot read %s: %s", r == -EBADMSG ? KMS_RECORD : "what to deploy",
			  strerror(-r));
		return r;
	}
	d.recorded = r == 0;
	d.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (d.timer < 0 || timerfd_settime(d.timer, 0, &every, NULL) < 0) {
		r = -errno;
		log_error("cannot make a timer: %s", strerror(-r));
		return r;
	}
	return loop(&d);
}
