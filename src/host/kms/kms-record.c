// SPDX-License-Identifier: Apache-2.0
/* /var/lib/dstack/kms: the deployed KMS's compose, its sizes, its CA. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/compose.h"
#include "host/json.h"
#include "host/kms/kms.h"
#include "host/render/render.h"

#define SCHEMA "dstack-host.kms-deploy/1"
#define RECORD_MAX (64 << 10)

/* `*ok` is cleared when the member is not a string. */
static char *take_string(json_t *doc, const char *key, int *ok)
{
	const char *s = json_string_value(json_object_get(doc, key));

	if (!s)
		*ok = 0;
	return xstrdup(s ? s : "");
}

static unsigned take_uint(json_t *doc, const char *key, int *ok)
{
	json_t *v = json_object_get(doc, key);
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 0 || n > 0x7fffffff) {
		*ok = 0;
		return 0;
	}
	return (unsigned)n;
}

int kms_record_load(const struct root *root, struct kms_record *ret)
{
	_cleanup_free_ char *text = NULL, *schema = NULL;
	json_t *doc;
	size_t len;
	int ok = 1, r = file_read(root, KMS_RECORD, RECORD_MAX, &text, &len);

	*ret = (struct kms_record){ 0 };
	if (r < 0)
		return r == -ENOENT ? KMS_NO_RECORD : r;
	doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	schema = take_string(doc, "schema", &ok);
	*ret = (struct kms_record){
		.vm_id = take_string(doc, "vm_id", &ok),
		.name = take_string(doc, "name", &ok),
		.image = take_string(doc, "image", &ok),
		.compose_hash = take_string(doc, "compose_hash", &ok),
		.vcpu = take_uint(doc, "vcpu", &ok),
		.memory_mb = take_uint(doc, "memory_mb", &ok),
		.disk_gb = take_uint(doc, "disk_gb", &ok),
		.host_port = take_uint(doc, "host_port", &ok),
		.guest_port = take_uint(doc, "guest_port", &ok),
		.domain = take_string(doc, "domain", &ok),
	};
	json_decref(doc);
	if (ok && strcmp(schema, SCHEMA) == 0 && (!*ret->vm_id || vmm_is_id(ret->vm_id)))
		return 0;
	kms_record_free(ret);
	return -EBADMSG;
}

static int put(const struct root *root, const char *path, const char *text, mode_t mode)
{
	const struct file_spec spec = { text, strlen(text), mode, (uid_t)-1, (gid_t)-1 };
	int r = root_mkdirs(root, KMS_DIR, 0700);

	return r < 0 ? r : file_replace(root, path, &spec);
}

int kms_record_save(const struct root *root, const struct kms_record *record)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int r;

	json_write(&out, json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:s}",
				   "schema", SCHEMA, "vm_id", record->vm_id, "name", record->name,
				   "image", record->image, "compose_hash", record->compose_hash,
				   "vcpu", record->vcpu, "memory_mb", record->memory_mb,
				   "disk_gb", record->disk_gb, "host_port", record->host_port,
				   "guest_port", record->guest_port, "domain", record->domain));
	r = put(root, KMS_RECORD, out.data, 0600);
	return r < 0 ? r : 0;
}

void kms_record_free(struct kms_record *record)
{
	free(record->vm_id);
	free(record->name);
	free(record->image);
	free(record->compose_hash);
	free(record->domain);
	*record = (struct kms_record){ 0 };
}

static int build(const struct render_ctx *ctx,
		 int (*builder)(const struct render_ctx *ctx, struct strbuf *out,
				const char **why),
		 char **ret, const char **why)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int r = builder(ctx, &out, why);

	if (r == BUILD_OK)
		*ret = sb_steal(&out);
	return r == BUILD_OK ? 0 : r < 0 ? r : 1;
}

int kms_plan(const struct root *root, const struct settings *s, struct kms_plan *ret,
	     const char **why)
{
	const struct render_ctx ctx = { .root = root, .settings = s };
	struct kms_plan p = { 0 };
	char hash[SHA256_HEX + 1];
	int r = build(&ctx, build_kms_compose, &p.compose, why);

	if (r == 0)
		r = build(&ctx, build_kms_env, &p.env, why);
	if (r == 0)
		r = build(&ctx, build_kms_app_compose, &p.app_compose, why);
	if (r != 0) {
		kms_plan_free(&p);
		return r;
	}
	compose_hash(p.app_compose, hash);
	p.record = (struct kms_record){
		.vm_id = xstrdup(""),
		.name = xstrdup(setting(s, KEY_KMS_NAME)),
		.image = xasprintf("dstack-%s", setting(s, KEY_IMAGE_VERSION)),
		.compose_hash = xstrdup(hash),
		.vcpu = setting_uint(s, KEY_KMS_VCPU),
		.memory_mb = setting_uint(s, KEY_KMS_MEMORY_MB),
		.disk_gb = setting_uint(s, KEY_KMS_DISK_GB),
		.host_port = setting_uint(s, KEY_KMS_PORT),
		.guest_port = setting_uint(s, KEY_KMS_GUEST_PORT),
		.domain = xasprintf("kms.%s", setting(s, KEY_DOMAIN)),
	};
	*ret = p;
	return 0;
}

int kms_plan_freeze(const struct root *root, const struct kms_plan *plan)
{
	const struct {
		const char *path, *text;
	} files[] = {
		{ KMS_DIR "/docker-compose.yaml", plan->compose },
		{ KMS_DIR "/auth-eth.env", plan->env },
		{ KMS_DIR "/app-compose.json", plan->app_compose },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int r = put(root, files[i].path, files[i].text, 0600);

		if (r < 0)
			return r;
	}
	return kms_record_save(root, &plan->record);
}

void kms_plan_free(struct kms_plan *plan)
{
	kms_record_free(&plan->record);
	free(plan->compose);
	free(plan->env);
	free(plan->app_compose);
	*plan = (struct kms_plan){ 0 };
}

unsigned kms_port(const struct root *root, const struct settings *s)
{
	_cleanup_(kms_record_free) struct kms_record record = { 0 };

	return kms_record_load(root, &record) == 0 ? record.host_port :
						     setting_uint(s, KEY_KMS_PORT);
}

int kms_ca_load(const struct root *root, char **ret)
{
	int r;

	*ret = NULL;
	r = file_read(root, KMS_CA, RECORD_MAX, ret, NULL);
	return r == -ENOENT ? 0 : r;
}

int kms_ca_record(const struct root *root, const char *pem)
{
	_cleanup_free_ char *old = NULL;
	int r = kms_ca_load(root, &old);

	if (r < 0)
		return r;
	if (old)
		return strcmp(old, pem) == 0 ? FILE_UNCHANGED : -EEXIST;
	return put(root, KMS_CA, pem, 0644);
}
