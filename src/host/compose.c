// SPDX-License-Identifier: Apache-2.0
/* vmm-cli's two JSON documents, its sizes and its env files. */
#include "host/compose.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/pyjson.h"

/* `key` is a member's name. */
static void add_key(struct strbuf *out, const char *key)
{
	sb_addf(out, ",\n    \"%s\": ", key);
}

static void add_text(struct strbuf *out, const char *key, const char *s, size_t n)
{
	add_key(out, key);
	pyjson_string(out, s, n, 0);
}

static void add_string(struct strbuf *out, const char *key, const char *s)
{
	add_text(out, key, s, strlen(s));
}

static void add_bool(struct strbuf *out, const char *key, int value)
{
	add_key(out, key);
	sb_add(out, value ? "true" : "false");
}

static void add_list(struct strbuf *out, const char *key, char *const *items, size_t n)
{
	add_key(out, key);
	sb_addc(out, '[');
	for (size_t i = 0; i < n; i++) {
		sb_addf(out, "%s\n        ", i ? "," : "");
		pyjson_string(out, items[i], strlen(items[i]), 0);
	}
	sb_add(out, n ? "\n    ]" : "]");
}

static const char *unfit(const char *s, size_t n, const char *name, const char **what)
{
	const char *reason = pyjson_unfit(s, n);

	if (reason)
		*what = name;
	return reason;
}

const char *app_compose_unfit(const struct app_compose *app, const char **what)
{
	const char *id = app->key_provider_id ? app->key_provider_id : "";
	const char *reason = unfit(app->name, strlen(app->name), "name", what);

	if (!reason)
		reason = unfit(app->docker_compose, app->docker_compose_len, "docker-compose",
			       what);
	if (!reason)
		reason = unfit(id, strlen(id), "key-provider-id", what);
	if (!reason && app->prelaunch_script)
		reason = unfit(app->prelaunch_script, app->prelaunch_script_len,
			       "prelaunch-script", what);
	for (size_t i = 0; !reason && i < app->n_allowed_envs; i++)
		reason = unfit(app->allowed_envs[i], strlen(app->allowed_envs[i]), "env-file",
			       what);
	return reason;
}

int app_compose_text(const struct app_compose *app, char **ret)
{
	struct strbuf out = { 0 };
	const char *what;

	if (app_compose_unfit(app, &what))
		return -EINVAL;
	sb_add(&out, "{\n    \"manifest_version\": 2");
	add_string(&out, "name", app->name);
	add_string(&out, "runner", "docker-compose");
	add_text(&out, "docker_compose_file", app->docker_compose, app->docker_compose_len);
	add_bool(&out, "kms_enabled", app->kms);
	add_bool(&out, "gateway_enabled", app->gateway);
	add_bool(&out, "local_key_provider_enabled", app->local_key_provider);
	add_string(&out, "key_provider_id", app->key_provider_id ? app->key_provider_id : "");
	add_bool(&out, "public_logs", app->public_logs);
	add_bool(&out, "public_sysinfo", app->public_sysinfo);
	add_list(&out, "allowed_envs", app->allowed_envs, app->n_allowed_envs);
	add_bool(&out, "no_instance_id", app->no_instance_id);
	add_bool(&out, "secure_time", app->secure_time);
	if (app->prelaunch_script)
		add_text(&out, "pre_launch_script", app->prelaunch_script,
			 app->prelaunch_script_len);
	if (app->swap_bytes) {
		add_key(&out, "swap_size");
		sb_addf(&out, "%llu", (unsigned long long)app->swap_bytes);
	}
	sb_add(&out, "\n}");
	*ret = sb_steal(&out);
	return 0;
}

void compose_hash(const char *text, char hex[SHA256_HEX + 1])
{
	sha256_hex(text, strlen(text), hex);
}

/* Digits, perhaps a point and digits, perhaps one or two letters: *unit points to those. */
static const char *split_size(const char *s, double *number, char unit[3])
{
	const char *p = s;
	size_t n;

	while (isdigit((unsigned char)*p))
		p++;
	if (p == s)
		return "not a size (like 4G)";
	if (*p == '.') {
		const char *fraction = ++p;

		while (isdigit((unsigned char)*p))
			p++;
		if (p == fraction)
			return "not a size (like 4G)";
	}
	*number = strtod(s, NULL);
	n = strlen(p);
	if (n > 2)
		return "not a size (like 4G)";
	for (size_t i = 0; i < n; i++) {
		if (!isalpha((unsigned char)p[i]))
			return "not a size (like 4G)";
		unit[i] = (char)toupper((unsigned char)p[i]);
	}
	unit[n] = '\0';
	return NULL;
}

const char *parse_memory_size(const char *s, uint64_t *ret)
{
	static const char units[] = "MGT"; /* each 1024 times the one before */
	char unit[3];
	double value;
	const char *reason = split_size(s, &value, unit), *at = units;

	if (reason)
		return reason;
	if (unit[0]) {
		at = strchr(units, unit[0]);
		if (!at || (unit[1] && unit[1] != 'B'))
			return "its unit is none of M, G, T";
	}
	for (; at > units; at--)
		value *= 1024;
	if (value > (double)(1u << 30))
		return "too large";
	if (value != (double)(uint64_t)value)
		return "not a whole number of MiB";
	*ret = (uint64_t)value;
	return NULL;
}

/* str.strip(), as far as ASCII goes. */
static int is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

static void strip(const char **s, size_t *n)
{
	while (*n && is_blank((*s)[0])) {
		(*s)++;
		(*n)--;
	}
	while (*n && is_blank((*s)[*n - 1]))
		(*n)--;
}

static void add_env_key(char ***keys, size_t *n, const char *key, size_t len)
{
	for (size_t i = 0; i < *n; i++)
		if (strlen((*keys)[i]) == len && memcmp((*keys)[i], key, len) == 0)
			return;
	*keys = xrealloc(*keys, (*n + 1) * sizeof(**keys));
	(*keys)[(*n)++] = xstrndup(key, len);
}

void env_file_keys(const char *text, char ***ret, size_t *ret_n)
{
	*ret = NULL;
	*ret_n = 0;
	for (;;) {
		/* Python ends lines at any of \n, \r\n, \r. */
		size_t n = strcspn(text, "\r\n"), left = n;
		const char *line = text, *eq;

		strip(&line, &left);
		eq = memchr(line, '=', left);
		if (left && line[0] != '#' && eq) {
			left = (size_t)(eq - line);
			strip(&line, &left);
			add_env_key(ret, ret_n, line, left);
		}
		if (!text[n])
			return;
		text += n + 1;
	}
}

static void add_ascii(struct strbuf *out, const char *key, const char *value)
{
	sb_addf(out, "\"%s\": ", key);
	pyjson_string(out, value, strlen(value), 1);
}

int create_vm_body(const struct create_vm *vm, char **ret)
{
	const char *const all[] = { vm->name, vm->image, vm->compose_text, vm->host_address };
	struct strbuf out = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (pyjson_unfit(all[i], strlen(all[i])))
			return -EINVAL;
	sb_addc(&out, '{');
	add_ascii(&out, "name", vm->name);
	sb_add(&out, ", ");
	add_ascii(&out, "image", vm->image);
	sb_add(&out, ", ");
	add_ascii(&out, "compose_file", vm->compose_text);
	sb_addf(&out, ", \"vcpu\": %u, \"memory\": %u, \"disk_size\": %u", vm->vcpu,
		vm->memory_mb, vm->disk_gb);
	/* No id: then it is the compose's own, and nothing else is what a guest accepts. */
	sb_add(&out, ", \"app_id\": null, \"user_config\": \"\", \"ports\": [{");
	add_ascii(&out, "protocol", "tcp");
	sb_add(&out, ", ");
	add_ascii(&out, "host_address", vm->host_address);
	sb_addf(&out, ", \"host_port\": %u, \"vm_port\": %u}]", vm->host_port, vm->vm_port);
	sb_add(&out, ", \"hugepages\": false, \"pin_numa\": false, \"stopped\": false");
	sb_add(&out, vm->has_no_tee ? ", \"no_tee\": false}" : "}");
	*ret = sb_steal(&out);
	return 0;
}
