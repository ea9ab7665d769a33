// SPDX-License-Identifier: Apache-2.0
/* Deploying the KMS: look first, freeze, create at most once, follow until it is one. */
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
#include "base/sock.h"
#include "host/compose.h"
#include "host/kms.h"
#include "host/progress.h"

/* Upstream tells nobody when a VM appears or a KMS answers: it is asked again. */
#define TICK_S 1
/* After a lost answer: the VMM makes the directory at once, or it never got the call. */
#define LOST_TICKS 30

enum step {
	STEP_AGAIN,  /* wait a tick, look again */
	STEP_FOLLOW, /* there is a VM */
	STEP_DONE,   /* `code` is the end */
};

struct deploy {
	const struct root *root;
	const struct settings *s;
	const struct kms_lock *lock;
	struct kms_plan plan;
	int planned;
	const char *why; /* not planned: the setting it waits for */
	struct kms_record record;
	int recorded;
	unsigned lost; /* ticks to look on for a VM whose creation was not answered */
	char *said;
	int timer, code;
};

static void say(struct deploy *d, const char *fmt, ...) _printf_(2, 3);

/* Tells the unit, once per change. */
static void say(struct deploy *d, const char *fmt, ...)
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

static enum step end(struct deploy *d, int failed)
{
	d->code = failed;
	return STEP_DONE;
}

static enum step machine_trouble(struct deploy *d, int r, const char *what)
{
	log_error("cannot %s: %s", what, strerror(-r));
	return end(d, 1);
}

static int tick(struct deploy *d)
{
	uint64_t n;

	while (read(d->timer, &n, sizeof(n)) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static void set(char **to, const char *value)
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

	set(&rec->vm_id, vm->id);
	if (*vm->image)
		set(&rec->image, vm->image);
	rec->vcpu = number(vm->vcpu, rec->vcpu);
	rec->memory_mb = number(vm->memory_mb, rec->memory_mb);
	rec->disk_gb = number(vm->disk_gb, rec->disk_gb);
	log_info("found the KMS as virtual machine %s", vm->id);
	return kms_plan_freeze(d->root, &d->plan);
}

static int reload_record(struct deploy *d)
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
		set(&d->record.vm_id, look->vm->id);
		r = kms_record_save(d->root, &d->record);
	}
	if (r == 0)
		r = reload_record(d);
	if (r != 0)
		return machine_trouble(d, r < 0 ? r : -EBADMSG, "write " KMS_RECORD);
	if (d->planned && strcmp(d->plan.record.compose_hash, d->record.compose_hash) != 0)
		log_warning("the settings have changed since the KMS was deployed; it stays as it "
			    "is, with the compose in " KMS_DIR);
	return STEP_FOLLOW;
}

/* --- there is none --- */

static int image_is_there(struct deploy *d)
{
	const char *dir = setting(d->s, KEY_IMAGE_DIR), *image = d->plan.record.image;
	_cleanup_free_ char *path = xasprintf("%s/%s/metadata.json", dir, image);
	_cleanup_free_ char *trouble = NULL;
	struct peer_answer answer = { 0 };
	int there = 0, r;

	if (!root_exists(d->root, path)) {
		log_error("guest image %s is not in %s; sudo dstack-host up fetches it", image, dir);
		return 0;
	}
	/* The VMM silently leaves out what it cannot load. */
	r = vmm_ask(d->root, VMM_LIST_IMAGES, NULL, &answer);
	trouble = r < 0 ? xstrdup(strerror(-r)) : vmm_trouble(&answer);
	for (size_t i = 0; !trouble && i < answer.n_facts; i++)
		there |= strcmp(answer.facts[i].key, "image") == 0 &&
			 strcmp(answer.facts[i].value, image) == 0;
	peer_answers_free(&answer, 1);
	if (trouble)
		log_error("cannot ask dstack-vmm for its images: %s", trouble);
	else if (!there)
		log_error("dstack-vmm does not accept the guest image %s/%s (a file of it is "
			  "missing, or it looks elsewhere)", dir, image);
	return there;
}

static int port_is_free(struct deploy *d, const struct kms_look *look)
{
	struct hostport at = { .host = "127.0.0.1", .port = (uint16_t)d->plan.record.host_port };
	_cleanup_close_ int fd = -1;

	if (look->port_user) {
		log_error("virtual machine %s (%s) maps port %u already; choose another KMS_PORT",
			  look->port_user->name, look->port_user->id, at.port);
		return 0;
	}
	fd = sock_tcp(&at, 1000);
	if (fd < 0)
		return 1;
	log_error("something answers on 127.0.0.1:%u already; choose another KMS_PORT", at.port);
	return 0;
}

/* A CA on record means that guests trust keys which only that KMS had. */
static int may_create(struct deploy *d, const struct kms_look *look)
{
	_cleanup_free_ char *ca = NULL;
	int r = kms_ca_load(d->root, &ca);

	if (r < 0 || ca) {
		log_error("a KMS was deployed here (" KMS_CA ") and its virtual machine is gone; "
			  "another one would have other keys. Restore it, or move " KMS_DIR
			  " away to start over");
		return 0;
	}
	if (look->hidden) {
		log_error("%s/%s holds a virtual machine named %s which dstack-vmm does not show "
			  "(journalctl -u dstack-vmm tells why); not making another",
			  setting(d->s, KEY_VM_DIR), look->hidden, d->plan.record.name);
		return 0;
	}
	return port_is_free(d, look) && image_is_there(d);
}

/* What the VMM said to CreateVm. */
static enum step created(struct deploy *d, const struct peer_answer *a)
{
	_cleanup_free_ char *trouble = vmm_trouble(a);
	const char *id = peer_get(a, "id");
	int r;

	if (a->error == PEER_OK && trouble) {
		log_error("dstack-vmm refuses to create the KMS: %s", trouble);
		return end(d, 1);
	}
	if (trouble || !id || !vmm_is_id(id)) {
		/* It may have been made all the same. Never twice: look for it. */
		log_warning("no answer to the creation of the KMS (%s); looking for it",
			    trouble ? trouble : "no id");
		d->lost = LOST_TICKS;
		return STEP_AGAIN;
	}
	set(&d->record.vm_id, id);
	r = kms_record_save(d->root, &d->record);
	if (r < 0)
		return machine_trouble(d, r, "write " KMS_RECORD);
	log_info("created the KMS as virtual machine %s", id);
	return STEP_FOLLOW;
}

static enum step create(struct deploy *d)
{
	const struct kms_record *rec = &d->plan.record;
	const struct create_vm vm = {
		.name = rec->name,
		.image = rec->image,
		.compose_text = d->plan.app_compose,
		.vcpu = rec->vcpu,
		.memory_mb = rec->memory_mb,
		.disk_gb = rec->disk_gb,
		.host_address = "127.0.0.1",
		.host_port = rec->host_port,
		.vm_port = rec->guest_port,
	};
	_cleanup_free_ char *body = NULL;
	struct peer_answer answer = { 0 };
	enum step step;
	int r = create_vm_body(&vm, &body);

	if (r == 0)
		r = kms_plan_freeze(d->root, &d->plan);
	if (r == 0)
		r = reload_record(d);
	if (r != 0)
		return machine_trouble(d, r < 0 ? r : -EBADMSG, "write " KMS_RECORD);
	say(d, "creating the virtual machine");
	r = vmm_ask(d->root, VMM_CREATE_VM, body, &answer);
	if (r < 0) {
		/* Not sent. */
		say(d, "waiting for dstack-vmm: %s", strerror(-r));
		return STEP_AGAIN;
	}
	step = created(d, &answer);
	peer_answers_free(&answer, 1);
	return step;
}

static enum step none(struct deploy *d, const struct kms_look *look)
{
	if (d->lost) {
		if (--d->lost) {
			say(d, "looking for the virtual machine");
			return STEP_AGAIN;
		}
		log_error("dstack-vmm has not made the KMS; journalctl -u dstack-vmm, then "
			  "sudo systemctl restart dstack-kms");
		return end(d, 1);
	}
	if (!d->planned) {
		say(d, "waiting for the setting %s", d->why);
		log_info("the KMS waits for the setting %s", d->why);
		return end(d, 0);
	}
	return may_create(d, look) ? create(d) : end(d, 1);
}

static enum step act(struct deploy *d, const struct kms_look *look)
{
	const char *name = d->recorded ? d->record.name : d->plan.record.name;

	switch (look->what) {
	case KMS_VM_OURS:
		return found(d, look);
	case KMS_VM_NONE:
		return none(d, look);
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
	return end(d, 1);
}

static enum step look_and_act(struct deploy *d)
{
	struct kms_look look = { 0 };
	_cleanup_free_ char *trouble = NULL;
	_cleanup_close_ int lock = -1;
	enum step step;
	int r;

	if (!d->planned && !d->recorded)
		return none(d, &look);
	d->code = d->lock->take(d->lock->arg, &lock);
	if (d->code)
		return STEP_DONE;
	r = kms_look(d->root, d->s, d->recorded ? &d->record : NULL,
		     d->planned ? &d->plan.record : NULL, &look, &trouble);
	if (r < 0)
		return machine_trouble(d, r, "ask dstack-vmm");
	if (r > 0) {
		say(d, "waiting for dstack-vmm: %s", trouble);
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
		return machine_trouble(d, r, "read " KMS_CA);
	if (ca) {
		log_error("the KMS has no keys any more, although its CA is on record in " KMS_CA
			  "; not making new ones: nothing sealed with the old ones would open");
		return end(d, 1);
	}
	say(d, "making the KMS's keys");
	r = kms_bootstrap(d->record.host_port, d->record.domain, &trouble);
	if (r < 0)
		return machine_trouble(d, r, "reach the KMS");
	if (r > 0)
		say(d, "waiting for the KMS to make its keys: %s", trouble);
	else
		log_info("the KMS has made its keys");
	return STEP_AGAIN;
}

static enum step record_ca(struct deploy *d, const struct kms_view *view)
{
	_cleanup_close_ int lock = -1;
	int r;

	d->code = d->lock->take(d->lock->arg, &lock);
	if (d->code)
		return STEP_DONE;
	r = kms_ca_record(d->root, view->ca_pem);
	if (r == -EEXIST) {
		log_error("the KMS shows another CA than the one on record in " KMS_CA ", which "
			  "stays: it is not the KMS that guests of this host were sealed by");
		return end(d, 1);
	}
	if (r < 0)
		return machine_trouble(d, r, "write " KMS_CA);
	if (r != FILE_UNCHANGED)
		log_info("recorded its CA in " KMS_CA);
	say(d, "ready: %s", view->detail);
	log_info("the KMS is ready (%s)", view->detail);
	return end(d, 0);
}

static enum step ready(struct deploy *d, const struct kms_view *view)
{
	_cleanup_free_ char *wrong = kms_disobeys(view, d->s), *trouble = NULL;
	int r;

	if (wrong) {
		log_error("the KMS is not the one that was asked for: %s", wrong);
		return end(d, 1);
	}
	r = kms_check_certificate(d->record.host_port, d->record.domain, view->ca_pem, &trouble);
	if (r < 0)
		return machine_trouble(d, r, "reach the KMS");
	if (r > 0) {
		log_error("the KMS's certificate is not for %s, or not by its own CA: %s",
			  d->record.domain, trouble);
		return end(d, 1);
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
		return end(d, 1);
	}
	r = kms_view(d->record.host_port, &view);
	if (r < 0)
		return machine_trouble(d, r, "look at the KMS");
	if (view.phase == KMS_READY)
		return ready(d, &view);
	if (view.phase == KMS_ONBOARDING)
		return onboard(d);
	say(d, "waiting for the KMS: %s; virtual machine %s", view.detail, state);
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
