// SPDX-License-Identifier: Apache-2.0
/* Which of the VMM's machines is the KMS, and which only look like it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/kms/kms.h"
#include "host/render/vmm-toml.h"
#include "host/vmm/vmdir.h"

static int is_shown(const struct kms_look *look, const char *id)
{
	for (size_t i = 0; i < look->n; i++)
		if (strcmp(look->vms[i].id, id) == 0)
			return 1;
	return 0;
}

/* Ids of the directories below VM_DIR which are not in the VMM's list, the caller's. */
static size_t list_hidden(const struct root *root, const char *vm_dir,
			  const struct kms_look *look, char ***ret)
{
	_cleanup_closedir_ DIR *dir = root_opendir(root, vm_dir);
	const struct dirent *e;
	size_t n = 0;

	*ret = NULL;
	while (dir && (e = readdir(dir))) {
		if (!vmm_is_id(e->d_name) || is_shown(look, e->d_name))
			continue;
		*ret = xrealloc(*ret, (n + 1) * sizeof(**ret));
		(*ret)[n++] = xstrdup(e->d_name);
	}
	return n;
}

/* One of those with that name: the VMM could not load it, or has not been told of it. */
static char *find_hidden(const struct root *root, const char *vm_dir, const char *name,
			 const struct kms_look *look)
{
	_cleanup_free_ char **ids = NULL;
	size_t n = list_hidden(root, vm_dir, look, &ids);
	_cleanup_free_ char **names = xcalloc(n + 1, sizeof(*names));
	char *found = NULL;

	vmdir_names(root, vm_dir, (const char *const *)ids, n, names);
	for (size_t i = 0; i < n; i++) {
		if (!found && names[i] && strcmp(names[i], name) == 0)
			found = steal_ptr(ids[i]);
		free(ids[i]);
		free(names[i]);
	}
	return found;
}

/*
 * What is left in the VMM's memory when starting a new VM failed: its directory is gone, it
 * can never be started. Only where no VM was ever confirmed: an operator's vmm.toml may keep
 * the directories somewhere else.
 */
static int is_ghost(const struct root *root, const char *vm_dir,
		    const struct kms_record *record, const struct vmm_vm *vm)
{
	_cleanup_free_ char *dir = xasprintf("%s/%s", vm_dir, vm->id);

	return record && !*record->vm_id && strcmp(vm->status, KMS_STOPPED) == 0 &&
	       strcmp(vm->uptime, "never") == 0 && vmm_is_id(vm->id) &&
	       root_exists(root, vm_dir) && !root_exists(root, dir);
}

static int is_ours(const struct kms_record *record, const struct kms_record *plan,
		   const struct vmm_vm *vm)
{
	if (record && *record->vm_id)
		return strcmp(record->vm_id, vm->id) == 0;
	if (record && strcmp(record->compose_hash, vm->compose_hash) == 0)
		return 1;
	return plan && strcmp(plan->compose_hash, vm->compose_hash) == 0;
}

/* "tcp:127.0.0.1:9103:9100 udp:…" */
static int maps_port(const struct vmm_vm *vm, unsigned port)
{
	char want[16];
	const char *p;

	snprintf(want, sizeof(want), ":%u:", port);
	for (p = vm->ports; (p = strstr(p, want)); p++) {
		const char *word = p;

		while (word > vm->ports && word[-1] != ' ')
			word--;
		/* The host port is the last but one: no colon may come after the guest's. */
		if (strncmp(word, "tcp:", 4) == 0 &&
		    strcspn(p + strlen(want), ":") >= strcspn(p + strlen(want), " "))
			return 1;
	}
	return 0;
}

void kms_look_judge(const struct root *root, const char *vm_dir,
		    const struct kms_record *record, const struct kms_record *plan,
		    struct kms_look *look)
{
	const char *name = record ? record->name : plan->name;
	size_t ours = 0, same_name = 0;

	for (size_t i = 0; i < look->n; i++) {
		const struct vmm_vm *vm = &look->vms[i];

		if (is_ghost(root, vm_dir, record, vm))
			continue;
		if (is_ours(record, plan, vm) &&
		    ((record && *record->vm_id) || strcmp(vm->name, name) == 0)) {
			ours++;
			look->vm = vm;
			continue;
		}
		if (strcmp(vm->name, name) == 0) {
			same_name++;
			if (!ours)
				look->vm = vm;
		}
		if (plan && maps_port(vm, plan->host_port))
			look->port_user = vm;
	}
	look->hidden = find_hidden(root, vm_dir, name, look);
	if (ours > 1 || (!ours && same_name > 1))
		look->what = KMS_VM_SEVERAL;
	else if (ours)
		look->what = KMS_VM_OURS;
	else if (record && *record->vm_id)
		look->what = KMS_VM_GONE;
	else if (same_name)
		look->what = KMS_VM_FOREIGN;
	else
		look->what = KMS_VM_NONE;
	if (look->what != KMS_VM_OURS && look->what != KMS_VM_FOREIGN)
		look->vm = NULL;
}

static char *why_not(int r)
{
	if (r == -ENOENT || r == -ECONNREFUSED)
		return xstrdup("nobody listens at " VMM_SOCKET);
	return xasprintf("%s: %s", VMM_SOCKET, strerror(-r));
}

int kms_look(const struct root *root, const struct settings *s,
	     const struct kms_record *record, const struct kms_record *plan,
	     struct kms_look *ret, char **trouble)
{
	_cleanup_free_ char *body = vmm_body_status(NULL, 0), *dir = NULL;
	_cleanup_(vmm_call_free) struct vmm_call call = { .request.fd = -1 };
	struct peer_answer answer = { 0 };
	int r = vmm_prepare(root, VMM_STATUS, body, &call);

	*ret = (struct kms_look){ 0 };
	*trouble = NULL;
	if (r == -EACCES || r == -EPERM)
		return r;
	if (r < 0) {
		*trouble = why_not(r);
		return 1;
	}
	r = peer_ask(&call.request, 1, &answer);
	if (r < 0)
		return r;
	*trouble = vmm_trouble(&answer);
	if (!*trouble && vmm_list(&answer, &ret->vms, &ret->n) < 0)
		*trouble = xstrdup("its list of virtual machines makes no sense");
	peer_answers_free(&answer, 1);
	if (*trouble)
		return 1;
	dir = vmm_dir(root, s);
	kms_look_judge(root, dir, record, plan, ret);
	return 0;
}

void kms_look_free(struct kms_look *look)
{
	vmm_list_free(look->vms, look->n);
	free(look->hidden);
	*look = (struct kms_look){ 0 };
}
