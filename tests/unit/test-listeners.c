// SPDX-License-Identifier: Apache-2.0
/* Tables of the kernel's sockets, JSON with comments, values without credentials: what is taken from odd ones. */
#include "test.h"

#include <errno.h>

#include "base/alloc.h"
#include "host/json.h"
#include "host/listeners.h"
#include "host/check/qcnl-file.h"
#include "host/conf/shown.h"

#define HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define V4(address, state, inode)                                                        \
	"   0: " address " 00000000:0000 " state " 00000000:00000000 00:00000000 00000000     0        0 " inode " 1\n"
#define NONE6 " 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
#define V6(address, inode) "   0: " address NONE6 inode " 1\n"

/* As "address:port " each, with "*" for this machine alone. */
static char *parsed(const char *text, int v6)
{
	struct listeners list = { 0 };
	struct strbuf sb = { 0 };

	listeners_parse(text, v6, 1, &list);
	for (size_t i = 0; i < list.n; i++)
		sb_addf(&sb, "%s%s:%u ", list.items[i].loopback ? "*" : "", list.items[i].address,
			list.items[i].port);
	listeners_free(&list);
	return sb_steal(&sb);
}

static void addresses_are_words_of_the_machine(void **state _unused_)
{
	static const char v4[] =
		HEAD V4("00000000:2388", "0A", "1") V4("0100007F:0050", "0A", "2")
		V4("00000000:2388", "0A", "3") /* the same again, by SO_REUSEPORT */
		V4("0100A8C0:2388", "0A", "4") V4("00000000:0001", "01", "5")
		V4("000000:0001", "0A", "6") "nonsense\n";
	static const char v6[] =
		HEAD V6("00000000000000000000000001000000:0050", "1")
		V6("0000000000000000FFFF00000100007F:0051", "2")
		V6("0000000000000000FFFF00000100A8C0:0052", "3")
		V6("00000000000000000000000002000000:0053", "4")
		V6("00000000000000000100000001000000:0054", "5")
		V6("00000000010000000000000001000000:0055", "6")
		V6("B80D0120000000000000000001000000:0056", "7")
		V6("00000000010000000000FFFF01000000:0057", "8");
	_cleanup_free_ char *four = parsed(v4, 0), *six = parsed(v6, 1);

	assert_string_equal(four, "0.0.0.0:9096 *127.0.0.1:80 192.168.0.1:9096 ");
	assert_string_equal(six, "*::1:80 *::ffff:127.0.0.1:81 ::ffff:192.168.0.1:82 ::2:83 "
				 "::1:0:1:84 ::1:0:0:0:1:85 2001:db8::1:86 ::1:ffff:0:0:1:87 ");
}

static void link_fd(const struct fixture *f, const char *fd, const char *target)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/proc/%s", f->dir, fd);
	assert_int_equal(symlink(target, full), 0);
}

static void sockets_get_their_processes_name(void **state)
{
	const struct fixture *f = *state;
	struct listeners list;

	assert_int_equal(listeners_all(&f->root, &list), -ENOENT);
	put_text(f, "/proc/net/tcp", HEAD);
	assert_int_equal(listeners_all(&f->root, &list), 0); /* no IPv6, no listener */
	assert_int_equal(list.n, 0);
	put_text(f, "/proc/net/tcp", HEAD V4("00000000:2388", "0A", "71") V4("0100007F:0050", "0A", "72")
		 V4("00000000:0051", "0A", "73"));
	put_text(f, "/proc/10/comm", "a-b\x1b[31m inx\n");
	put_text(f, "/proc/10/fd/.keep", "");
	link_fd(f, "10/fd/3", "socket:[71]");
	link_fd(f, "10/fd/4", "/dev/null");
	put_text(f, "/proc/11/fd/.keep", ""); /* of no name that could be read */
	link_fd(f, "11/fd/3", "socket:[73]");
	put_text(f, "/proc/12/comm", "gone\n");
	put_text(f, "/proc/self/comm", "not a number\n");
	assert_int_equal(listeners_all(&f->root, &list), 0);
	assert_int_equal(list.n, 3);
	assert_int_equal(list.items[0].port, 80);
	assert_null(list.items[0].process);
	assert_null(list.items[1].process);
	assert_string_equal(list.items[2].process, "a-b??31m?inx");
	listeners_free(&list);
	assert_int_equal(listeners_public(&f->root, &list), 0);
	assert_int_equal(list.n, 2);
	listeners_free(&list);
	/* The same numbers by UDP, and one that has a peer. */
	put_text(f, "/proc/net/udp", HEAD V4("00000000:2388", "07", "74") V4("00000000:2389", "01", "75")
		 V4("0100007F:0050", "07", "72"));
	put_text(f, "/proc/net/udp6", HEAD);
	assert_int_equal(listeners_all(&f->root, &list), 0);
	assert_int_equal(list.n, 5);
	for (size_t i = 0, udp = 0; i < list.n; i++) {
		udp += (size_t)list.items[i].udp;
		assert_int_equal(i + 1 < list.n || udp == 2, 1);
	}
	listeners_free(&list);
	assert_int_equal(listeners_public(&f->root, &list), 0);
	assert_int_equal(list.n, 2);
	listeners_free(&list);
	put_text(f, "/proc/net/tcp6/x", "");
	assert_int_equal(listeners_all(&f->root, &list), -EISDIR);
	listeners_free(&list); /* what was read before */
}

/* Who looks at every process of a busy host for nothing is slow. */
static void sockets_without_process_are_not_waited_for(void **state)
{
	const struct fixture *f = *state;
	struct listeners list;

	put_text(f, "/proc/net/tcp", HEAD V4("00000000:2388", "0A", "71") V4("00000000:0051", "0A", "0"));
	put_text(f, "/proc/10/comm", "haproxy\n");
	put_text(f, "/proc/10/fd/.keep", "");
	link_fd(f, "10/fd/3", "socket:[71]");
	assert_int_equal(listeners_all(&f->root, &list), 0);
	assert_int_equal(list.n, 2);
	assert_null(list.items[0].process);
	assert_string_equal(list.items[1].process, "haproxy");
	listeners_free(&list);
}

static void comments_of_a_qcnl_file_end(void **state)
{
	static const struct {
		const char *text, *broken, *url;
	} cases[] = {
		{ "{ /* a\nb */ \"pccs_url\": \"https://h/\" } // c", NULL, "https://h/" },
		{ "{ \"pccs_url\": \"https://h/\\\"//x\" }", NULL, "https://h/\"//x" },
		{ "{ \"pccs_url\": 1 }", NULL, "https://localhost:8081/sgx/certification/v4/" },
		{ "[]", "it is no object", "https://localhost:8081/sgx/certification/v4/" },
		{ "{} /* a", "line 1: ", NULL },
		{ "{} /x", "line 1: ", NULL },
		{ "\"\\", "line 1: ", NULL },
		{ "\"", "line 1: ", NULL },
	};
	const struct fixture *f = *state;
	struct qcnl_file q;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		qcnl_parse(cases[i].text, &q);
		if (cases[i].broken)
			assert_int_equal(strncmp(q.broken, cases[i].broken, strlen(cases[i].broken)), 0);
		else
			assert_null(q.broken);
		if (cases[i].url)
			assert_string_equal(q.url, cases[i].url);
		qcnl_free(&q);
	}
	assert_int_equal(qcnl_read(&f->root, "/none", &q), -ENOENT);
}

static void json_of_too_many_values_is_not_read(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	json_t *doc = json_read("{\"a,\\\",\": [1, 2]}", 17, 0);

	assert_int_equal(json_array_size(json_object_get(doc, "a,\",")), 2);
	json_decref(doc);
	sb_add(&sb, "[");
	for (int i = 0; i < 1 << 18; i++)
		sb_add(&sb, "1,");
	sb_add(&sb, "1]");
	assert_null(json_read(sb.data, sb.len, 0));
}

static void only_hosts_of_urls_are_shown(void **state)
{
	const struct fixture *f = *state;
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_free_ char *urls = NULL, *domain = NULL;

	put_text(f, "/etc/dstack/host.conf",
		 "DOMAIN=example.org\nETH_RPC_URLS=https://u:p@rpc.example.org https://[2001:db8::1]:8/key "
		 "http://a.example/ htp://u:p@x.example\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	urls = shown_value(&s, KEY_ETH_RPC_URLS);
	assert_string_equal(urls, "https://rpc.example.org:443/... https://[2001:db8::1]:8/... "
				  "http://a.example:80 (not shown)");
	domain = shown_value(&s, KEY_DOMAIN);
	assert_string_equal(domain, "example.org");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_words_of_the_machine),
		with_root(sockets_get_their_processes_name),
		with_root(sockets_without_process_are_not_waited_for),
		with_root(comments_of_a_qcnl_file_end),
		cmocka_unit_test(json_of_too_many_values_is_not_read),
		with_root(only_hosts_of_urls_are_shown),
	};

	return cmocka_run_group_tests_name("listeners", tests, NULL, NULL);
}
