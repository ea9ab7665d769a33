// SPDX-License-Identifier: Apache-2.0
/* Rules between settings. */
#include "host/conf/validate.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"

/* Prometheus' node exporter; operators run it on every host (reference host, port table). */
#define NODE_EXPORTER_PORT 9100

void complain(struct settings *s, enum key_id id, const char *reason)
{
	const struct setting *v = &s->v[id];
	const char *shown = keys[id].flags & KEY_REDACT ? "(not shown)" : v->value;

	if (keys[id].choices)
		diag_add(&s->diag, v->file, v->line, keys[id].name, "not one of: %s: \"%.100s\"",
			 keys[id].choices, shown);
	else
		diag_add(&s->diag, v->file, v->line, keys[id].name, "%s: \"%.100s\"", reason,
			 shown);
	s->bad |= keys[id].readers;
}

static unsigned port_of(const struct settings *s, enum key_id id)
{
	struct hostport hp;
	uint16_t port;

	if (parse_hostport(setting(s, id), &hp) == NULL)
		return hp.port;
	return parse_port(setting(s, id), &port) ? 0 : port;
}

static const enum key_id host_ports[] = {
	KEY_VMM_ADDRESS, KEY_PCCS_PORT, KEY_KEY_PROVIDER_ADDRESS, KEY_REGISTRY_LISTEN,
	KEY_KMS_PORT,
};

static int port_in_use(const struct settings *s, enum key_id id)
{
	return id != KEY_REGISTRY_LISTEN || settings_registry_on(s);
}

static void check_collisions(struct settings *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(host_ports); i++) {
		for (size_t j = 0; j < i; j++) {
			unsigned a = port_of(s, host_ports[i]), b = port_of(s, host_ports[j]);
			_cleanup_free_ char *reason = NULL;

			if (!a || a != b || !port_in_use(s, host_ports[i]) ||
			    !port_in_use(s, host_ports[j]))
				continue;
			reason = xasprintf("same port as %s", keys[host_ports[j]].name);
			complain(s, host_ports[i], reason);
		}
	}
}

static int covers(const struct port_range *ranges, size_t n, unsigned port)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(ranges[i].protocol, "tcp") == 0 && ranges[i].from <= port &&
		    port <= ranges[i].to)
			return 1;
	return 0;
}

/* A CVM that may map the host's own port could take its place after a restart. */
static void check_ranges(struct settings *s)
{
	_cleanup_free_ struct port_range *ranges = NULL;
	size_t n = 0;

	if (parse_port_ranges(setting(s, KEY_VMM_PORT_RANGES), &ranges, &n))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(host_ports); i++) {
		_cleanup_free_ char *reason = NULL;
		enum key_id id = host_ports[i];
		unsigned port = port_of(s, id);

		if (id == KEY_KMS_PORT || !port || !covers(ranges, n, port))
			continue;
		reason = xasprintf("covers port %u of this host (%s)", port, keys[id].name);
		complain(s, KEY_VMM_PORT_RANGES, reason);
	}
	if (covers(ranges, n, NODE_EXPORTER_PORT))
		complain(s, KEY_VMM_PORT_RANGES, "covers port 9100 (node exporter)");
	if (port_of(s, KEY_KMS_PORT) && !covers(ranges, n, port_of(s, KEY_KMS_PORT)))
		complain(s, KEY_KMS_PORT, "not in a tcp range of VMM_PORT_RANGES");
}

static void check_cid_pool(struct settings *s)
{
	uint64_t start, size;

	if (parse_uint(setting(s, KEY_VMM_CID_START), 3, UINT32_MAX, &start) ||
	    parse_uint(setting(s, KEY_VMM_CID_POOL_SIZE), 2, UINT32_MAX, &size))
		return;
	if (start + size > UINT32_MAX)
		complain(s, KEY_VMM_CID_POOL_SIZE, "pool ends beyond the last CID");
}

/* kms_url that points at the PCCS is the reference host's fault 7. */
static void check_kms_url(struct settings *s)
{
	struct url u;

	if (!setting_is_set(s, KEY_VMM_KMS_URL) ||
	    parse_url(setting(s, KEY_VMM_KMS_URL), &u) != NULL)
		return;
	if (host_is_loopback(u.host) && u.port == port_of(s, KEY_PCCS_PORT))
		complain(s, KEY_VMM_KMS_URL, "that is the PCCS");
	else if (strcmp(u.scheme, "https") != 0)
		complain(s, KEY_VMM_KMS_URL, "a KMS speaks https");
}

/* The part before ADDRESS:PORT decides who can reach it: these must stay on loopback. */
static void check_loopback(struct settings *s)
{
	/* The registry too, until there is a certificate that others trust. */
	static const enum key_id local[] = { KEY_VMM_ADDRESS, KEY_KEY_PROVIDER_ADDRESS,
					     KEY_REGISTRY_LISTEN };
	struct hostport hp;

	for (size_t i = 0; i < ARRAY_SIZE(local); i++)
		if (parse_hostport(setting(s, local[i]), &hp) == NULL &&
		    !host_is_loopback(hp.host))
			complain(s, local[i], "must be a loopback address");
}

void validate_settings(struct settings *s)
{
	check_cid_pool(s);
	check_collisions(s);
	check_ranges(s);
	check_kms_url(s);
	check_loopback(s);
}
