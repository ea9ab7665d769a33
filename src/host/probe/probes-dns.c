// SPDX-License-Identifier: Apache-2.0
/* What the names of this host stand for, asked of its own name servers. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/strbuf.h"
#include "host/peer/dns.h"
#include "host/probe/probes-ask.h"

enum { SERVERS_MAX = 3 };

/* "ADDRESS:53 [ADDRESS]:53", the caller's: resolv.conf(5) counts no more than three. */
static char *name_servers(const struct root *root)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_strbuf_ struct strbuf out = { 0 };
	char *line, *rest;
	unsigned n = 0;

	/* Without one the resolver asks this host itself. */
	if (file_read(root, "/etc/resolv.conf", 1 << 20, &text, NULL) < 0)
		return xasprintf("127.0.0.1:%d", DNS_PORT);
	rest = text;
	while ((line = strsep(&rest, "\n")) && n < SERVERS_MAX) {
		if (strncmp(line, "nameserver", 10) != 0 || !isblank((unsigned char)line[10]))
			continue;
		line += 10 + strspn(line + 10, " \t");
		line[strcspn(line, " \t\r%")] = '\0';
		sb_addf(&out, strchr(line, ':') ? "%s[%s]:%d" : "%s%s:%d", n++ ? " " : "", line,
			DNS_PORT);
	}
	return n ? sb_steal(&out) : xasprintf("127.0.0.1:%d", DNS_PORT);
}

int ask_dns(const struct probe_context *c, struct prepared *p)
{
	_cleanup_strbuf_ struct strbuf names = { 0 };

	if (!setting_is_set(c->s, KEY_DOMAIN))
		return PROBE_NOBODY;
	sb_addf(&names, "kms.%s", setting(c->s, KEY_DOMAIN));
	if (settings_registry_on(c->s))
		sb_addf(&names, " %s", setting(c->s, KEY_REGISTRY));
	p->request.kind = PEER_DNS;
	p->url = sb_steal(&names);
	p->body = name_servers(c->root);
	return 0;
}
