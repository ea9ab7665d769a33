// SPDX-License-Identifier: Apache-2.0
/* Making the KMS's virtual machine: after every check, frozen first, and at most once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/sock.h"
#include "host/compose.h"
#include "host/kms/kms-steps.h"
#include "host/render/vmm-toml.h"

static int image_is_there(struct deploy *d)
{
	const char *dir = setting(d->s, KEY_IMAGE_DIR), *image = d->plan.record.image;
	_cleanup_free_ char *path = xasprintf("%s/%s/metadata.json", dir, image);
	_cleanup_free_ char *trouble = NULL;
	struct peer_answer answer = { 0 };
	int there = 0, r;

	if (!root_exists(d->root, path)) {
		log_error("guest image %s is not in %s; sudo dstack-host status tells how to put it "
			  "there", image, dir);
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

	if (r < 0) {
		log_error("cannot read " KMS_CA ": %s", strerror(-r));
		return 0;
	}
	if (ca) {
		log_error("a KMS was deployed here (" KMS_CA ") and its virtual machine is gone; "
			  "another one would have other keys. Restore it, or move " KMS_DIR
			  " away to start over");
		return 0;
	}
	if (look->hidden) {
		_cleanup_free_ char *dir = vmm_dir(d->root, d->s);

		log_error("%s/%s holds a virtual machine named %s which dstack-vmm does not show "
			  "(journalctl -u dstack-vmm tells why); not making another",
			  dir, look->hidden, d->plan.record.name);
		return 0;
	}
	return port_is_free(d, look) && image_is_there(d);
}

/* What the VMM said to CreateVm. */
static enum step created(struct deploy *d, const struct peer_answer *a)
{
	_cleanup_free_ char *trouble = vmm_trouble(a);
	const char *id = peer_get(a, "id");
	_cleanup_close_ int lock = -1;
	enum step step;
	int r;

	if (a->error == PEER_OK && trouble) {
		log_error("dstack-vmm refuses to create the KMS: %s", trouble);
		return deploy_end(d, KMS_FAILED);
	}
	if (trouble || !id || !vmm_is_id(id)) {
		/* It may have been made all the same. Never twice: look for it. */
		log_warning("no answer to the creation of the KMS (%s); looking for it",
			    trouble ? trouble : "no id");
		d->lost = KMS_LOST_TICKS;
		return STEP_AGAIN;
	}
	log_info("created the KMS as virtual machine %s", id);
	/* Not recorded, it is found again by its compose. */
	step = deploy_lock(d, &lock);
	if (step != STEP_FOLLOW)
		return step;
	deploy_set(&d->record.vm_id, id);
	r = kms_record_save(d->root, &d->record);
	if (r < 0)
		return deploy_trouble(d, r, "write " KMS_RECORD);
	return STEP_FOLLOW;
}

/* On disk before the VMM is asked. */
static enum step freeze(struct deploy *d)
{
	_cleanup_close_ int lock = -1;
	enum step step = deploy_lock(d, &lock);
	int r;

	if (step != STEP_FOLLOW)
		return step;
	r = kms_plan_freeze(d->root, &d->plan);
	if (r == 0)
		r = deploy_reload(d);
	if (r != 0)
		return deploy_trouble(d, r < 0 ? r : -EBADMSG, "write " KMS_RECORD);
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

	if (r < 0)
		return deploy_trouble(d, r, "ask for the KMS");
	step = freeze(d);
	if (step != STEP_FOLLOW)
		return step;
	deploy_say(d, "creating the virtual machine");
	r = vmm_ask(d->root, VMM_CREATE_VM, body, &answer);
	if (r < 0) {
		/* Not sent. */
		deploy_say(d, "waiting for dstack-vmm: %s", strerror(-r));
		return STEP_AGAIN;
	}
	step = created(d, &answer);
	peer_answers_free(&answer, 1);
	return step;
}

enum step deploy_none(struct deploy *d, const struct kms_look *look)
{
	if (d->lost) {
		if (--d->lost) {
			deploy_say(d, "looking for the virtual machine");
			return STEP_AGAIN;
		}
		log_error("dstack-vmm has not made the KMS; journalctl -u dstack-vmm, then "
			  "sudo systemctl restart dstack-kms");
		return deploy_end(d, KMS_FAILED);
	}
	if (!d->planned) {
		deploy_say(d, "waiting for the setting %s", d->why);
		log_info("the KMS waits for the setting %s", d->why);
		return deploy_end(d, 0);
	}
	return may_create(d, look) ? create(d) : deploy_end(d, KMS_FAILED);
}
