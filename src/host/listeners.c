// SPDX-License-Identifier: Apache-2.0
/* Who listens, and whose descriptors the sockets are. */
#include "host/listeners.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/strbuf.h"

/* Of TCP; of UDP one that is connected to nobody. */
enum { STATE_LISTEN = 0x0a, STATE_CLOSE = 0x07 };

static int is_loopback(const struct in6_addr *a, int v6)
{
	if (!v6)
		return a->s6_addr[0] == 127;
	if (IN6_IS_ADDR_V4MAPPED(a))
		return a->s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(a);
}

/* The kernel prints addresses as words in the machine's own byte order. */
static int read_address(const char *hex, int v6, struct in6_addr *ret)
{
	size_t words = v6 ? 4 : 1;

	memset(ret, 0, sizeof(*ret));
	if (strspn(hex, "0123456789ABCDEFabcdef") != words * 8)
		return -1;
	for (size_t i = 0; i < words; i++) {
		uint32_t word;

		if (sscanf(hex + 8 * i, "%8x", &word) != 1)
			return -1;
		memcpy(&ret->s6_addr[4 * i], &word, 4);
	}
	return 0;
}

void listeners_add(struct listeners *list, const struct in6_addr *a, int v6, unsigned port,
		   unsigned long inode, int udp, int loopback)
{
	struct listener l = { .port = (uint16_t)port, .inode = inode, .udp = udp,
			      .loopback = is_loopback(a, v6) };

	if (l.loopback && !loopback)
		return;
	inet_ntop(v6 ? AF_INET6 : AF_INET, a, l.address, sizeof(l.address));
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].port == l.port && list->items[i].udp == udp &&
		    strcmp(list->items[i].address, l.address) == 0)
			return;
	list->items = xrealloc(list->items, (list->n + 1) * sizeof(*list->items));
	list->items[list->n++] = l;
}

static void parse(const char *text, int v6, int udp, int loopback, struct listeners *ret)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		char hex[33];
		unsigned port, state;
		unsigned long inode;
		struct in6_addr a;

		if (sscanf(line,
			   " %*u: %32[0-9A-Fa-f]:%4x %*[0-9A-Fa-f:] %2x %*s %*s %*s %*s %*s %lu",
			   hex, &port, &state, &inode) != 4)
			continue;
		if (state == (udp ? STATE_CLOSE : STATE_LISTEN) && read_address(hex, v6, &a) == 0)
			listeners_add(ret, &a, v6, port, inode, udp, loopback);
	}
}

void listeners_parse(const char *text, int v6, int loopback, struct listeners *ret)
{
	parse(text, v6, 0, loopback, ret);
}

static struct listener *by_inode(struct listeners *list, unsigned long inode)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].inode == inode && !list->items[i].process)
			return &list->items[i];
	return NULL;
}

static char *process_name(const struct root *root, const char *pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/comm", pid);
	char *name;

	if (file_read(root, path, 64, &name, NULL) < 0)
		return NULL;
	name[strcspn(name, "\n")] = '\0';
	/* The process chose it: nothing but plain characters goes to a terminal. */
	for (char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("-_.:/@()", *p))
			*p = '?';
	return name;
}

static void name_sockets_of(const struct root *root, const char *pid, struct listeners *list)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/fd", pid);
	_cleanup_closedir_ DIR *d = root_opendir(root, path);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		char target[64] = "";
		unsigned long inode;
		struct listener *l;

		if (readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1) < 0 ||
		    sscanf(target, "socket:[%lu]", &inode) != 1)
			continue;
		while ((l = by_inode(list, inode))) {
			l->process = process_name(root, pid);
			if (!l->process)
				break;
		}
	}
}

/* Those without an inode are the kernel's own. */
static int all_are_named(const struct listeners *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].inode && !list->items[i].process)
			return 0;
	return 1;
}

static void name_sockets(const struct root *root, struct listeners *list)
{
	_cleanup_closedir_ DIR *d = root_opendir(root, "/proc");
	const struct dirent *e;

	while (d && !all_are_named(list) && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			name_sockets_of(root, e->d_name, list);
}

static int by_port(const void *a, const void *b)
{
	const struct listener *x = a, *y = b;

	return x->port != y->port ? x->port - y->port : strcmp(x->address, y->address);
}

static int read_tables(const struct root *root, int loopback, struct listeners *ret)
{
	static const struct {
		const char *path;
		int v6;
	} tables[] = { { "/proc/net/tcp", 0 }, { "/proc/net/tcp6", 1 } };

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		_cleanup_free_ char *text = NULL;
		int r = file_read(root, tables[i].path, 64 << 20, &text, NULL);

		/* A kernel without IPv6 has no second table. */
		if (r < 0 && !(r == -ENOENT && tables[i].v6))
			return r;
		if (r == 0)
			listeners_parse(text, tables[i].v6, loopback, ret);
	}
	return 0;
}

static void read_udp(const struct root *root, struct listeners *ret)
{
	static const char *const paths[] = { "/proc/net/udp", "/proc/net/udp6" };

	for (int v6 = 0; v6 < 2; v6++) {
		_cleanup_free_ char *text = NULL;

		if (file_read(root, paths[v6], 64 << 20, &text, NULL) == 0)
			parse(text, v6, 1, 1, ret);
	}
}

/* Is what is below `root` this kernel's own? */
static int is_of_kernel(const struct root *root)
{
	_cleanup_close_ int fd = root_openat(root, "/proc", O_PATH | O_CLOEXEC, 0);
	struct statfs fs;

	return root_is_host(root) && fd >= 0 && fstatfs(fd, &fs) == 0 &&
	       fs.f_type == PROC_SUPER_MAGIC;
}

static int look(const struct root *root, int loopback, struct listeners *ret)
{
	int r = -EOPNOTSUPP, kernel = is_of_kernel(root);

	*ret = (struct listeners){ 0 };
	if (kernel)
		r = listeners_diag(loopback, ret);
	if (r < 0) {
		listeners_free(ret);
		r = read_tables(root, loopback, ret);
	}
	if (r < 0)
		return r;
	/* A kernel may have no module for the one and the table all the same. */
	if (loopback && (!kernel || listeners_diag_udp(ret) < 0))
		read_udp(root, ret);
	if (ret->n) {
		qsort(ret->items, ret->n, sizeof(*ret->items), by_port);
		name_sockets(root, ret);
	}
	return 0;
}

int listeners_all(const struct root *root, struct listeners *ret)
{
	return look(root, 1, ret);
}

int listeners_public(const struct root *root, struct listeners *ret)
{
	return look(root, 0, ret);
}

void listeners_free(struct listeners *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i].process);
	free(list->items);
	*list = (struct listeners){ 0 };
}
