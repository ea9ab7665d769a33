// SPDX-License-Identifier: Apache-2.0
/* Layers of settings, one over the other. */
#include "host/conf/settings.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/conf/detect.h"
#include "host/conf/hostconf.h"
#include "host/conf/validate.h"
#include "host/vmm/vmm-version.h"

const char *setting(const struct settings *s, enum key_id id)
{
	return s->v[id].value ? s->v[id].value : "";
}

int setting_is_set(const struct settings *s, enum key_id id)
{
	return s->v[id].value != NULL;
}

unsigned setting_uint(const struct settings *s, enum key_id id)
{
	uint64_t v = 0;

	return parse_uint(setting(s, id), 0, UINT32_MAX, &v) ? 0 : (unsigned)v;
}

const char *source_name(enum source source)
{
	static const char *const names[] = {
		[SOURCE_UNSET] = "unset",	[SOURCE_DEFAULT] = "default",
		[SOURCE_DETECTED] = "detected", [SOURCE_SUPPLIED] = "supplied",
		[SOURCE_FILE] = "set",
	};

	return names[source];
}

int settings_local_pccs(const struct settings *s)
{
	struct url u;

	return parse_url(setting(s, KEY_PCCS_URL), &u) == NULL && host_is_loopback(u.host);
}

int settings_registry_on(const struct settings *s)
{
	return setting_is_set(s, KEY_REGISTRY) && strcmp(setting(s, KEY_REGISTRY), "off") != 0;
}

static void put(struct settings *s, int id, char *value, enum source source)
{
	s->v[id].value = value;
	s->v[id].source = value ? source : SOURCE_UNSET;
}

/* Takes what `hc` sets and no higher layer did. Bad values are kept: they are named, and
 * they keep a lower layer from quietly taking their place. */
static void take_layer(struct settings *s, const struct hostconf *hc, enum source source)
{
	for (int id = 0; id < KEY_COUNT; id++) {
		const char *reason;

		if (!hc->value[id] || s->v[id].value)
			continue;
		put(s, id, xstrdup(hc->value[id]), source);
		s->v[id].file = xstrdup(hc->path);
		s->v[id].line = hc->line[id];
		reason = key_check((enum key_id)id, hc->value[id]);
		if (reason)
			complain(s, (enum key_id)id, reason);
	}
}

static int not_hidden(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 5 && d->d_name[0] != '.' && strcmp(d->d_name + n - 5, ".conf") == 0;
}

static int take_supplied(const struct root *root, struct settings *s)
{
	_cleanup_close_ int dir = root_openat(root, DEFAULTS_DIR, O_RDONLY | O_DIRECTORY, 0);
	struct dirent **list;
	int n, r = 0;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	n = scandirat(dir, ".", &list, not_hidden, alphasort);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *path =
			xasprintf("%s/%s", DEFAULTS_DIR, list[i]->d_name);
		_cleanup_hostconf_ struct hostconf hc = { 0 };

		if (r == 0)
			r = hostconf_load(root, path, &hc, &s->diag);
		if (r == 0)
			take_layer(s, &hc, SOURCE_SUPPLIED);
		free(list[i]);
	}
	free(list);
	return r;
}

/* Defaults that depend on another key; NULL when that one is unset. */
static char *derive(const struct settings *s, int id)
{
	const char *domain = s->v[KEY_DOMAIN].value;

	switch (id) {
	case KEY_REGISTRY:
		return domain ? xasprintf("registry.%s", domain) : NULL;
	case KEY_GATEWAY_BASE_DOMAIN:
		return domain ? xstrdup(domain) : NULL;
	case KEY_GUEST_KMS_URLS:
		return domain ? xasprintf("https://kms.%s:443", domain) : NULL;
	case KEY_PCCS_URL:
		return xasprintf("https://localhost:%s/sgx/certification/v4/",
				 setting(s, KEY_PCCS_PORT));
	case KEY_KMS_GUEST_PORT:
		return xstrdup(strcmp(setting(s, KEY_KMS_LAYOUT), "upstream") == 0 ? "8000" :
										     "9100");
	case KEY_VMM_KMS_URL:
		return setting_is_set(s, KEY_KMS_IMAGE) ?
			       xasprintf("https://127.0.0.1:%s", setting(s, KEY_KMS_PORT)) :
			       xstrdup("");
	default:
		return keys[id].fallback ? xstrdup(keys[id].fallback) : NULL;
	}
}

static int take_machine(const struct root *root, struct settings *s)
{
	for (int id = 0; id < KEY_COUNT; id++) {
		char *value = NULL;
		int r = s->v[id].value ? 0 : detect_setting(root, (enum key_id)id, &value);

		if (r < 0)
			return r;
		if (value)
			put(s, id, value, SOURCE_DETECTED);
	}
	/* Two rounds: a derived default may look at a plain one that comes after it. */
	for (int id = 0; id < KEY_COUNT; id++)
		if (!s->v[id].value && keys[id].fallback)
			put(s, id, xstrdup(keys[id].fallback), SOURCE_DEFAULT);
	for (int id = 0; id < KEY_COUNT; id++)
		if (!s->v[id].value)
			put(s, id, derive(s, id), SOURCE_DEFAULT);
	return 0;
}

static int resolve(const struct root *root, const struct hostconf *hc, struct settings *s)
{
	int r;

	s->configured = hc->exists;
	/* A line that cannot be read could have been meant for anybody. */
	if (s->diag.n)
		s->bad = ~0u;
	take_layer(s, hc, SOURCE_FILE);
	r = take_supplied(root, s);
	if (r == 0)
		r = take_machine(root, s);
	if (r < 0)
		return r;
	validate_settings(s);
	vmm_check_settings(root, s);
	diag_sort(&s->diag);
	return 0;
}

int settings_resolve(const struct root *root, const struct hostconf *hc,
		     struct settings *ret)
{
	*ret = (struct settings){ 0 };
	return resolve(root, hc, ret);
}

int settings_load(const struct root *root, struct settings *ret)
{
	_cleanup_hostconf_ struct hostconf hc = { 0 };
	int r;

	*ret = (struct settings){ 0 };
	r = hostconf_load(root, HOSTCONF_PATH, &hc, &ret->diag);
	return r < 0 ? r : resolve(root, &hc, ret);
}

void settings_free(struct settings *s)
{
	for (int id = 0; id < KEY_COUNT; id++) {
		free(s->v[id].value);
		free(s->v[id].file);
	}
	diag_free(&s->diag);
}
