// SPDX-License-Identifier: Apache-2.0
/* Report: the files that the daemons read, and where the secrets are. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/cert.h"
#include "host/json.h"
#include "host/render/render.h"
#include "host/report/report.h"
#include "host/conf/secrets.h"
#include "host/conf/shown.h"


/* The keys of an operator's vmm.toml that hold no secret, for certain. */
static int shown_of_operator(const char *path)
{
	static const char *const names[] = {
		"workers", "max_blocking", "ident", "address", "kms_url", "image_path", "run_path",
		"log_level", "cvm.kms_urls", "cvm.gateway_urls", "cvm.pccs_url", "cvm.cid_start",
		"cvm.cid_pool_size", "cvm.max_allocable_vcpu", "cvm.max_allocable_memory_in_mb",
		"cvm.networking.mode", "cvm.port_mapping.enabled", "cvm.port_mapping.address",
		"cvm.port_mapping.range", "gateway.base_domain", "gateway.port", "auth.enabled",
		"supervisor.exe", "supervisor.sock", "supervisor.pid_file",
		"supervisor.log_file", "supervisor.detached", "supervisor.auto_start",
		"host_api.address", "host_api.port", "key_provider.enabled",
		"key_provider.address", "key_provider.port",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], path) == 0)
			return 1;
	return 0;
}

static int is_link(const struct root *root, const char *path)
{
	const char *base;
	_cleanup_close_ int dir = root_open_parent(root, path, &base);
	struct stat st;

	return dir >= 0 && fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISLNK(st.st_mode);
}

static json_t *file_of(const char *path, const char *format)
{
	json_t *obj = json_object();

	report_set(obj, "path", report_text(path));
	report_set(obj, "format", report_text(format));
	return obj;
}

/* Theirs where they have put one, ours behind the link otherwise. */
static json_t *vmm_toml(const struct report_source *src)
{
	int ours = is_link(report_root(src), OPERATOR_TOML) ||
		   !root_exists(report_root(src), OPERATOR_TOML);
	_cleanup_free_ char *text = report_file(src, ours ? RENDERED_TOML : OPERATOR_TOML);
	json_t *obj = file_of(OPERATOR_TOML, "toml"), *values, *secret = json_array();

	values = text ? report_toml(text, shown_of_operator) : NULL;
	report_set(obj, "present", json_boolean(text != NULL));
	report_set(obj, "by", json_string(ours ? "dstack-host" : "operator"));
	report_set(obj, "values", values ? values : json_null());
	/* A text of somebody else may hold any secret, and nobody knows them all. */
	report_set(obj, "text", ours ? report_text(text) : json_null());
	json_push(secret, json_string("auth.tokens"));
	report_set(obj, "secrets", secret);
	return obj;
}

static json_t *host_conf(const struct report_source *src)
{
	const struct settings *s = report_settings(src);
	json_t *obj = file_of("/etc/dstack/host.conf", "conf"), *values = json_object();

	for (int id = 0; id < KEY_COUNT; id++) {
		_cleanup_free_ char *shown = NULL;

		if (s->v[id].source == SOURCE_UNSET)
			continue;
		shown = shown_value(s, (enum key_id)id);
		report_set(values, keys[id].name, report_text(shown));
	}
	report_set(obj, "present", json_boolean(s->configured));
	report_set(obj, "values", values);
	return obj;
}

/* What node-config takes from our overlay; the secrets' places say only that they are set. */
static json_t *pccs_values(const char *text)
{
	static const char *const hidden[] = { "ApiKey", "UserTokenHash", "AdminTokenHash" };
	json_t *values = text ? json_loads(text, 0, NULL) : NULL;
	const char *proxy;

	if (!json_is_object(values)) {
		json_decref(values);
		return json_null();
	}
	for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
		const char *value = json_string_value(json_object_get(values, hidden[i]));

		if (value)
			report_set(values, hidden[i], json_string(*value ? "(set)" : "(not set)"));
	}
	proxy = json_string_value(json_object_get(values, "proxy"));
	if (proxy && *proxy)
		report_set(values, "proxy", json_string("(set)"));
	return values;
}

static json_t *pccs_json(const struct report_source *src, const char *path)
{
	_cleanup_free_ char *text = report_file(src, path);
	json_t *obj = file_of(path, "json");

	report_set(obj, "present", json_boolean(text != NULL));
	report_set(obj, "values", pccs_values(text));
	report_set(obj, "secrets", report_words("ApiKey UserTokenHash AdminTokenHash proxy"));
	return obj;
}

/* Files that are nothing but secrets, or are shown in a section of their own. */
static int text_is_elsewhere(const char *path, int *secret)
{
	static const char *const closed[] = { "/run/dstack/pccs/ssl_key/private.pem",
					      "/run/dstack/front/tokens.map",
					      "/run/dstack/front/registry.pem" };

	*secret = 0;
	for (size_t i = 0; i < ARRAY_SIZE(closed); i++)
		*secret |= strcmp(path, closed[i]) == 0;
	return strncmp(path, "/run/dstack/kms/", 16) == 0 ||
	       strncmp(path, "/run/dstack/key-provider/", 25) == 0;
}

static const char *format_of(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && strcmp(dot, ".yml") == 0 ? "yaml" : dot ? dot + 1 : "text";
}

static json_t *rendered(const struct report_source *src, const char *path)
{
	_cleanup_free_ char *text = NULL;
	json_t *obj = file_of(path, format_of(path));
	int secret;

	text_is_elsewhere(path, &secret);
	report_set(obj, "present", json_boolean(root_exists(report_root(src), path)));
	if (secret) {
		report_set(obj, "secrets", report_words("text"));
		return obj;
	}
	text = report_file(src, path);
	report_set(obj, "text", report_text(text));
	return obj;
}

static int is_comment(const char *line)
{
	line += strspn(line, " \t");
	return *line == '#' || *line == ';';
}

/* The bytes of a line and of those that continue it; comments between them end nothing. */
static size_t whole_line(const char *text)
{
	size_t n = strcspn(text, "\n");
	int goes_on = n && text[n - 1] == '\\';

	while (goes_on && text[n]) {
		const char *line = text + n + 1;

		n += 1 + strcspn(line, "\n");
		goes_on = is_comment(line) || text[n - 1] == '\\';
	}
	return n + (text[n] == '\n');
}

/* A unit of somebody else: without what it says in comments, environment and credentials. */
static char *unit_text(const char *text)
{
	static const char *const hidden[] = { "Environment", "SetCredential",
					      "SetCredentialEncrypted" };
	struct strbuf out = { 0 };

	for (size_t n; *text; text += n) {
		const char *key = text + strspn(text, " \t");
		size_t len = strcspn(key, "= \t\n");
		int hide = 0;

		n = whole_line(text);
		for (size_t i = 0; i < ARRAY_SIZE(hidden); i++)
			hide |= strlen(hidden[i]) == len && strncmp(key, hidden[i], len) == 0;
		if (is_comment(text))
			n = strcspn(text, "\n") + (text[strcspn(text, "\n")] == '\n');
		else if (hide)
			sb_addf(&out, "%.*s=(not shown)\n", (int)len, key);
		else
			sb_addn(&out, text, n);
	}
	return sb_steal(&out);
}

/* The unit as dpkg brought it, and an operator's in its place, which hides it. */
static json_t *unit_file(const struct report_source *src, const char *path)
{
	json_t *obj = file_of(path, "unit");
	_cleanup_free_ char *text = report_file(src, path);
	_cleanup_free_ char *shown = text ? unit_text(text) : NULL;

	report_set(obj, "present", json_boolean(text != NULL));
	report_set(obj, "text", report_text(shown));
	return obj;
}

json_t *report_configuration(const struct report_source *src)
{
	static const char own_unit[] = "/etc/systemd/system/dstack-vmm.service";
	json_t *list = json_array();
	int secret;

	json_push(list, host_conf(src));
	json_push(list, vmm_toml(src));
	for (const struct target *t = targets; t->name; t++) {
		if (strcmp(t->path, RENDERED_TOML) == 0 || text_is_elsewhere(t->path, &secret))
			continue;
		if (strcmp(t->path, "/run/dstack/pccs/local.json") == 0)
			json_push(list, pccs_json(src, t->path));
		else
			json_push(list, rendered(src, t->path));
	}
	if (root_exists(report_root(src), own_unit))
		json_push(list, unit_file(src, own_unit));
	return list;
}

static json_t *location(const struct root *root, const char *what, const char *path)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH, 0);
	json_t *obj = json_object();
	struct stat st;
	int there = fd >= 0 && fstat(fd, &st) == 0;

	report_set(obj, "secret", report_text(what));
	report_set(obj, "location", report_text(path));
	report_set(obj, "present", fd == -EACCES ? json_null() : json_boolean(there));
	report_set(obj, "mode", there ? report_textf("%04o", st.st_mode & 07777) : json_null());
	return obj;
}

json_t *report_secrets(const struct report_source *src)
{
	static const char *const others[][2] = {
		{ "key of this host's certification authority", CERT_CA_KEY },
		{ "keys of this host's certificates", CERT_LEAF_DIR },
		{ "API key and digests of tokens, for PCCS", "/run/dstack/pccs/local.json" },
		{ "private key of PCCS", "/run/dstack/pccs/ssl_key/private.pem" },
		{ "internal token, for the VMM", RENDERED_TOML },
		{ "internal token, for the front", "/run/dstack/front/haproxy.cfg" },
		{ "digests of users' tokens", "/run/dstack/front/tokens.map" },
		{ "private key of the registry", "/run/dstack/front/registry.pem" },
	};
	json_t *list = json_array();

	for (int id = 0; id < SECRET_COUNT; id++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", SECRETS_DIR, secrets[id].name);

		json_push(list, location(report_root(src), secrets[id].help, path));
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		json_push(list, location(report_root(src), others[i][0], others[i][1]));
	return list;
}
