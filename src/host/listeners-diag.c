// SPDX-License-Identifier: Apache-2.0
/*
 * The listening sockets, and those of UDP without a peer, of the kernel's sock_diag(7): for /proc/net/tcp it goes through
 * the table of all connections, whose size follows the machine's memory.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macro.h"
#include "host/listeners.h"

/* A message of the kernel's never gets larger in a dump. */
enum { MESSAGE_MAX = 32 << 10, LIMIT_S = 2 };

static int request(int fd, int v6, int udp)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
	} q = {
		.header = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .sdiag_family = v6 ? AF_INET6 : AF_INET, .sdiag_protocol = udp ? IPPROTO_UDP : IPPROTO_TCP,
			  .idiag_states = 1u << (udp ? TCP_CLOSE : TCP_LISTEN) },
	};
	struct timeval limit = { .tv_sec = LIMIT_S };

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    send(fd, &q, sizeof(q), 0) < 0)
		return -errno;
	return 0;
}

static int error_of(const struct nlmsghdr *m)
{
	const struct nlmsgerr *e = NLMSG_DATA(m);

	return m->nlmsg_len >= NLMSG_LENGTH(sizeof(*e)) && e->error < 0 ? e->error : -EIO;
}

/* 1: that was all; 0: there is more; -errno. */
static int take(const struct nlmsghdr *m, size_t len, int v6, int udp, int loopback,
		struct listeners *ret)
{
	for (; NLMSG_OK(m, len); m = NLMSG_NEXT(m, len)) {
		const struct inet_diag_msg *d = NLMSG_DATA(m);
		struct in6_addr a = { 0 };

		if (m->nlmsg_type == NLMSG_DONE)
			return 1;
		if (m->nlmsg_type == NLMSG_ERROR)
			return error_of(m);
		/* Another one changed the table meanwhile. */
		if (m->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		if (m->nlmsg_len < NLMSG_LENGTH(sizeof(*d)) ||
		    d->idiag_state != (udp ? TCP_CLOSE : TCP_LISTEN))
			continue;
		memcpy(&a, d->id.idiag_src, v6 ? 16 : 4);
		listeners_add(ret, &a, v6, ntohs(d->id.idiag_sport), d->idiag_inode, udp,
			      loopback);
	}
	return 0;
}

static int dump(int v6, int udp, int loopback, struct listeners *ret)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	union {
		struct nlmsghdr first;
		char bytes[MESSAGE_MAX];
	} in;
	int r = fd < 0 ? -errno : request(fd, v6, udp);

	while (r == 0) {
		ssize_t n = recv(fd, &in, sizeof(in), MSG_TRUNC);

		if (n <= 0 || (size_t)n > sizeof(in))
			return n < 0 ? -errno : -EMSGSIZE;
		r = take(&in.first, (size_t)n, v6, udp, loopback, ret);
	}
	return r < 0 ? r : 0;
}

int listeners_diag(int loopback, struct listeners *ret)
{
	int r = dump(0, 0, loopback, ret);

	return r < 0 ? r : dump(1, 0, loopback, ret);
}

int listeners_diag_udp(struct listeners *ret)
{
	int r = dump(0, 1, 1, ret);

	return r < 0 ? r : dump(1, 1, 1, ret);
}
