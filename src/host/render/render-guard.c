// SPDX-License-Identifier: Apache-2.0
/*
 * Rules of the guard. Virtual machines with user networking reach this host's own loopback
 * (10.0.2.2 in the guest is 127.0.0.1 here), so what they may reach is a list, not the rest.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "host/guard.h"
#include "host/kms/kms.h"
#include "host/render/render.h"

/* Before Docker's DNAT (-100) hides where a packet was going. */
#define PRIORITY "-110"
/* The host's loopback as a guest with user networking sees it. */
#define GUEST_GATEWAY "10.0.2.2"
#define MAX_NAMESERVERS 16

/* Systems that keep cgroup v1 have the v2 tree in a directory of its own. */
static const char *cgroup_prefix(const struct root *root)
{
	return !root_exists(root, "/sys/fs/cgroup/cgroup.controllers") &&
			       root_exists(root, "/sys/fs/cgroup/unified/cgroup.controllers") ?
		       "unified/" :
		       "";
}

static void add_nameserver(struct strbuf *out, const char *address)
{
	unsigned char bytes[16];
	const char *family;

	if (inet_pton(AF_INET, address, bytes) == 1)
		family = "ip";
	else if (inet_pton(AF_INET6, address, bytes) == 1)
		family = "ip6";
	else
		return;
	sb_addf(out, "\t\t%s daddr %s meta l4proto { tcp, udp } th dport 53 accept\n", family,
		address);
}

/* Guests ask the host's resolver: QEMU passes their questions on to the first of these. */
static int add_resolvers(const struct root *root, struct strbuf *out)
{
	_cleanup_free_ char *text = NULL;
	char *line, *rest;
	unsigned n = 0;
	int r = file_read(root, "/etc/resolv.conf", 1 << 20, &text, NULL);

	/* systemd-resolved, also where it comes later. */
	add_nameserver(out, "127.0.0.53");
	add_nameserver(out, "127.0.0.54");
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	rest = text;
	while ((line = strsep(&rest, "\n")) && n < MAX_NAMESERVERS) {
		if (strncmp(line, "nameserver", 10) != 0 || !isblank((unsigned char)line[10]))
			continue;
		line += 10 + strspn(line + 10, " \t");
		line[strcspn(line, " \t\r%")] = '\0';
		add_nameserver(out, line);
		n++;
	}
	return 0;
}

/* br- and twelve hex digits: a network that Docker has made. */
static int is_dockers(const char *name)
{
	return strspn(name + 3, "0123456789abcdef") == 12 && !name[15];
}

static int is_other_bridge(const struct dirent *e)
{
	return strncmp(e->d_name, "br-", 3) == 0 && !is_dockers(e->d_name) &&
	       !strpbrk(e->d_name, "\"\\*");
}

/* "br-ex", "br-lan": the operator's own, through which guests may reach the world. */
static void add_other_bridges(const struct root *root, struct strbuf *out)
{
	struct dirent **list;
	int fd = root_openat(root, "/sys/class/net", O_RDONLY | O_DIRECTORY, 0);
	int n = fd < 0 ? -1 : scandirat(fd, ".", &list, is_other_bridge, alphasort);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return;
	for (int i = 0; i < n; i++) {
		sb_addf(out, "%s\"%s\"", i ? ", " : "oifname != { ", list[i]->d_name);
		free(list[i]);
	}
	free(list);
	sb_add(out, n ? " } " : "");
}

static void add_refused(const struct root *root, struct strbuf *out)
{
	sb_add(out, "\t\tip daddr 169.254.0.0/16 goto refuse\n"
		    "\t\tip6 daddr fe80::/10 goto refuse\n"
		    "\t\tip daddr 172.17.0.0/16 goto refuse\n"
		    "\t\toifname { \"docker0\", \"docker_gwbridge\" } goto refuse\n"
		    "\t\toifname \"br-*\" ");
	add_other_bridges(root, out);
	sb_add(out, "goto refuse\n");
}

static void add_loopback_port(struct strbuf *out, unsigned port)
{
	sb_addf(out, "\t\tip daddr 127.0.0.0/8 tcp dport %u accept\n", port);
	sb_addf(out, "\t\tip6 daddr ::1 tcp dport %u accept\n", port);
}

static void add_guest_pccs(const struct settings *s, struct strbuf *out)
{
	const char *text = setting(s, KEY_GUEST_PCCS_URL);
	struct url url;

	if (*text && !parse_url(text, &url) && strcmp(url.host, GUEST_GATEWAY) == 0)
		add_loopback_port(out, url.port);
}

/*
 * A chain's node on this host. Only a test or a simulation has one there; whoever writes it
 * into ETH_RPC_URLS wants the KMS in its virtual machine to reach it.
 */
static int add_chain(const char *word, void *arg)
{
	struct strbuf *out = arg;
	struct url url;

	if (!parse_url(word, &url) &&
	    (host_is_loopback(url.host) || strcmp(url.host, GUEST_GATEWAY) == 0))
		add_loopback_port(out, url.port);
	return 0;
}

/* Where registry.DOMAIN and kms.DOMAIN are served, for guests and everybody else. */
static void add_front(const struct settings *s, struct strbuf *out)
{
	struct hostport at;

	if (!settings_registry_on(s) && !setting_is_set(s, KEY_KMS_IMAGE))
		return;
	if (parse_hostport(setting(s, KEY_REGISTRY_LISTEN), &at))
		return;
	if (strcmp(at.host, "0.0.0.0") == 0 || strcmp(at.host, "::") == 0)
		sb_addf(out, "\t\ttcp dport %u accept\n", at.port);
	else
		sb_addf(out, "\t\t%s daddr %s tcp dport %u accept\n",
			strchr(at.host, ':') ? "ip6" : "ip", at.host, at.port);
}

static int add_guests(const struct render_ctx *ctx, struct strbuf *out)
{
	int r;

	sb_add(out, "\tchain guests {\n"
		    "\t\tct direction reply accept\n"
		    "\t\tct state related accept\n");
	r = add_resolvers(ctx->root, out);
	if (r < 0)
		return r;
	add_refused(ctx->root, out);
	sb_add(out, "\t\tfib daddr type unicast accept\n");
	add_guest_pccs(ctx->settings, out);
	for_each_word(setting(ctx->settings, KEY_ETH_RPC_URLS), add_chain, out);
	add_front(ctx->settings, out);
	sb_add(out, "\t\tgoto refuse\n"
		    "\t}\n");
	return 0;
}

/* Until the KMS was verified, which is when its CA was recorded, root alone (who does that) may
 * ask: whatever took the port first must not get a user's request. */
static void add_kms(const struct render_ctx *ctx, struct strbuf *out)
{
	if (root_exists(ctx->root, KMS_CA))
		return;
	sb_addf(out,
		"\t\tfib daddr type local tcp dport %u meta skuid != 0 goto refuse\n",
		setting_uint(ctx->settings, KEY_KMS_PORT));
}

int build_guard(const struct render_ctx *ctx, struct strbuf *out, const char **why _unused_)
{
	int r;

	/* Made, removed and made again in one transaction: this replaces the rules whether or
	 * not they were there. */
	sb_add(out, "# Made by dstack-host; changes are lost.\n"
		    "table inet " GUARD_TABLE " { flags owner; }\n"
		    "delete table inet " GUARD_TABLE "\n"
		    "table inet " GUARD_TABLE " {\n"
		    "\tflags owner\n"
		    "\tchain refuse {\n"
		    "\t\tmeta l4proto tcp counter reject with tcp reset\n"
		    "\t\tcounter reject\n"
		    "\t}\n");
	r = add_guests(ctx, out);
	if (r < 0)
		return r;
	sb_addf(out,
		"\tchain output {\n"
		"\t\ttype filter hook output priority " PRIORITY "; policy accept;\n"
		"\t\tsocket cgroupv2 level 1 \"%s" GUARD_SLICE "\" goto guests\n",
		cgroup_prefix(ctx->root));
	add_kms(ctx, out);
	sb_add(out, "\t}\n"
		    "}\n");
	return BUILD_OK;
}
