// SPDX-License-Identifier: Apache-2.0
/* Do this host's names point to it, and may Let's Encrypt certify them? */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "host/peer/answer.h"
#include "host/check/checks-host.h"

#define ISSUER "letsencrypt.org"
enum { LIST_MAX = 200 };

const struct outcome name_outcomes[] = {
	{ "points-here", CHECK_OK },
	{ "reserved", CHECK_SKIP, "%s is a name that the public DNS never knows" },
	{ "no-record", CHECK_FAIL, "%s has no address in the DNS: guests and other hosts find "
				   "nobody",
	  "the domain's DNS: an A record of %s with this host's PUBLIC_ADDRESS" },
	{ "not-yet", CHECK_WARN, "%s has no address in the DNS; nothing is offered to others yet, but "
				 "before it is, the name must lead here",
	  "the domain's DNS: an A record of %s with this host's PUBLIC_ADDRESS" },
	{ "proxied", CHECK_FAIL, "%s points to a proxy (Cloudflare), which ends TLS itself: guests "
				 "refuse its certificate instead of the KMS's, and uploads are cut",
	  "the domain's DNS: switch the proxy off for %s (\"DNS only\")" },
	{ "elsewhere", CHECK_FAIL, "%s points to another machine",
	  "the domain's DNS: change the record, or sudo dstack-host config set PUBLIC_ADDRESS=..." },
	{ "unproven", CHECK_WARN, "%s points to an address that no interface of this host has: right "
				  "behind a NAT, wrong otherwise",
	  "sudo dstack-host config set PUBLIC_ADDRESS=..." },
	{ "also-elsewhere", CHECK_WARN, "%s points to other addresses too: a part of those who ask "
					"ends up there",
	  "the domain's DNS: remove the other A and AAAA records, unless they are this host's" },
	{ 0 },
};

const struct outcome caa_outcomes[] = {
	{ "allowed", CHECK_OK },
	{ "forbidden", CHECK_WARN, "the CAA records of %s allow other certificate authorities only: "
				   "Let's Encrypt refuses to issue and to renew",
	  "the domain's DNS: a CAA record 0 issue \"" ISSUER "\", unless another authority issues" },
	{ 0 },
};

/* https://www.cloudflare.com/ips/ */
static const struct {
	const char *net;
	unsigned bits;
} cloudflare[] = {
	{ "173.245.48.0", 20 },	 { "103.21.244.0", 22 },  { "103.22.200.0", 22 },
	{ "103.31.4.0", 22 },	 { "141.101.64.0", 18 },  { "108.162.192.0", 18 },
	{ "190.93.240.0", 20 },	 { "188.114.96.0", 20 },  { "197.234.240.0", 22 },
	{ "198.41.128.0", 17 },	 { "162.158.0.0", 15 },	  { "104.16.0.0", 13 },
	{ "104.24.0.0", 14 },	 { "172.64.0.0", 13 },	  { "131.0.72.0", 22 },
	{ "2400:cb00::", 32 },	 { "2606:4700::", 32 },	  { "2803:f800::", 32 },
	{ "2405:b500::", 32 },	 { "2405:8100::", 32 },	  { "2a06:98c0::", 29 },
	{ "2c0f:f248::", 32 },
};

static int in_net(const char *address, const char *net, unsigned bits)
{
	int family = strchr(net, ':') ? AF_INET6 : AF_INET;
	unsigned char a[16], n[16];
	unsigned whole = bits / 8, rest = bits % 8;

	if (inet_pton(family, address, a) != 1 || inet_pton(family, net, n) != 1)
		return 0;
	return memcmp(a, n, whole) == 0 &&
	       (!rest || (a[whole] >> (8 - rest)) == (n[whole] >> (8 - rest)));
}

static int is_proxy(const char *address)
{
	for (size_t i = 0; i < ARRAY_SIZE(cloudflare); i++)
		if (in_net(address, cloudflare[i].net, cloudflare[i].bits))
			return 1;
	return 0;
}

/* RFC 6761 and 8375. */
static int is_reserved(const char *name)
{
	static const char *const tops[] = { ".test", ".invalid", ".localhost", ".example", ".local",
					    ".internal", ".home.arpa" };
	size_t n = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(tops); i++) {
		size_t t = strlen(tops[i]);

		if (n > t && strcasecmp(name + n - t, tops[i]) == 0)
			return 1;
	}
	return 0;
}

/* The rest of a fact "NAME REST" of that key, from *at on; NULL: no more. */
static const char *next_of(const struct peer_answer *a, const char *key, const char *name,
			   size_t *at)
{
	size_t n = strlen(name);

	while (*at < a->n_facts) {
		const struct peer_fact *f = &a->facts[(*at)++];

		if (strcmp(f->key, key) == 0 && strncasecmp(f->value, name, n) == 0 &&
		    f->value[n] == ' ')
			return f->value + n + 1;
	}
	return NULL;
}

/* Did a name server answer the question, "A ok"? */
static int answered(const struct peer_answer *a, const char *name, const char *what)
{
	const char *value;
	size_t at = 0;

	while ((value = next_of(a, "answered", name, &at)))
		if (strcmp(value, what) == 0)
			return 1;
	return 0;
}

struct addresses {
	struct strbuf text;
	unsigned ours, proxies, others;
};

static int same_address(const char *a, const char *b)
{
	unsigned char x[16], y[16];
	int family = strchr(a, ':') ? AF_INET6 : AF_INET;

	return inet_pton(family, a, x) == 1 && inet_pton(family, b, y) == 1 &&
	       memcmp(x, y, family == AF_INET ? 4 : 16) == 0;
}

static void collect(const struct peer_answer *a, const char *name, const char *ours,
		    struct addresses *ret)
{
	const char *address;
	size_t at = 0;

	while ((address = next_of(a, "address", name, &at))) {
		/* It is going to stand in a command: no half is believed. */
		if (check_ip(address))
			continue;
		if (ret->text.len < LIST_MAX)
			sb_addf(&ret->text, "%s%s", ret->text.len ? ", " : "", address);
		if (same_address(address, ours))
			ret->ours++;
		else if (is_proxy(address))
			ret->proxies++;
		else
			ret->others++;
	}
}

static const char *judge_addresses(const struct addresses *found, int stated)
{
	if (found->proxies)
		return "proxied";
	if (!found->ours)
		return stated ? "elsewhere" : "unproven";
	return found->others ? "also-elsewhere" : "points-here";
}

/* Both names are served where the registry is. */
static int is_public(const struct settings *s)
{
	struct hostport hp;

	return !parse_hostport(setting(s, KEY_REGISTRY_LISTEN), &hp) &&
	       !host_is_loopback(hp.host);
}

static const char *eval_name(const struct check_view *v, struct verdict *r, const char *name)
{
	const struct settings *s = v->parts.settings;
	const struct peer_answer *a = &v->parts.probe[PROBE_DNS].answer;
	_cleanup_free_ char *trouble = NULL;
	struct addresses found = { 0 };
	const char *ours = setting(s, KEY_PUBLIC_ADDRESS), *outcome;

	verdict_subject(r, "%s", name);
	if (is_reserved(name))
		return "reserved";
	if (!probe_answered(&v->parts.probe[PROBE_DNS], 0, &trouble)) {
		verdict_subject(r, "%s", a->text ? a->text : trouble);
		return SKIP_UNKNOWN;
	}
	collect(a, name, ours, &found);
	if (!found.text.len) {
		if (answered(a, name, "A ok"))
			return is_public(s) ? "no-record" : "not-yet";
		verdict_subject(r, "no name server answers for %s", name);
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "%s", found.text.data);
	sb_free(&found.text);
	if (!*ours) {
		verdict_subject(r, "PUBLIC_ADDRESS");
		return SKIP_UNSET;
	}
	verdict_expected(r, "%s", ours);
	outcome = judge_addresses(&found, s->v[KEY_PUBLIC_ADDRESS].source == SOURCE_FILE);
	if (strcmp(outcome, "unproven") == 0)
		verdict_fix(r, "sudo dstack-host config set PUBLIC_ADDRESS=%.*s",
			    (int)strcspn(r->found, ","), r->found);
	return outcome;
}

const char *eval_registry_name(const struct check_view *v, struct verdict *r)
{
	if (!settings_registry_on(v->parts.settings)) {
		verdict_subject(r, "REGISTRY=off");
		return SKIP_OFF;
	}
	return eval_name(v, r, setting(v->parts.settings, KEY_REGISTRY));
}

const char *eval_kms_name(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *name =
		xasprintf("kms.%s", setting(v->parts.settings, KEY_DOMAIN));

	if (!setting_is_set(v->parts.settings, KEY_KMS_IMAGE)) {
		verdict_subject(r, "KMS_IMAGE");
		return SKIP_UNSET;
	}
	return eval_name(v, r, name);
}

/* "issue ca.example; parameters": of which authority? */
static int names_issuer(const char *value)
{
	value += strspn(value, " ");
	return strncasecmp(value, ISSUER, strlen(ISSUER)) == 0 &&
	       strchr("; ", value[strlen(ISSUER)]);
}

/* The nearest name upwards that has CAA records decides (RFC 8659). 1: allowed, 0: forbidden,
 * -1: it has none. */
static int caa_of(const struct peer_answer *a, const char *name)
{
	const char *value;
	int any = 0, issue = 0, allowed = 0;
	size_t at = 0;

	while ((value = next_of(a, "caa", name, &at))) {
		any = 1;
		if (strncasecmp(value, "issue ", 6) != 0)
			continue;
		issue = 1;
		allowed |= names_issuer(value + 6);
	}
	return !any ? -1 : !issue || allowed;
}

/* Upwards from `name`; *at is where that is decided, or who did not answer: an authority that
 * gets no answer does not issue. 1: forbidden, 0: allowed, -1: nobody knows. */
static int is_forbidden(const struct peer_answer *a, const char *name, const char **at)
{
	for (const char *p = name; p && strchr(p, '.'); p = strchr(p, '.') + 1) {
		int r = caa_of(a, p);

		*at = p;
		if (r >= 0)
			return !r;
		if (!answered(a, p, "CAA ok"))
			return -1;
	}
	return 0;
}

const char *eval_caa(const struct check_view *v, struct verdict *r)
{
	const struct settings *s = v->parts.settings;
	const struct peer_answer *a = &v->parts.probe[PROBE_DNS].answer;
	_cleanup_free_ char *trouble = NULL, *kms = xasprintf("kms.%s", setting(s, KEY_DOMAIN));
	const char *const names[] = { settings_registry_on(s) ? setting(s, KEY_REGISTRY) : kms, kms };

	if (is_reserved(setting(s, KEY_DOMAIN))) {
		verdict_subject(r, "%s is no public name", setting(s, KEY_DOMAIN));
		return SKIP_UNKNOWN;
	}
	if (!probe_answered(&v->parts.probe[PROBE_DNS], 0, &trouble)) {
		verdict_subject(r, "%s", a->text ? a->text : trouble);
		return SKIP_UNKNOWN;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *at = names[i];
		int forbidden = is_forbidden(a, names[i], &at);

		verdict_subject(r, forbidden < 0 ? "no name server answers for the CAA records of %s" :
						   "%s", at ? at : names[i]);
		if (forbidden)
			return forbidden < 0 ? SKIP_UNKNOWN : "forbidden";
	}
	return "allowed";
}
