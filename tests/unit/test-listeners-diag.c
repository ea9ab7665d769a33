// SPDX-License-Identifier: Apache-2.0
/* What the kernel tells of listening sockets over netlink is what /proc/net/tcp has of them. */
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/listeners.h"

static int bound(int family, const char *address, unsigned *port)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	struct sockaddr *any = family == AF_INET ? (void *)&four : (void *)&six;
	socklen_t len = family == AF_INET ? sizeof(four) : sizeof(six);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(family, address,
		  family == AF_INET ? (void *)&four.sin_addr : (void *)&six.sin6_addr);
	if (fd < 0 || bind(fd, any, len) < 0 || getsockname(fd, any, &len) < 0) {
		close(fd);
		return -1;
	}
	*port = ntohs(family == AF_INET ? four.sin_port : six.sin6_port);
	return fd;
}

static const struct listener *find(const struct listeners *list, const char *address,
				   unsigned port)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].port == port && strcmp(list->items[i].address, address) == 0)
			return &list->items[i];
	return NULL;
}

static void assert_told(int family, const char *address, int loopback)
{
	struct listeners all = { 0 }, public = { 0 };
	const struct listener *l;
	struct stat st;
	unsigned port;
	int fd = bound(family, address, &port);

	if (fd < 0 && family == AF_INET6)
		return; /* a kernel without IPv6 */
	assert_true(fd >= 0);
	assert_int_equal(listeners_diag(1, &all), 0);
	assert_null(find(&all, address, port)); /* bound, but nobody listens */
	listeners_free(&all);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(listeners_diag(1, &all), 0);
	assert_int_equal(listeners_diag(0, &public), 0);
	l = must(find(&all, address, port));
	assert_int_equal(l->inode, st.st_ino);
	assert_int_equal(l->loopback, loopback);
	assert_int_equal(!find(&public, address, port), loopback);
	listeners_free(&all);
	listeners_free(&public);
	close(fd);
}

static void listening_sockets_are_told(void **state _unused_)
{
	assert_told(AF_INET, "127.0.0.1", 1);
	assert_told(AF_INET, "0.0.0.0", 0);
	assert_told(AF_INET6, "::1", 1);
	assert_told(AF_INET6, "::", 0);
}

/* More than fit one answer of the kernel's; those of others come and go, ours stay. */
static void many_are_told(void **state _unused_)
{
	enum { MANY = 400 };
	_cleanup_free_ char *text = NULL;
	struct listeners diag = { 0 }, table = { 0 };
	struct root host;
	int fds[MANY];
	unsigned ports[MANY];

	for (int i = 0; i < MANY; i++) {
		fds[i] = bound(AF_INET, "127.0.0.1", &ports[i]);
		assert_true(fds[i] >= 0);
		assert_int_equal(listen(fds[i], 1), 0);
	}
	assert_int_equal(root_open(NULL, &host), 0);
	assert_int_equal(file_read(&host, "/proc/net/tcp", 64 << 20, &text, NULL), 0);
	listeners_parse(text, 0, 1, &table);
	assert_int_equal(listeners_diag(1, &diag), 0);
	for (int i = 0; i < MANY; i++) {
		const struct listener *a = must(find(&diag, "127.0.0.1", ports[i]));
		const struct listener *b = must(find(&table, "127.0.0.1", ports[i]));

		assert_int_equal(a->inode, b->inode);
		close(fds[i]);
	}
	listeners_free(&diag);
	listeners_free(&table);
	root_close(&host);
}

static void the_running_system_is_asked(void **state _unused_)
{
	struct listeners list;
	struct root host;
	unsigned port;
	int fd = bound(AF_INET, "127.0.0.1", &port);

	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(root_open(NULL, &host), 0);
	assert_int_equal(listeners_all(&host, &list), 0);
	assert_non_null(find(&list, "127.0.0.1", port));
	assert_non_null(must(find(&list, "127.0.0.1", port))->process);
	listeners_free(&list);
	root_close(&host);
	close(fd);
}

static const struct listener *find_udp(const struct listeners *list, const char *address,
				       unsigned port)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].udp && list->items[i].port == port &&
		    strcmp(list->items[i].address, address) == 0)
			return &list->items[i];
	return NULL;
}

static void udp_is_told_until_it_is_connected(void **state _unused_)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct listeners list;
	struct root host;
	unsigned port;

	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	port = ntohs(at.sin_port);
	assert_int_equal(root_open(NULL, &host), 0);
	assert_int_equal(listeners_all(&host, &list), 0);
	assert_non_null(must(find_udp(&list, "127.0.0.1", port))->process);
	assert_int_equal(must(find_udp(&list, "127.0.0.1", port))->loopback, 1);
	listeners_free(&list);
	assert_int_equal(listeners_public(&host, &list), 0);
	for (size_t i = 0; i < list.n; i++)
		assert_false(list.items[i].udp);
	listeners_free(&list);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listeners_all(&host, &list), 0);
	assert_null(find_udp(&list, "127.0.0.1", port));
	listeners_free(&list);
	root_close(&host);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listening_sockets_are_told),
		cmocka_unit_test(many_are_told),
		cmocka_unit_test(the_running_system_is_asked),
		cmocka_unit_test(udp_is_told_until_it_is_connected),
	};

	return cmocka_run_group_tests_name("listeners-diag", tests, NULL, NULL);
}
