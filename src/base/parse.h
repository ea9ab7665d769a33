// SPDX-License-Identifier: Apache-2.0
/*
 * One function per type of value. Each returns NULL when the value is good, else the reason
 * as a phrase ("not a port (1-65535)"); none of them changes anything or looks anything up.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "macro.h"

/* Decimal digits only, no sign, no leading zero, min <= value <= max. */
const char *parse_uint(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
const char *parse_port(const char *s, uint16_t *ret);

struct hostport {
	char host[64]; /* IPv4 address, or IPv6 without its brackets */
	uint16_t port;
};
/* 127.0.0.1:9080, [::1]:9080 */
const char *parse_hostport(const char *s, struct hostport *ret);

struct vsock_addr {
	uint32_t cid;
	uint32_t port; /* 0 where none was asked for */
};
/* vsock:CID (decimal or 0x hex); with_port: vsock:CID:PORT. */
const char *parse_vsock(const char *s, int with_port, struct vsock_addr *ret);

struct port_range {
	char protocol[4]; /* "tcp" or "udp" */
	uint16_t from, to;
};
/* "tcp:9101-9999 udp:9200-9299"; *ret is the caller's. */
const char *parse_port_ranges(const char *s, struct port_range **ret, size_t *ret_n);

struct url {
	char scheme[8];
	char host[256]; /* without brackets */
	uint16_t port;	/* the scheme's own when none is given */
	int has_user;	/* user or password in it */
	const char *path; /* points into the string given, "" when there is none */
};
/* http or https; no fragment, no blank. */
const char *parse_url(const char *s, struct url *ret);

const char *check_domain(const char *s);	/* FQDN: two labels or more */
const char *check_ip(const char *s);		/* IPv4 or IPv6 literal */
const char *check_hostport(const char *s);
const char *check_port(const char *s);
const char *check_path(const char *s);		/* absolute, no "..", no "//" */
const char *check_vsock_cid(const char *s);
const char *check_qgs_address(const char *s);	/* vsock:CID:PORT or unix:/PATH */
const char *check_port_ranges(const char *s);
const char *check_url(const char *s);		/* http or https */
const char *check_url_list(const char *s);	/* separated by single blanks */
const char *check_https_list(const char *s);
const char *check_eth_address(const char *s);	/* 0x, 40 hex digits; EIP-55 */
const char *check_version(const char *s);	/* 0.5.5, 0.6.0-dev */
const char *check_name(const char *s);		/* letters, digits, - and _, at most 64 */
const char *check_image_ref(const char *s);	/* container image, by digest or tag */
const char *check_image_digest_ref(const char *s); /* NAME@sha256:64 hex digits */
const char *check_host_list(const char *s);	/* for NO_PROXY: names, addresses, commas */

/* Is the host part one of the machine's own loopback names? */
int host_is_loopback(const char *host);
/* Calls f for every word of a list; stops at the first that returns non-zero. */
int for_each_word(const char *s, int (*f)(const char *word, void *arg), void *arg);
