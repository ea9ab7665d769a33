// SPDX-License-Identifier: Apache-2.0
/* What is open to others on this host, and what guests may reach of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "host/check/checks-host.h"
#include "host/kms/kms.h"

enum { SSH_PORT = 22, DOCKER_PORT = 2375 };
enum { DHCP_PORT = 68, NTP_PORT = 123, DHCP6_PORT = 546, FIRST_EPHEMERAL = 32768 };

const struct outcome listener_outcomes[] = {
	{ "as-expected", CHECK_OK },
	{ "exposed", CHECK_FAIL, "%s: it is for this machine itself, but others can connect to it",
	  "sudo ss -tlnp" },
	{ "docker", CHECK_FAIL, "Docker's API is open at %s: whoever connects is root here",
	  "remove the tcp:// host from /etc/docker/daemon.json or docker.service, then sudo "
	  "systemctl restart docker" },
	{ "unexpected", CHECK_WARN, "nothing of this host is known to listen there: %s",
	  "sudo ss -tulnp" },
	{ 0 },
};

const struct outcome port_outcomes[] = {
	{ "own", CHECK_OK },
	{ "taken", CHECK_FAIL, "%s: another program has the port, and gets what is meant for it",
	  "sudo ss -tlnp" },
	{ 0 },
};

const struct outcome guard_outcomes[] = {
	{ "loaded", CHECK_OK },
	{ "absent", CHECK_FAIL, "the guard's nftables table is not loaded: guests reach every port "
				"on this host's loopback",
	  "sudo systemctl restart dstack-guard.service" },
	{ "not-owned", CHECK_FAIL, "the guard's table has no owner: any \"nft flush ruleset\" takes "
				   "it away",
	  "sudo systemctl restart dstack-guard.service" },
	{ "other-slice", CHECK_FAIL, "the guard's table is for a slice that is gone: guests started "
				     "since are not fenced in",
	  "sudo systemctl restart dstack-guard.service" },
	{ "kms-open", CHECK_FAIL, "the KMS was not verified, but its port is open to every user of "
				  "this host",
	  "sudo systemctl reload dstack-guard.service" },
	{ 0 },
};

/* A port of this host's own, and where the settings want it to listen. */
struct own_port {
	const char *what;
	const char *programs; /* that hold it, by blanks: beginnings of their names */
	char host[64];
	uint16_t port;
};

enum { OWN_MAX = 8 };

#define FRONT_PROGRAMS "haproxy"
/* Newer ones of node call themselves by their thread. */
#define PCCS_PROGRAMS "node MainThread"
#define KMS_PROGRAMS "qemu passt"
#define DOCKER_PROGRAMS "docker-proxy dockerd"
#define STAND_INS " python3"

static void add_own(struct own_port *own, size_t *n, const char *what, const char *programs,
		    const char *host, unsigned port)
{
	struct own_port *o = &own[(*n)++];

	o->what = what;
	o->programs = programs;
	o->port = (uint16_t)port;
	strcpy(o->host, host);
}

static void add_own_at(struct own_port *own, size_t *n, const char *what, const char *programs,
		       const char *address)
{
	struct hostport hp;

	if (!parse_hostport(address, &hp))
		add_own(own, n, what, programs, hp.host, hp.port);
}

static size_t own_ports(const struct check_view *v, struct own_port own[OWN_MAX])
{
	const struct settings *s = v->parts.settings;
	size_t n = 0;

	add_own_at(own, &n, "the VMM's front", FRONT_PROGRAMS, setting(s, KEY_VMM_ADDRESS));
	add_own_at(own, &n, "the key provider", DOCKER_PROGRAMS STAND_INS,
		   setting(s, KEY_KEY_PROVIDER_ADDRESS));
	/* Served there, the KMS by its name. */
	if (settings_registry_on(s) || setting_is_set(s, KEY_KMS_IMAGE))
		add_own_at(own, &n, "the registry's front", FRONT_PROGRAMS,
			   setting(s, KEY_REGISTRY_LISTEN));
	if (settings_local_pccs(s))
		add_own(own, &n, "PCCS", PCCS_PROGRAMS STAND_INS, "127.0.0.1",
			setting_uint(s, KEY_PCCS_PORT));
	if (setting_is_set(s, KEY_KMS_IMAGE))
		add_own(own, &n, "the KMS", KMS_PROGRAMS STAND_INS, "127.0.0.1",
			kms_port(v->parts.root, s));
	return n;
}

static int in_ranges(const struct settings *s, const char *protocol, uint16_t port)
{
	_cleanup_free_ struct port_range *ranges = NULL;
	size_t n = 0;

	if (parse_port_ranges(setting(s, KEY_VMM_PORT_RANGES), &ranges, &n))
		return 0;
	for (size_t i = 0; i < n; i++)
		if (strcmp(ranges[i].protocol, protocol) == 0 && port >= ranges[i].from &&
		    port <= ranges[i].to)
			return 1;
	return 0;
}

static int is_process(const struct listener *l, const char *prefix)
{
	return l->process && strncmp(l->process, prefix, strlen(prefix)) == 0;
}

/* Who asks something of others by UDP has a port that the kernel chose; the clock and the
 * address come by others. */
static int is_usual_udp(uint16_t port)
{
	return port >= FIRST_EPHEMERAL || port == DHCP_PORT || port == DHCP6_PORT || port == NTP_PORT;
}

/* The way in of whoever runs the host, and what guests map on purpose. */
static int is_usual(const struct check_view *v, const struct listener *l)
{
	if (l->udp ? is_usual_udp(l->port) : l->port == SSH_PORT || is_process(l, "sshd"))
		return 1;
	return in_ranges(v->parts.settings, l->udp ? "udp" : "tcp", l->port) &&
	       (!l->process || is_process(l, "qemu"));
}

static char *describe(const struct listener *l, const char *what)
{
	_cleanup_free_ char *at = xasprintf(strchr(l->address, ':') ? "%s[%s]:%u" : "%s%s:%u",
					    l->udp ? "udp " : "", l->address, l->port);

	if (!what)
		return l->process ? xasprintf("%s (%s)", at, l->process) : steal_ptr(at);
	return l->process ? xasprintf("%s on %s (%s)", what, at, l->process) :
			    xasprintf("%s on %s", what, at);
}

/* Whose port that is, when the settings keep it on loopback; *known: it is one of ours. */
static const char *exposed(const struct own_port *own, size_t n, const struct listener *l,
			   int *known)
{
	for (size_t i = 0; i < n; i++) {
		if (own[i].port != l->port)
			continue;
		*known = 1;
		return host_is_loopback(own[i].host) ? own[i].what : NULL;
	}
	return NULL;
}

static int begins_with(const char *word, void *arg)
{
	const char *name = arg;

	return strncmp(name, word, strlen(word)) == 0;
}

/* Without the stand-ins where nothing is simulated. */
static int may_hold(const struct check_view *v, const struct own_port *own, const char *process)
{
	_cleanup_free_ char *programs = xstrdup(own->programs);
	char *stand_ins = strstr(programs, STAND_INS);

	if (stand_ins && !v->simulated)
		*stand_ins = '\0';
	return for_each_word(programs, begins_with, (void *)(uintptr_t)process);
}

static const struct own_port *own_of(const struct own_port *own, size_t n, uint16_t port)
{
	for (size_t i = 0; i < n; i++)
		if (own[i].port == port)
			return &own[i];
	return NULL;
}

/* NULL, or the outcome with which it ends. */
static const char *not_looked(const struct check_view *v, struct verdict *r)
{
	if ((v->machine.looked & LOOK_LISTENERS) && v->machine.listeners_error == 0)
		/* What is meant to be open is not known when the settings are not. */
		return v->parts.settings_hidden ? SKIP_PRIVILEGE : NULL;
	verdict_subject(r, "%s", v->machine.listeners_error < 0 ?
					 strerror(-v->machine.listeners_error) :
					 "nobody has looked");
	return SKIP_UNKNOWN;
}

const char *eval_ports(const struct check_view *v, struct verdict *r)
{
	const struct listeners *list = &v->machine.listeners;
	struct own_port own[OWN_MAX];
	size_t n = own_ports(v, own);
	const char *end = not_looked(v, r);

	for (size_t i = 0; !end && i < list->n; i++) {
		const struct listener *l = &list->items[i];
		const struct own_port *o = own_of(own, n, l->port);
		_cleanup_free_ char *text = NULL;

		if (l->udp || !o || !l->process || may_hold(v, o, l->process))
			continue;
		text = describe(l, o->what);
		verdict_found(r, "%s", text);
		verdict_expected(r, "%s", o->programs);
		verdict_subject(r, "%s", text);
		verdict_fix(r, "sudo ss -tlnp sport = :%u", l->port);
		return "taken";
	}
	return end ? end : "own";
}

const char *eval_listeners(const struct check_view *v, struct verdict *r)
{
	const struct listeners *list = &v->machine.listeners;
	_cleanup_strbuf_ struct strbuf strange = { 0 };
	struct own_port own[OWN_MAX];
	size_t n = own_ports(v, own), open = 0;
	const char *end = not_looked(v, r);

	for (size_t i = 0; !end && i < list->n; i++) {
		const struct listener *l = &list->items[i];
		int known = 0;
		const char *what = l->udp ? NULL : exposed(own, n, l, &known);
		_cleanup_free_ char *text = describe(l, what);

		if (l->loopback)
			continue;
		open++;
		if (what || (!l->udp && l->port == DOCKER_PORT)) {
			verdict_found(r, "%s", text);
			verdict_subject(r, "%s", text);
			return what ? "exposed" : "docker";
		}
		if (!known && !is_usual(v, l))
			sb_addf(&strange, "%s%s", strange.len ? ", " : "", text);
	}
	if (end)
		return end;
	verdict_found(r, "%zu open to others", open);
	if (!strange.len)
		return "as-expected";
	verdict_found(r, "%s", strange.data);
	verdict_subject(r, "%s", strange.data);
	return "unexpected";
}

const char *eval_guard(const struct check_view *v, struct verdict *r)
{
	const struct guard_sight *g = &v->machine.guard;
	_cleanup_free_ char *port = NULL;
	const char *rule;

	if (!(v->machine.looked & LOOK_GUARD)) {
		verdict_subject(r, "nobody has looked");
		return SKIP_UNKNOWN;
	}
	if (g->error == -EPERM || g->error == -EACCES || (g->error && !v->privileged))
		return SKIP_PRIVILEGE;
	if (g->error) {
		verdict_subject(r, "nftables: %s", strerror(-g->error));
		return SKIP_UNKNOWN;
	}
	if (!g->listing)
		return "absent";
	if (!strstr(g->listing, "flags owner"))
		return "not-owned";
	if (!guard_names_slice(g->listing))
		return "other-slice";
	port = xasprintf("dport %u meta skuid", kms_port(v->parts.root, v->parts.settings));
	rule = strstr(g->listing, port);
	verdict_found(r, "table inet " GUARD_TABLE ", owned%s",
		      rule ? "; the KMS's port is root's until it is verified" : "");
	return rule || root_exists(v->parts.root, KMS_CA) ? "loaded" : "kms-open";
}
