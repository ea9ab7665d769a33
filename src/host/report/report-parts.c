// SPDX-License-Identifier: Apache-2.0
/* Report: units, containers, addresses, and what the network sees of this host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "host/json.h"
#include "host/kms/kms.h"
#include "host/listeners.h"
#include "host/report/report.h"

static const struct finding *finding_of(const struct report_source *src, const char *id)
{
	return &src->view->findings[part_find(id)];
}

static int same(const char *a, const char *b)
{
	return a && strcmp(a, b) == 0;
}

/* Parts share a unit (the key provider's three): it stands there once. */
static int shown_before(size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (parts[j].unit && strcmp(parts[j].unit, parts[i].unit) == 0)
			return 1;
	return 0;
}

static json_t *service(const struct report_source *src, size_t i)
{
	const struct unit_state *u = &src->view->parts.unit[i];
	const struct finding *f = &src->view->findings[i];
	int known = u->load && !src->view->parts.units_error;
	json_t *obj = json_object();

	report_set(obj, "unit", report_text(parts[i].unit));
	report_set(obj, "installed", known ? json_boolean(!same(u->load, "not-found")) :
					     json_null());
	/* Ours are started by dstack-host.target, which is as good as enabled. */
	report_set(obj, "enabled", known ? json_boolean(same(u->file_state, "enabled") ||
							same(u->file_state, "static") ||
							same(u->file_state, "alias")) :
					   json_null());
	report_set(obj, "active", known ? json_boolean(same(u->active, "active")) : json_null());
	report_set(obj, "address", report_text(f->address));
	report_set(obj, "state", report_text(part_state_name(f->state)));
	report_set(obj, "notes", report_text(f->detail));
	return obj;
}

json_t *report_services(const struct report_source *src)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n_parts; i++)
		if (parts[i].unit && !shown_before(i))
			json_push(list, service(src, i));
	return list;
}

/* "running" of "NAME STATE STATUS", NULL when Docker does not list it. */
static char *container_state(const struct probe_result *p, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < p->answer.n_facts; i++) {
		const struct peer_fact *fact = &p->answer.facts[i];

		if (strcmp(fact->key, "container") == 0 &&
		    strncmp(fact->value, name, n) == 0 && fact->value[n] == ' ')
			return xstrndup(fact->value + n + 1, strcspn(fact->value + n + 1, " "));
	}
	return NULL;
}

json_t *report_containers(const struct report_source *src)
{
	static const struct {
		const char *name, *network;
		enum key_id image;
	} table[] = {
		{ CONTAINER_KEY_PROVIDER, NULL, KEY_KEY_PROVIDER_IMAGE },
		{ CONTAINER_AESMD, "host", KEY_AESMD_IMAGE },
	};
	const struct settings *s = report_settings(src);
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		_cleanup_free_ char *state = container_state(
			&src->view->parts.probe[PROBE_CONTAINERS], table[i].name);
		json_t *obj = json_object(), *ports = json_array();

		report_set(obj, "name", report_text(table[i].name));
		report_set(obj, "image", setting_is_set(s, table[i].image) ?
						 report_text(setting(s, table[i].image)) :
						 json_null());
		report_set(obj, "status", report_text(same(state, "running") ? "up" : state));
		if (!table[i].network)
			json_push(ports, report_textf("%s->3443",
						      setting(s, KEY_KEY_PROVIDER_ADDRESS)));
		report_set(obj, "ports", ports);
		report_set(obj, "network", report_text(table[i].network));
		json_push(list, obj);
	}
	return list;
}

static json_t *port(const char *address, unsigned at, const char *process, const char *owner)
{
	json_t *obj = json_object();

	report_set(obj, "protocol", json_string("tcp"));
	report_set(obj, "from", json_integer(at));
	report_set(obj, "to", json_integer(at));
	report_set(obj, "address", report_text(address));
	report_set(obj, "process", report_text(process));
	report_set(obj, "owner", report_text(owner));
	return obj;
}

static json_t *own_port(const struct report_source *src, const char *part, const char *process,
			const char *address, const char *speaks, const char *purpose)
{
	const struct finding *f = finding_of(src, part);
	struct hostport at;
	json_t *obj;

	if (parse_hostport(address, &at))
		return NULL;
	obj = port(at.host, at.port, process, part);
	report_set(obj, "speaks", report_text(speaks));
	report_set(obj, "purpose", report_text(purpose));
	report_set(obj, "answers", f->state == PART_UNKNOWN ? json_null() :
							      json_boolean(f->state == PART_OK));
	return obj;
}

static int listed(const json_t *list, const struct listener *l)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		const char *address = json_string_value(json_object_get(item, "address"));

		if (json_integer_value(json_object_get(item, "from")) == l->port &&
		    same(address, l->address))
			return 1;
	}
	return 0;
}

/* Everything else that listens for others than this machine. */
static void add_public(json_t *list, const struct root *root)
{
	struct listeners all = { 0 };

	if (!root_is_host(root) || listeners_public(root, &all) < 0)
		return;
	for (size_t i = 0; i < all.n; i++) {
		const struct listener *l = &all.items[i];
		json_t *obj;

		if (listed(list, l))
			continue;
		obj = port(l->address, l->port, l->process, NULL);
		report_set(obj, "speaks", json_null());
		report_set(obj, "purpose", json_string("reachable from outside"));
		report_set(obj, "answers", json_null());
		json_push(list, obj);
	}
	listeners_free(&all);
}

json_t *report_ports(const struct report_source *src)
{
	const struct settings *s = report_settings(src);
	_cleanup_free_ char *pccs = xasprintf("127.0.0.1:%s", setting(s, KEY_PCCS_PORT));
	_cleanup_free_ char *kms = xasprintf("127.0.0.1:%u", kms_port(report_root(src), s));
	const struct {
		const char *part, *process, *address, *speaks, *purpose;
		int off;
	} table[] = {
		{ "registry", "haproxy", setting(s, KEY_REGISTRY_LISTEN), "https",
		  "container registry, for reading", !settings_registry_on(s) },
		{ "key-provider", "docker-proxy", setting(s, KEY_KEY_PROVIDER_ADDRESS),
		  "length-prefixed JSON", "key provider", 0 },
		{ "pccs", "node", pccs, "https", "PCCS service", !settings_local_pccs(s) },
		{ "front", "haproxy", setting(s, KEY_VMM_ADDRESS), "http",
		  "VMM API, token required", 0 },
		{ "kms", "qemu", kms, "https", "KMS in its virtual machine",
		  !setting_is_set(s, KEY_KMS_IMAGE) },
	};
	json_t *list = json_array(), *obj;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		obj = table[i].off ? NULL :
				     own_port(src, table[i].part, table[i].process,
					      table[i].address, table[i].speaks,
					      table[i].purpose);
		if (obj)
			json_push(list, obj);
	}
	add_public(list, report_root(src));
	return list;
}

static json_t *ufw(const struct root *root)
{
	_cleanup_free_ char *text = NULL;
	int r = file_read(root, "/etc/ufw/ufw.conf", 65536, &text, NULL);
	const char *p = r == 0 ? strstr(text, "\nENABLED=") : NULL;

	if (r == -ENOENT)
		return json_pack("{s:n, s:b}", "tool", "active", 0);
	return json_pack("{s:s, s:b}", "tool", "ufw", "active",
			 p && strncasecmp(p + strlen("\nENABLED="), "yes", 3) == 0);
}

json_t *report_network(const struct report_source *src)
{
	const struct settings *s = report_settings(src);
	json_t *obj = json_object(), *names = json_array();

	report_set(obj, "public_address", setting_is_set(s, KEY_PUBLIC_ADDRESS) ?
						  report_text(setting(s, KEY_PUBLIC_ADDRESS)) :
						  json_null());
	report_set(obj, "firewall", ufw(report_root(src)));
	report_set(obj, "guard", json_pack("{s:s, s:b}", "tool", "nftables, by dstack-guard",
					   "active", finding_of(src, "guard")->state == PART_OK));
	report_set(obj, "domain", setting_is_set(s, KEY_DOMAIN) ?
					  report_text(setting(s, KEY_DOMAIN)) : json_null());
	if (settings_registry_on(s))
		json_push(names, report_text(setting(s, KEY_REGISTRY)));
	if (setting_is_set(s, KEY_DOMAIN))
		json_push(names, report_textf("kms.%s", setting(s, KEY_DOMAIN)));
	report_set(obj, "names", names);
	return obj;
}
