// SPDX-License-Identifier: Apache-2.0
/* What `kms status` shows: the record, the VMM's word, and the KMS's own. */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/json.h"
#include "host/kms/kms-view.h"
#include "host/kms/kms.h"

static void add(struct kms_status *st, const char *key, const char *value)
{
	if (!value)
		return;
	st->rows = xrealloc(st->rows, (st->n + 1) * sizeof(*st->rows));
	st->rows[st->n++] = (struct kms_row){ key, xstrdup(value) };
}

static void addf(struct kms_status *st, const char *key, const char *fmt, ...) _printf_(3, 4);

static void addf(struct kms_status *st, const char *key, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	add(st, key, text);
}

static void add_vm(struct kms_status *st, const struct kms_look *look)
{
	static const char *const words[] = {
		[KMS_VM_NONE] = "none", [KMS_VM_OURS] = "", [KMS_VM_FOREIGN] = "another compose",
		[KMS_VM_SEVERAL] = "several of that name", [KMS_VM_GONE] = "not shown by dstack-vmm",
	};

	if (!look->vm) {
		add(st, "vm", words[look->what]);
		return;
	}
	addf(st, "vm", "%s%s%s", look->vm->id, look->what == KMS_VM_OURS ? "" : " ",
	     words[look->what]);
	add(st, "vm_status", look->vm->status);
	add(st, "boot", *look->vm->boot_error ? look->vm->boot_error : look->vm->boot_progress);
	add(st, "uptime", look->vm->uptime);
	if (look->what == KMS_VM_OURS && strcmp(look->vm->status, KMS_STOPPED) == 0)
		add(st, "start_with", KMS_START);
}

static void add_record(struct kms_status *st, const struct kms_record *rec,
		       const struct kms_record *plan)
{
	add(st, "name", rec->name);
	add(st, "domain", rec->domain);
	add(st, "image", rec->image);
	addf(st, "size", "%u CPUs, %u MiB, %u GiB", rec->vcpu, rec->memory_mb, rec->disk_gb);
	addf(st, "port", "127.0.0.1:%u", rec->host_port);
	add(st, "compose_hash", rec->compose_hash);
	if (plan)
		add(st, "settings", strcmp(plan->compose_hash, rec->compose_hash) == 0 ?
					    "as deployed" :
					    "changed since, which changes nothing here");
}

static int add_kms(struct kms_status *st, const struct root *root, const struct settings *s,
		   const struct kms_record *rec)
{
	static const char *const phases[] = {
		[KMS_SILENT] = "waiting", [KMS_ONBOARDING] = "onboarding", [KMS_READY] = "ready",
		[KMS_TROUBLED] = "failed",
	};
	_cleanup_(kms_view_free) struct kms_view view = { 0 };
	_cleanup_free_ char *wrong = NULL;
	int r = kms_view(rec->host_port, &view);

	if (r == 0 && view.phase == KMS_READY) {
		r = kms_verdict(root, s, &view, &wrong);
		st->ready = r == 0;
	}
	if (r < 0)
		return r;
	st->state = wrong ? "failed" : phases[view.phase];
	add(st, "detail", wrong ? wrong : view.detail);
	add(st, "contract", view.contract);
	add(st, "chain", view.chain);
	add(st, "app_auth", view.app_auth);
	add(st, "ca", root_exists(root, KMS_CA) ? KMS_CA : "not recorded");
	return 0;
}

static int collect(struct kms_status *st, const struct root *root, const struct settings *s,
		   const struct kms_record *rec, const struct kms_record *plan)
{
	_cleanup_(kms_look_free) struct kms_look look = { 0 };
	_cleanup_free_ char *trouble = NULL;
	int r;

	add_record(st, rec ? rec : plan, rec ? plan : NULL);
	r = kms_look(root, s, rec, plan, &look, &trouble);
	if (r < 0)
		return r;
	if (r > 0)
		addf(st, "vm", "unknown (%s)", trouble);
	else
		add_vm(st, &look);
	if (rec)
		return add_kms(st, root, s, rec);
	st->state = "not deployed";
	return 0;
}

int kms_status(const struct root *root, const struct settings *s, struct kms_status *ret)
{
	_cleanup_(kms_plan_free) struct kms_plan plan = { 0 };
	_cleanup_(kms_record_free) struct kms_record rec = { 0 };
	const char *why = NULL;
	int planned = kms_plan(root, s, &plan, &why), recorded;

	*ret = (struct kms_status){ .state = "waiting" };
	if (planned < 0)
		return planned;
	recorded = kms_record_load(root, &rec);
	if (recorded < 0)
		return recorded;
	if (planned > 0)
		addf(ret, "waits_for", "setting %s", why);
	if (planned > 0 && recorded > 0)
		return 0;
	return collect(ret, root, s, recorded == 0 ? &rec : NULL,
		       planned == 0 ? &plan.record : NULL);
}

void kms_status_text(const struct kms_status *st, struct strbuf *out)
{
	sb_addf(out, "%-13s %s\n", "state", st->state);
	for (size_t i = 0; i < st->n; i++)
		sb_addf(out, "%-13s %s\n", st->rows[i].key, st->rows[i].value);
}

void kms_status_json(const struct kms_status *st, struct strbuf *out)
{
	json_t *doc = json_pack("{s:s, s:s, s:b}", "schema", "dstack-host.kms/1", "state",
				st->state, "ready", st->ready);

	for (size_t i = 0; i < st->n; i++)
		if (json_object_set_new(doc, st->rows[i].key, json_string(st->rows[i].value)) < 0)
			out_of_memory();
	json_write(out, doc);
}

void kms_status_free(struct kms_status *st)
{
	for (size_t i = 0; i < st->n; i++)
		free(st->rows[i].value);
	free(st->rows);
	*st = (struct kms_status){ 0 };
}
