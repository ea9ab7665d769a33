// SPDX-License-Identifier: Apache-2.0
/* Judges of what the components answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/kms/kms-view.h"
#include "host/kms/kms.h"
#include "host/part/parts.h"
#include "host/render/vmm-toml.h"
#include "host/vmm/vmm.h"

static enum part_state silent(struct finding *f, char *trouble)
{
	free(f->detail);
	f->detail = trouble;
	return f->state = PART_SILENT;
}

static enum part_state simple(const struct part_view *v, enum probe_id id, long status,
			      struct finding *f, const char *text)
{
	char *trouble;

	if (!probe_answered(&v->probe[id], status, &trouble))
		return silent(f, trouble);
	return finding_set(f, PART_OK, "%s", text);
}

enum part_state judge_docker(const struct part_view *v, struct finding *f)
{
	return simple(v, PROBE_DOCKER, 200, f, "answers");
}

/* Any HTTP answer over TLS: what was asked for is a path that no PCCS has. */
enum part_state judge_pccs(const struct part_view *v, struct finding *f)
{
	return simple(v, PROBE_PCCS, 0, f, "answers over TLS");
}

enum part_state judge_qgs(const struct part_view *v, struct finding *f)
{
	return simple(v, PROBE_QGS, 0, f, "answers");
}

enum part_state judge_key_provider(const struct part_view *v, struct finding *f)
{
	return simple(v, PROBE_KEY_PROVIDER, 0, f, "answers");
}

static enum part_state judge_container(const struct part_view *v, const char *name,
				       struct finding *f)
{
	const struct probe_result *result = &v->probe[PROBE_CONTAINERS];
	const struct peer_answer *a = &result->answer;
	size_t len = strlen(name);
	char *trouble;

	if (!probe_answered(result, 200, &trouble))
		return silent(f, trouble);
	for (size_t i = 0; i < a->n_facts; i++) {
		const char *value = a->facts[i].value;

		if (strcmp(a->facts[i].key, "container") != 0 ||
		    strncmp(value, name, len) != 0 || value[len] != ' ')
			continue;
		value += len + 1;
		if (strncmp(value, "running ", 8) == 0 && !strstr(value, "(unhealthy)"))
			return finding_set(f, PART_OK, "%s", value + 8);
		if (strncmp(value, "restarting ", 11) == 0) {
			finding_fix(f, "sudo docker logs --tail 50 %s", name);
			return finding_set(f, PART_FAILED, "its container ends again and again: %s",
					   value + 11);
		}
		return silent(f, xasprintf("container is %s", value));
	}
	return silent(f, xstrdup("there is no such container"));
}

enum part_state judge_aesmd(const struct part_view *v, struct finding *f)
{
	return judge_container(v, CONTAINER_AESMD, f);
}

enum part_state judge_sealing(const struct part_view *v, struct finding *f)
{
	return judge_container(v, CONTAINER_KEY_PROVIDER, f);
}

enum part_state judge_vmm(const struct part_view *v, struct finding *f)
{
	return simple(v, PROBE_VMM, 200, f, "answers Status");
}

/* The front's own refusal is the proof; an answer without a token is an open door. */
enum part_state judge_front(const struct part_view *v, struct finding *f)
{
	const struct probe_result *result = &v->probe[PROBE_FRONT];
	char *trouble;

	if (!probe_answered(result, 0, &trouble))
		return silent(f, trouble);
	if (result->answer.status == 401)
		return finding_set(f, PART_OK, "asks for a token");
	if (result->answer.status / 100 != 2)
		return silent(f, xasprintf("HTTP %ld", result->answer.status));
	finding_fix(f, "sudo ss -tlnp");
	return finding_set(f, PART_FAILED, "what answers at %s wants no token",
			   setting(v->settings, KEY_VMM_ADDRESS));
}

enum part_state judge_registry(const struct part_view *v, struct finding *f)
{
	return simple(v, PROBE_REGISTRY, 200, f, setting(v->settings, KEY_REGISTRY));
}

struct machines {
	struct vmm_vm *vms;
	size_t n;
};

static void machines_free(struct machines *m)
{
	vmm_list_free(m->vms, m->n);
}

/* The machine of the KMS: by the id on record, by its name where that may not be read. */
static const struct vmm_vm *kms_machine(const struct part_view *v, const struct machines *m)
{
	_cleanup_(kms_record_free) struct kms_record rec = { 0 };
	int r = kms_record_load(v->root, &rec), by_id = r == 0 && *rec.vm_id;

	if (!by_id && r != -EACCES && r != -EPERM)
		return NULL;
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(by_id ? m->vms[i].id : m->vms[i].name,
			   by_id ? rec.vm_id : setting(v->settings, KEY_KMS_NAME)) == 0)
			return &m->vms[i];
	return NULL;
}

/* What the VMM calls a machine that cannot answer because it does not run, the caller's; NULL
 * when it runs or nobody knows. */
static char *kms_machine_state(const struct part_view *v)
{
	const struct probe_result *status = &v->probe[PROBE_VMM];
	_cleanup_(machines_free) struct machines m = { 0 };
	_cleanup_free_ char *trouble = NULL;
	const struct vmm_vm *vm;

	if (!probe_answered(status, 200, &trouble) ||
	    vmm_list(&status->answer, &m.vms, &m.n) < 0)
		return NULL;
	vm = kms_machine(v, &m);
	return vm && strcmp(vm->status, "running") != 0 ? xstrdup(vm->status) : NULL;
}

static int unit_is_at_work(const struct part_view *v, const char *id)
{
	const struct unit_state *u = v->unit ? &v->unit[part_find(id)] : NULL;

	return u && v->units_error == 0 && u->active && strcmp(u->active, "activating") == 0;
}

static enum part_state kms_does_not_answer(const struct part_view *v, struct finding *f,
					   char *trouble)
{
	_cleanup_free_ char *state = kms_machine_state(v);

	if (!state)
		return silent(f, trouble);
	free(trouble);
	if (strcmp(state, KMS_STOPPED) != 0 || unit_is_at_work(v, "kms"))
		return silent(f, xasprintf("its CVM is %.32s", state));
	/* That one starts it and never makes another: see kms-deploy.c. */
	finding_fix(f, KMS_START);
	return finding_set(f, PART_FAILED, "its CVM is stopped");
}

/* As `kms status` judges it. */
enum part_state judge_kms(const struct part_view *v, struct finding *f)
{
	_cleanup_(kms_view_free) struct kms_view view = { 0 };
	const struct probe_result *meta = &v->probe[PROBE_KMS];
	_cleanup_free_ char *wrong = NULL;
	char *trouble;
	int r;

	if (meta->error < 0 && !probe_answered(meta, 0, &trouble))
		return kms_does_not_answer(v, f, trouble);
	kms_view_of(&meta->answer, &v->probe[PROBE_KMS_PAGE].answer, &view);
	if (view.phase == KMS_SILENT)
		return kms_does_not_answer(v, f, steal_ptr(view.detail));
	if (view.phase != KMS_READY)
		return silent(f, steal_ptr(view.detail));
	r = kms_verdict(v->root, v->settings, &view, &wrong);
	if (r == 0)
		return finding_set(f, PART_OK, "%s", view.detail);
	if (r == -EACCES || r == -EPERM)
		return finding_set(f, PART_UNKNOWN, "needs root to be compared with its CA");
	if (r == KMS_UNVERIFIED)
		return silent(f, xstrdup("its CA is not on record yet"));
	finding_fix(f, "sudo dstack-host kms status");
	if (r < 0)
		return finding_set(f, PART_FAILED, KMS_CA ": %s", strerror(-r));
	return finding_set(f, PART_FAILED, "%s", wrong);
}

/* --- virtual machines and their supervisor --- */

/* Is there no supervisor at all, rather than one that did not answer in time? */
static int supervisor_is_gone(const struct probe_result *result)
{
	return result->asked && (result->error == -ENOENT || result->error == -ECONNREFUSED);
}

/* PID of one that the supervisor runs? value: "PID KIND ID NAME". */
static int is_supervised(const struct peer_answer *list, pid_t pid)
{
	for (size_t i = 0; i < list->n_facts; i++)
		if (strcmp(list->facts[i].key, "process") == 0 &&
		    strtol(list->facts[i].value, NULL, 10) == pid)
			return 1;
	return 0;
}

static const struct vm_process *by_pid(const struct vm_processes *all, pid_t pid)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->items[i].pid == pid)
			return &all->items[i];
	return NULL;
}

/* Neither it nor one of its ancestors in the machine's directory is the supervisor's. */
static int is_orphan(const struct part_view *v, const struct peer_answer *list,
		     const struct vm_process *p)
{
	const struct vm_process *at = p;

	for (unsigned depth = 0; at && depth < 64; depth++) {
		if (is_supervised(list, at->pid) || is_supervised(list, at->parent))
			return 0;
		at = by_pid(&v->processes, at->parent);
	}
	return vm_process_lives(v->root, p);
}

/* "NAME (pid 12), ..."; nothing when there is none. */
static char *orphans(const struct part_view *v, const struct peer_answer *list)
{
	size_t n_all = v->processes.n, n = 0;
	_cleanup_free_ const struct vm_process **who = xcalloc(n_all + 1, sizeof(*who));
	_cleanup_free_ const char **ids = xcalloc(n_all + 1, sizeof(*ids));
	_cleanup_free_ char **names = xcalloc(n_all + 1, sizeof(*names)), *dir = NULL;
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	for (size_t i = 0; i < n_all; i++) {
		const struct vm_process *p = &v->processes.items[i];

		/* One that another orphan has started goes with it. */
		if (by_pid(&v->processes, p->parent) || !is_orphan(v, list, p))
			continue;
		ids[n] = p->id;
		who[n++] = p;
	}
	dir = vmm_dir(v->root, v->settings);
	vmdir_names(v->root, dir, ids, n, names);
	for (size_t i = 0; i < n; i++) {
		sb_addf(&sb, "%s%s (pid %d)", i ? ", " : "", names[i] ? names[i] : ids[i],
			who[i]->pid);
		free(names[i]);
	}
	return sb.len ? sb_steal(&sb) : NULL;
}

static enum part_state name_orphans(struct finding *f, const char *names)
{
	finding_fix(f, "sudo dstack-host drain");
	return finding_set(f, PART_FAILED, "without their supervisor: %s", names);
}

enum part_state judge_supervisor(const struct part_view *v, struct finding *f)
{
	const struct probe_result *result = &v->probe[PROBE_SUPERVISOR];
	static const struct peer_answer nobody;
	_cleanup_free_ char *names = NULL;
	char *trouble;

	if (probe_answered(result, 200, &trouble))
		return finding_set(f, PART_OK, "answers");
	names = supervisor_is_gone(result) ? orphans(v, &nobody) : NULL;
	if (!names)
		return silent(f, trouble);
	free(trouble);
	return name_orphans(f, names);
}

/* The third word and what follows of "PID KIND ID NAME"; *id_len is the id's. */
static const char *id_of(const char *value, const char **kind, size_t *id_len)
{
	const char *p = strchr(value, ' ');

	*kind = p ? p + 1 : "";
	p = p ? strchr(p + 1, ' ') : NULL;
	*id_len = p ? strcspn(p + 1, " ") : 0;
	return p ? p + 1 : "";
}

static int vmm_knows(const struct machines *m, const char *id, size_t len)
{
	for (size_t i = 0; i < m->n; i++)
		if (strlen(m->vms[i].id) == len && memcmp(m->vms[i].id, id, len) == 0)
			return 1;
	return 0;
}

/* Machines that run and that the VMM neither shows nor stops: what it cannot load. */
static char *unknown_to_vmm(const struct peer_answer *list, const struct machines *m)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	for (size_t i = 0; i < list->n_facts; i++) {
		const char *kind, *id;
		size_t len;

		if (strcmp(list->facts[i].key, "process") != 0)
			continue;
		id = id_of(list->facts[i].value, &kind, &len);
		if (strncmp(kind, "cvm ", 4) == 0 && !vmm_knows(m, id, len))
			sb_addf(&sb, "%s%s", sb.len ? ", " : "",
				id[len] == ' ' && id[len + 1] ? id + len + 1 : id);
	}
	return sb.len ? sb_steal(&sb) : NULL;
}

static enum part_state count_machines(const struct machines *m, struct finding *f)
{
	size_t running = 0;

	for (size_t i = 0; i < m->n; i++)
		running += strcmp(m->vms[i].status, "running") == 0;
	if (!m->n)
		return finding_set(f, PART_OK, "none");
	return finding_set(f, PART_OK, "%zu running, %zu not", running, m->n - running);
}

enum part_state judge_cvms(const struct part_view *v, struct finding *f)
{
	const struct probe_result *list = &v->probe[PROBE_PROCESSES];
	const struct probe_result *status = &v->probe[PROBE_VMM];
	_cleanup_(machines_free) struct machines machines = { 0 };
	_cleanup_free_ char *names = NULL, *unknown = NULL;
	char *trouble;

	if (!probe_answered(list, 200, &trouble)) {
		if (!supervisor_is_gone(list))
			return silent(f, trouble);
		names = orphans(v, &list->answer);
		if (!names)
			return silent(f, trouble);
		free(trouble);
		return name_orphans(f, names);
	}
	names = orphans(v, &list->answer);
	if (names)
		return name_orphans(f, names);
	if (!probe_answered(status, 200, &trouble))
		return silent(f, trouble);
	if (vmm_list(&status->answer, &machines.vms, &machines.n) < 0)
		return silent(f, xstrdup("the VMM's list makes no sense"));
	unknown = unknown_to_vmm(&list->answer, &machines);
	if (!unknown)
		return count_machines(&machines, f);
	finding_fix(f, "sudo journalctl -b -e -u dstack-vmm.service");
	return finding_set(f, PART_FAILED, "the VMM does not know what runs: %s", unknown);
}
