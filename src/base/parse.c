// SPDX-License-Identifier: Apache-2.0
/* Numbers, addresses and URLs. Names and identifiers are in check.c. */
#include "parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

const char *parse_uint(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s || (s[0] == '0' && s[1]))
		return "not a plain decimal number";
	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return "not a plain decimal number";
		if (v > (UINT64_MAX - 9) / 10)
			return "number too large";
		v = v * 10 + (uint64_t)(*s - '0');
	}
	if (v < min)
		return "number too small";
	if (v > max)
		return "number too large";
	*ret = v;
	return NULL;
}

const char *parse_port(const char *s, uint16_t *ret)
{
	uint64_t v;

	if (parse_uint(s, 1, 65535, &v))
		return "not a port (1-65535)";
	*ret = (uint16_t)v;
	return NULL;
}

const char *check_port(const char *s)
{
	uint16_t port;

	return parse_port(s, &port);
}

const char *check_ip(const char *s)
{
	unsigned char addr[16];

	if (inet_pton(AF_INET, s, addr) == 1 || inet_pton(AF_INET6, s, addr) == 1)
		return NULL;
	return "not an IP address";
}

const char *parse_hostport(const char *s, struct hostport *ret)
{
	static const char bad[] = "not ADDRESS:PORT (like 127.0.0.1:9080)";
	const char *colon = strrchr(s, ':');
	size_t n;

	if (!colon)
		return bad;
	n = (size_t)(colon - s);
	if (s[0] == '[') {
		if (n < 3 || s[n - 1] != ']')
			return bad;
		s++;
		n -= 2;
	} else if (memchr(s, ':', n)) {
		return bad;
	}
	if (n == 0 || n >= sizeof(ret->host))
		return bad;
	memcpy(ret->host, s, n);
	ret->host[n] = '\0';
	/* Brackets are IPv6's: whoever reads the value after us takes them for nothing else. */
	if (check_ip(ret->host) || parse_port(colon + 1, &ret->port) ||
	    (colon[-1] == ']') != (strchr(ret->host, ':') != NULL))
		return bad;
	return NULL;
}

const char *check_hostport(const char *s)
{
	struct hostport hp;

	return parse_hostport(s, &hp);
}

static int parse_cid(const char *s, size_t n, uint32_t *ret)
{
	char word[16];
	char *end;
	unsigned long v;

	if (n == 0 || n >= sizeof(word) || !isdigit((unsigned char)s[0]))
		return -1;
	memcpy(word, s, n);
	word[n] = '\0';
	v = strtoul(word, &end, strncmp(word, "0x", 2) == 0 ? 16 : 10);
	if (*end || v > UINT32_MAX)
		return -1;
	*ret = (uint32_t)v;
	return 0;
}

const char *parse_vsock(const char *s, int with_port, struct vsock_addr *ret)
{
	const char *bad = with_port ? "not vsock:CID:PORT (like vsock:2:4050)" :
				      "not vsock:CID (like vsock:2)";
	const char *colon;
	uint64_t port = 0;

	if (strncmp(s, "vsock:", 6) != 0)
		return bad;
	s += 6;
	colon = strchr(s, ':');
	if (!colon != !with_port)
		return bad;
	if (parse_cid(s, colon ? (size_t)(colon - s) : strlen(s), &ret->cid) < 0)
		return bad;
	if (colon && parse_uint(colon + 1, 1, UINT32_MAX, &port))
		return bad;
	ret->port = (uint32_t)port;
	return NULL;
}

const char *check_vsock_cid(const char *s)
{
	struct vsock_addr a;

	return parse_vsock(s, 0, &a);
}

const char *check_qgs_address(const char *s)
{
	struct vsock_addr a;

	if (strncmp(s, "unix:", 5) == 0)
		return check_path(s + 5);
	return parse_vsock(s, 1, &a) ? "not vsock:CID:PORT or unix:/PATH" : NULL;
}

static const char *parse_range(const char *word, struct port_range *r)
{
	static const char bad[] = "not PROTOCOL:FROM-TO (like tcp:9101-9999)";
	char from[8];
	const char *dash;
	size_t n;

	if (strncmp(word, "tcp:", 4) != 0 && strncmp(word, "udp:", 4) != 0)
		return bad;
	memcpy(r->protocol, word, 3);
	r->protocol[3] = '\0';
	word += 4;
	dash = strchr(word, '-');
	n = dash ? (size_t)(dash - word) : strlen(word);
	if (n >= sizeof(from))
		return bad;
	memcpy(from, word, n);
	from[n] = '\0';
	if (parse_port(from, &r->from) || parse_port(dash ? dash + 1 : from, &r->to))
		return bad;
	return r->from > r->to ? "range ends before it begins" : NULL;
}

struct ranges {
	struct port_range *items;
	size_t n;
	const char *reason;
};

static int add_range(const char *word, void *arg)
{
	struct ranges *list = arg;

	list->items = xrealloc(list->items, (list->n + 1) * sizeof(*list->items));
	list->reason = parse_range(word, &list->items[list->n]);
	list->n++;
	return list->reason != NULL;
}

const char *parse_port_ranges(const char *s, struct port_range **ret, size_t *ret_n)
{
	struct ranges list = { 0 };

	for_each_word(s, add_range, &list);
	if (!list.n && !list.reason)
		list.reason = "no range given";
	if (list.reason) {
		free(list.items);
		return list.reason;
	}
	*ret = list.items;
	*ret_n = list.n;
	return NULL;
}

const char *check_port_ranges(const char *s)
{
	struct port_range *items;
	const char *reason;
	size_t n;

	reason = parse_port_ranges(s, &items, &n);
	if (!reason)
		free(items);
	return reason;
}

static int host_is_valid(const char *host)
{
	if (check_ip(host) == NULL || strcmp(host, "localhost") == 0)
		return 1;
	return check_domain(host) == NULL;
}

/* Splits "host", "host:port", "[v6]", "[v6]:port"; the port stays untouched when absent. */
static int split_authority(const char *s, size_t n, struct url *ret)
{
	const char *end = s + n, *host = s, *host_end, *port = NULL;
	char word[8];

	if (n && s[0] == '[') {
		host = s + 1;
		host_end = memchr(s, ']', n);
		if (!host_end)
			return -1;
		if (host_end + 1 < end && host_end[1] != ':')
			return -1;
		port = host_end + 1 < end ? host_end + 2 : NULL;
	} else {
		host_end = memchr(s, ':', n);
		port = host_end ? host_end + 1 : NULL;
		host_end = host_end ? host_end : end;
	}
	if (host_end == host || (size_t)(host_end - host) >= sizeof(ret->host))
		return -1;
	memcpy(ret->host, host, (size_t)(host_end - host));
	ret->host[host_end - host] = '\0';
	if ((host > s) != (strchr(ret->host, ':') != NULL))
		return -1;
	if (!port)
		return 0;
	if ((size_t)(end - port) >= sizeof(word))
		return -1;
	memcpy(word, port, (size_t)(end - port));
	word[end - port] = '\0';
	return parse_port(word, &ret->port) ? -1 : 0;
}

const char *parse_url(const char *s, struct url *ret)
{
	static const char bad[] = "not a URL (http:// or https://)";
	const char *rest, *path, *at;
	size_t n;

	memset(ret, 0, sizeof(*ret));
	if (strncmp(s, "https://", 8) == 0) {
		strcpy(ret->scheme, "https");
		ret->port = 443;
	} else if (strncmp(s, "http://", 7) == 0) {
		strcpy(ret->scheme, "http");
		ret->port = 80;
	} else {
		return bad;
	}
	rest = strstr(s, "://") + 3;
	if (strpbrk(rest, " \t#"))
		return bad;
	path = rest + strcspn(rest, "/?");
	n = (size_t)(path - rest);
	at = memrchr(rest, '@', n);
	if (at) {
		ret->has_user = 1;
		n -= (size_t)(at + 1 - rest);
		rest = at + 1;
	}
	if (split_authority(rest, n, ret) < 0 || !host_is_valid(ret->host))
		return "not a URL: bad host or port";
	ret->path = path;
	return NULL;
}

const char *check_url(const char *s)
{
	struct url u;

	return parse_url(s, &u);
}

int for_each_word(const char *s, int (*f)(const char *word, void *arg), void *arg)
{
	_cleanup_free_ char *copy = xstrdup(s);
	char *save = NULL;

	for (char *w = strtok_r(copy, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
		int r = f(w, arg);

		if (r)
			return r;
	}
	return 0;
}

static int url_word(const char *word, void *arg)
{
	const char **reason = arg;

	*reason = check_url(word);
	return *reason != NULL;
}

const char *check_url_list(const char *s)
{
	const char *reason = NULL;

	for_each_word(s, url_word, &reason);
	return reason;
}

static int https_word(const char *word, void *arg)
{
	const char **reason = arg;
	struct url u;

	*reason = parse_url(word, &u);
	if (!*reason && strcmp(u.scheme, "https") != 0)
		*reason = "guests accept https:// only";
	if (!*reason && host_is_loopback(u.host))
		*reason = "a guest would reach itself under a loopback name";
	return *reason != NULL;
}

const char *check_https_list(const char *s)
{
	const char *reason = NULL;

	for_each_word(s, https_word, &reason);
	return reason;
}

int host_is_loopback(const char *host)
{
	struct in_addr v4;

	if (strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0)
		return 1;
	return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}
