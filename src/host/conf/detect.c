// SPDX-License-Identifier: Apache-2.0
/* CPUs, memory and the address of this machine. */
#include "host/conf/detect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"

/* What the reference host keeps for itself: 4 CPUs and 16 GiB. */
#define HOST_CPUS 4
#define HOST_MEMORY_MB 16384ull

/* A tree without /proc is no failure, *ret stays NULL then. */
static int read_proc(const struct root *root, const char *path, size_t max, char **ret)
{
	int r = file_read(root, path, max, ret, NULL);

	return r == -ENOENT || r == -EACCES ? 0 : r;
}

static int detect_vcpu(const struct root *root, char **ret)
{
	_cleanup_free_ char *text = NULL;
	unsigned cpus = 0;
	int r = read_proc(root, "/proc/cpuinfo", 64 << 20, &text);

	if (r < 0 || !text)
		return r;
	for (const char *p = text; (p = strstr(p, "processor\t:")); p++)
		cpus++;
	if (cpus)
		*ret = xasprintf("%u", cpus > HOST_CPUS ? cpus - HOST_CPUS : 1);
	return 0;
}

static int detect_memory(const struct root *root, char **ret)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long kib, mib;
	const char *p;
	int r = read_proc(root, "/proc/meminfo", 1 << 20, &text);

	if (r < 0 || !text)
		return r;
	p = strstr(text, "MemTotal:");
	if (!p || sscanf(p, "MemTotal: %llu kB", &kib) != 1)
		return 0;
	mib = kib / 1024;
	/* A machine so small that 16 GiB would be more than a quarter of it. */
	*ret = xasprintf("%llu", mib < 4 * HOST_MEMORY_MB ? mib / 4 * 3 : mib - HOST_MEMORY_MB);
	return 0;
}

/* The source address the kernel would take to reach the outside: connect(2) on a datagram
 * socket only looks up the route, it sends nothing. 192.0.2.1 is TEST-NET-1 (RFC 5737). */
static int detect_address(const struct root *root, char **ret)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	_cleanup_close_ int fd = -1;
	socklen_t len = sizeof(to);
	char text[INET_ADDRSTRLEN];

	if (!root_is_host(root))
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : -errno;
	inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&to, &len) < 0)
		return 0; /* no route */
	*ret = xstrdup(inet_ntop(AF_INET, &to.sin_addr, text, sizeof(text)));
	return 0;
}

int detect_setting(const struct root *root, enum key_id id, char **ret)
{
	static const struct {
		enum key_id id;
		int (*detect)(const struct root *root, char **ret);
	} table[] = {
		{ KEY_VMM_MAX_VCPU, detect_vcpu },
		{ KEY_VMM_MAX_MEMORY_MB, detect_memory },
		{ KEY_PUBLIC_ADDRESS, detect_address },
	};

	*ret = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].id == id)
			return table[i].detect(root, ret);
	return 0;
}
