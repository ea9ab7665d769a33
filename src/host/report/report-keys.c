// SPDX-License-Identifier: Apache-2.0
/* Report: key provider, registry, KMS, contracts. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/peer/cert-facts.h"
#include "host/json.h"
#include "host/kms/kms.h"
#include "host/report/report.h"
#include "host/conf/shown.h"

#define QCNL "/run/dstack/qcnl/sgx_default_qcnl.conf"
#define KEY_PROVIDER_DIR "/run/dstack/key-provider"
#define FRONT_PEM "/run/dstack/front/registry.pem"

static json_t *compose(const struct report_source *src, const char *dir)
{
	_cleanup_free_ char *path = xasprintf("%s/docker-compose.yaml", dir);
	_cleanup_free_ char *text = report_file(src, path);
	json_t *obj = json_object();

	report_set(obj, "file", report_text(path));
	report_set(obj, "text", report_text(text));
	return obj;
}

static json_t *qcnl(const struct report_source *src)
{
	_cleanup_free_ char *text = report_file(src, QCNL);
	json_t *obj = json_object(), *values = text ? json_loads(text, 0, NULL) : NULL;

	report_set(obj, "file", json_string(QCNL));
	report_set(obj, "mounted_as", json_string("/etc/sgx_default_qcnl.conf"));
	report_set(obj, "values", values ? values : json_null());
	report_set(obj, "text", report_text(text));
	return obj;
}

json_t *report_key_provider(const struct report_source *src)
{
	json_t *obj = json_object();

	report_set(obj, "directory", json_string(KEY_PROVIDER_DIR));
	report_set(obj, "address",
		   report_text(setting(report_settings(src), KEY_KEY_PROVIDER_ADDRESS)));
	report_set(obj, "compose", compose(src, KEY_PROVIDER_DIR));
	report_set(obj, "qcnl", qcnl(src));
	return obj;
}

static json_t *registry_certificate(const struct report_source *src)
{
	struct cert_facts cert;
	json_t *obj = json_object();
	char date[16] = "";
	time_t until;
	struct tm tm;

	/* As it is served. */
	cert_facts_of(&src->view->parts.probe[PROBE_REGISTRY_WRITE].answer, &cert);
	until = (time_t)cert.until;
	report_set(obj, "installed", json_string(FRONT_PEM));
	report_set(obj, "issuer", report_text(cert.issuer));
	if (until && gmtime_r(&until, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	report_set(obj, "not_after", *date ? report_text(date) : json_null());
	return obj;
}

json_t *report_registry(const struct report_source *src)
{
	const struct settings *s = report_settings(src);
	json_t *obj = json_object();

	report_set(obj, "on", json_boolean(settings_registry_on(s)));
	report_set(obj, "name", settings_registry_on(s) ? report_text(setting(s, KEY_REGISTRY)) :
							  json_null());
	report_set(obj, "listen", report_text(setting(s, KEY_REGISTRY_LISTEN)));
	report_set(obj, "unit", json_string("dstack-registry.service"));
	report_set(obj, "storage", json_string("/var/lib/dstack/registry"));
	report_set(obj, "certificate", registry_certificate(src));
	return obj;
}

/* What is deployed, or NULL values of the record: what would be. */
static json_t *deployment(const struct report_source *src, const struct kms_record *rec)
{
	json_t *obj = json_object();

	report_set(obj, "deployed", json_boolean(rec != NULL));
	if (!rec)
		return obj;
	report_set(obj, "vm_id", *rec->vm_id ? report_text(rec->vm_id) : json_null());
	report_set(obj, "image", report_text(rec->image));
	report_set(obj, "vcpu", json_integer(rec->vcpu));
	report_set(obj, "memory_mb", json_integer(rec->memory_mb));
	report_set(obj, "disk_gb", json_integer(rec->disk_gb));
	report_set(obj, "port",
		   report_textf("tcp:127.0.0.1:%u:%u", rec->host_port, rec->guest_port));
	/* Always so, and measured: render-kms.c. */
	report_set(obj, "local_key_provider", json_true());
	report_set(obj, "secure_time", json_false());
	report_set(obj, "vmm_url",
		   report_textf("http://%s", setting(report_settings(src), KEY_VMM_ADDRESS)));
	return obj;
}

static json_t *auth_env(const struct report_source *src, const char *dir)
{
	_cleanup_free_ char *path = xasprintf("%s/auth-eth.env", dir);
	_cleanup_free_ char *text = report_file(src, path);
	json_t *obj = json_object(), *values = json_object();

	report_set(obj, "path", report_text(path));
	for (const char *p = text; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		size_t n = strcspn(p, "=\n");
		_cleanup_free_ char *name = xstrndup(p, n);
		_cleanup_free_ char *value = NULL;

		if (p[n] != '=' || *p == '#')
			continue;
		value = xstrndup(p + n + 1, strcspn(p + n + 1, "\n"));
		report_set(values, name, report_text(value));
	}
	report_set(obj, "values", values);
	return obj;
}

static json_t *kms_image(const struct settings *s)
{
	json_t *obj = json_object();

	report_set(obj, "reference", setting_is_set(s, KEY_KMS_IMAGE) ?
					     report_text(setting(s, KEY_KMS_IMAGE)) :
					     json_null());
	report_set(obj, "layout", report_text(setting(s, KEY_KMS_LAYOUT)));
	return obj;
}

static void fill_kms(const struct report_source *src, const struct kms_record *rec, json_t *obj)
{
	const struct settings *s = report_settings(src);
	const char *dir = rec ? KMS_DIR : "/run/dstack/kms";
	const struct finding *f = &src->view->findings[part_find("kms")];

	report_set(obj, "name", report_text(rec ? rec->name : setting(s, KEY_KMS_NAME)));
	report_set(obj, "directory", report_text(dir));
	report_set(obj, "domain", rec ? report_text(rec->domain) :
			  setting_is_set(s, KEY_DOMAIN) ?
			  report_textf("kms.%s", setting(s, KEY_DOMAIN)) : json_null());
	report_set(obj, "state", report_text(part_state_name(f->state)));
	report_set(obj, "image", kms_image(s));
	report_set(obj, "auth_eth_env", auth_env(src, dir));
	report_set(obj, "compose", compose(src, dir));
	report_set(obj, "app_compose", json_pack("{s:s, s:o}", "file", "app-compose.json",
						 "compose_hash",
						 report_text(rec ? rec->compose_hash : NULL)));
	report_set(obj, "deploy", deployment(src, rec));
	report_set(obj, "endpoint", json_pack("{s:o, s:i}", "url",
		   report_textf("https://127.0.0.1:%u/prpc/KMS.GetMeta",
				kms_port(report_root(src), s)),
		   "max_seconds", 2));
}

json_t *report_kms(const struct report_source *src)
{
	struct kms_record rec = { 0 };
	json_t *obj = json_object();
	int r = kms_record_load(report_root(src), &rec);

	fill_kms(src, r == 0 ? &rec : NULL, obj);
	if (r == 0)
		kms_record_free(&rec);
	return obj;
}

json_t *report_contracts(const struct report_source *src)
{
	static const char *const networks[][2] = {
		{ "1", "mainnet" }, { "11155111", "sepolia" }, { "17000", "holesky" },
		{ "560048", "hoodi" }, { "8453", "base" },
	};
	const struct settings *s = report_settings(src);
	const char *chain = setting(s, KEY_CHAIN_ID), *network = NULL;
	json_t *obj = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(networks); i++)
		if (strcmp(chain, networks[i][0]) == 0)
			network = networks[i][1];
	report_set(obj, "network", report_text(network));
	report_set(obj, "chain_id", json_integer((json_int_t)strtoll(chain, NULL, 10)));
	report_set(obj, "kms", setting_is_set(s, KEY_KMS_CONTRACT) ?
				       report_text(setting(s, KEY_KMS_CONTRACT)) : json_null());
	report_set(obj, "app_auth_implementation",
		   setting_is_set(s, KEY_APP_AUTH_IMPLEMENTATION) ?
			   report_text(setting(s, KEY_APP_AUTH_IMPLEMENTATION)) :
			   json_null());
	return obj;
}
