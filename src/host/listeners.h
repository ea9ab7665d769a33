// SPDX-License-Identifier: Apache-2.0
/* TCP sockets that listen, UDP sockets that take what anybody sends: for others than this machine
 * itself, or for it. */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "base/root.h"

struct listener {
	char address[48]; /* "0.0.0.0", "::" */
	uint16_t port;
	int loopback; /* for this machine itself alone */
	int udp;
	unsigned long inode;
	char *process; /* its name, NULL where it may not be known */
};

struct listeners {
	struct listener *items;
	size_t n;
};

/* Adds those of a /proc/net/tcp (v6: tcp6) text, with loopback: also those. Lines that are not understood are left out. */
void listeners_parse(const char *text, int v6, int loopback, struct listeners *ret);
/* All of the system, UDP too, with names as far as this user may see them. 0 or -errno. */
int listeners_all(const struct root *root, struct listeners *ret) _must_check_;
/* Those of the system that others reach, with names as far as this user may see them. 0 or -errno. */
int listeners_public(const struct root *root, struct listeners *ret) _must_check_;
void listeners_free(struct listeners *list);

/* Adds one that is not there yet; without `loopback` only what others reach. */
void listeners_add(struct listeners *list, const struct in6_addr *a, int v6, unsigned port,
		   unsigned long inode, int udp, int loopback);
/* Adds those that this kernel tells of over netlink; names are not among it. 0 or -errno. */
int listeners_diag(int loopback, struct listeners *ret) _must_check_;
/* UDP sockets, the same. */
int listeners_diag_udp(struct listeners *ret) _must_check_;
