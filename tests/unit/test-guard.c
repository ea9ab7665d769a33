// SPDX-License-Identifier: Apache-2.0
/*
 * The guard: what is rendered, and (as root, in a network, mount and control group namespace
 * of its own) what the kernel then does to connections from inside and outside of the slice.
 */
#include "test-cgroup.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/spawn.h"
#include "cmd/cmd.h"
#include "host/guard.h"
#include "host/kms/kms.h"
#include "host/render/render.h"

#define CONF "/etc/dstack/host.conf"
#define RESOLV "/etc/resolv.conf"
#define LOCAL_PCCS "GUEST_PCCS_URL=https://10.0.2.2:8081/sgx/certification/v4/\n"
#define NOBODY 65534

/* --- what is rendered --- */

/* The caller frees. */
static char *rules_for(const struct fixture *f, const char *conf)
{
	struct settings s;
	struct render_ctx rc = { .root = &f->root, .settings = &s };
	struct render_result *results;
	char *text;
	size_t n;

	put_text(f, CONF, conf);
	assert_int_equal(settings_load(&f->root, &s), 0);
	render_plan(&rc, "guard", &results, &n);
	assert_int_equal(n, 1);
	assert_non_null(results[0].text);
	text = xstrdup(results[0].text);
	render_results_free(results, n);
	settings_free(&s);
	return text;
}

static void assert_rule(const struct fixture *f, const char *conf, const char *rule, int there)
{
	_cleanup_free_ char *text = rules_for(f, conf);

	if ((strstr(text, rule) != NULL) != there)
		fail_msg("%s: %s\n%s", there ? "missing" : "found", rule, text);
}

static void ports_come_from_the_settings(void **state)
{
	struct fixture *f = *state;

	assert_rule(f, "", "dport 8081 accept", 0);
	assert_rule(f, LOCAL_PCCS, "ip daddr 127.0.0.0/8 tcp dport 8081 accept\n", 1);
	/* somebody else's is not on this host */
	assert_rule(f, "GUEST_PCCS_URL=https://pccs.example.org:8081/x/\n", "8081", 0);
	assert_rule(f, "", "dport 443 accept", 0);
	assert_rule(f, "DOMAIN=example.org\n", "ip daddr 127.0.0.1 tcp dport 443 accept\n", 1);
	assert_rule(f, "DOMAIN=example.org\nREGISTRY=off\n", "dport 443 accept", 0);
	assert_rule(f, "KMS_PORT=9104\n", "tcp dport 9104 meta skuid != 0 goto refuse\n", 1);
	/* As `kms deploy` ends it. */
	assert_int_equal(kms_ca_record(&f->root, "PEM\n"), 0);
	assert_rule(f, "", "skuid", 0);
}

static void resolvers_come_from_the_system(void **state)
{
	struct fixture *f = *state;

	assert_rule(f, "", "ip daddr 127.0.0.53 ", 1); /* without a file too */
	put_text(f, RESOLV,
		 "# nameserver 192.0.2.1\nsearch example.org\nnameserver 192.0.2.2\n"
		 "nameserver\t2001:db8::1\nnameserver fe80::1%eth0\nnameserver \"; drop\n"
		 "nameserver 192.0.2.3");
	assert_rule(f, "", "ip daddr 192.0.2.2 meta l4proto { tcp, udp } th dport 53 accept\n", 1);
	assert_rule(f, "", "ip6 daddr 2001:db8::1 ", 1);
	assert_rule(f, "", "ip6 daddr fe80::1 ", 1);
	assert_rule(f, "", "ip daddr 192.0.2.3 ", 1);
	assert_rule(f, "", "192.0.2.1 ", 0);
	assert_rule(f, "", "drop", 0);
}

static void operators_bridges_are_not_dockers(void **state)
{
	struct fixture *f = *state;

	assert_rule(f, "", "oifname \"br-*\" goto refuse\n", 1);
	put_text(f, "/sys/class/net/br-0123456789ab/x", "");
	put_text(f, "/sys/class/net/br-lan/x", "");
	put_text(f, "/sys/class/net/eth0/x", "");
	assert_rule(f, "", "oifname \"br-*\" oifname != { \"br-lan\" } goto refuse\n", 1);
}

/* --- a world of its own --- */

static int in_own_world, mounted;

static int ip(const char *object, const char *verb, const char *what, const char *device)
{
	const char *const argv[] = { "ip", object, verb, what, "dev", device, NULL };

	return spawn_wait(argv);
}

/* Nothing of this is seen by anybody else, and all of it goes with the process. */
static int enter_own_world(void)
{
	const char *const up[] = { "ip", "link", "set", "lo", "up", NULL };

	if (access("/usr/sbin/nft", X_OK) < 0 || group_enter("guard", CLONE_NEWNET) < 0)
		return -1;
	/* What the group is in this namespace; the tree is needed again to leave it. */
	if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0)
		return -1;
	mounted = 1;
	/* An address of this host, one of the world, and the clouds' metadata. */
	return spawn_wait(up) || ip("address", "add", "192.0.2.1/32", "lo") ||
			       ip("route", "add", "198.51.100.0/24", "lo") ||
			       ip("route", "add", "169.254.0.0/16", "lo") ?
		       -1 :
		       0;
}

static void need_own_world(void)
{
	if (in_own_world)
		return;
	print_message("# needs root, cgroup v2, nft, ip and namespaces\n");
	skip();
}

/* There already, when the test before this one failed. */
static int slice_make(void)
{
	return (mkdir(SLICE, 0755) < 0 && errno != EEXIST) ||
			       (mkdir(SERVICE, 0755) < 0 && errno != EEXIST) ?
		       -1 :
		       0;
}

static int slice_remove(void)
{
	return rmdir(SERVICE) < 0 ? -1 : rmdir(SLICE);
}

static socklen_t address_of(const char *text, int port, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *v4 = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
	return sizeof(*v6);
}

static int listen_at(const char *address, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = address_of(address, port, &ss);
	int one = 1, fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

enum who { HOST, GUEST, USER };

_noreturn_ static void connect_as(enum who who, const char *address, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = address_of(address, port, &ss), error_len = sizeof(int);
	struct pollfd p = { .events = POLLOUT };
	int error = 0;

	if (who == GUEST && write_text(SERVICE "/cgroup.procs", "0") < 0)
		_exit(200);
	if (who == USER && setuid(NOBODY) < 0)
		_exit(201);
	p.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connect(p.fd, (struct sockaddr *)&ss, len) == 0)
		_exit(0);
	if (errno != EINPROGRESS)
		_exit(errno);
	/* What leaves is answered by nobody: that it is not refused is what can be seen. */
	if (poll(&p, 1, 300) != 1)
		_exit(ETIMEDOUT);
	getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
	_exit(error);
}

struct attempt {
	enum who who;
	const char *address;
	int port;
	int expected; /* errno of connect(2) */
};

static void try_all(const struct attempt *attempts, size_t n)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < n; i++) {
		const struct attempt *a = &attempts[i];
		pid_t pid = fork();
		int status;

		if (pid == 0)
			connect_as(a->who, a->address, a->port);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == a->expected)
			continue;
		print_error("%s to %s port %d: %s\n",
			    a->who == GUEST ? "guest" : a->who == USER ? "user" : "host",
			    a->address, a->port, strerror(WEXITSTATUS(status)));
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void try_one(enum who who, const char *address, int port, int expected)
{
	const struct attempt a = { who, address, port, expected };

	try_all(&a, 1);
}

static void load(struct guard *g, const struct fixture *f, const char *conf)
{
	_cleanup_free_ char *rules = rules_for(f, conf), *trouble = NULL;

	if (guard_load(g, rules, &trouble) < 0)
		fail_msg("%s", trouble);
}

/* --- what the kernel does --- */

static void nft_takes_the_file(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *rules = NULL;
	char path[256];
	const char *const argv[] = { "nft", "-c", "-f", path, NULL };

	need_own_world();
	assert_int_equal(slice_make(), 0);
	put_text(f, RESOLV, "nameserver 192.0.2.2\nnameserver 2001:db8::1\n");
	put_text(f, "/sys/class/net/br-lan/x", "");
	rules = rules_for(f, "DOMAIN=example.org\n" LOCAL_PCCS);
	put_text(f, "/guard.nft", rules);
	snprintf(path, sizeof(path), "%s/guard.nft", f->dir);
	assert_int_equal(spawn_wait(argv), 0);
	assert_int_equal(slice_remove(), 0);
}

static void without_the_slice_it_says_so(void **state)
{
	struct fixture *f = *state;
	_cleanup_guard_ struct guard *g = NULL;
	_cleanup_free_ char *rules = rules_for(f, ""), *trouble = NULL;

	need_own_world();
	assert_int_equal(guard_open(&g), 0);
	assert_int_equal(guard_load(g, rules, &trouble), -EINVAL);
	assert_non_null(strstr(trouble, "cgroup"));
	assert_null(strchr(trouble, '\n'));
	assert_int_equal(guard_is_loaded(), 0);
}

static void guests_reach_what_is_listed(void **state)
{
	static const struct attempt attempts[] = {
		{ HOST, "127.0.0.1", 9080, 0 },
		{ GUEST, "127.0.0.1", 9080, ECONNREFUSED },
		{ GUEST, "127.0.0.1", 3443, ECONNREFUSED },
		{ GUEST, "::1", 9080, ECONNREFUSED },
		{ GUEST, "0.0.0.0", 9080, ECONNREFUSED },
		{ GUEST, "::ffff:127.0.0.1", 9080, ECONNREFUSED },
		{ GUEST, "192.0.2.1", 9080, ECONNREFUSED },
		{ GUEST, "127.0.0.1", 8081, 0 },
		{ GUEST, "192.0.2.1", 8081, ECONNREFUSED },
		{ GUEST, "127.0.0.1", 443, 0 },
		{ GUEST, "127.0.0.53", 53, 0 },
		{ GUEST, "127.0.0.1", 53, 0 },
		{ GUEST, "198.51.100.7", 80, ETIMEDOUT },
		{ GUEST, "169.254.169.254", 80, ECONNREFUSED },
		{ HOST, "169.254.169.254", 80, ETIMEDOUT },
		/* the KMS is for root alone until it is verified */
		{ HOST, "127.0.0.1", 9103, 0 },
		{ USER, "127.0.0.1", 9103, ECONNREFUSED },
		{ GUEST, "127.0.0.1", 9103, ECONNREFUSED },
		{ USER, "127.0.0.1", 9080, 0 },
	};
	struct fixture *f = *state;
	_cleanup_guard_ struct guard *g = NULL;

	need_own_world();
	put_text(f, RESOLV, "nameserver 127.0.0.1\n");
	assert_int_equal(slice_make(), 0);
	assert_int_equal(guard_open(&g), 0);
	try_one(GUEST, "127.0.0.1", 9080, 0);
	load(g, f, "DOMAIN=example.org\n" LOCAL_PCCS);
	try_all(attempts, ARRAY_SIZE(attempts));
	put_text(f, KMS_CA, "");
	load(g, f, "");
	try_one(USER, "127.0.0.1", 9103, 0);
	try_one(GUEST, "127.0.0.1", 8081, ECONNREFUSED);
	guard_close(&g);
	try_one(GUEST, "127.0.0.1", 9080, 0);
	assert_int_equal(slice_remove(), 0);
}

/* Docker rewrites the address of a published port on its way out; by then it is too late. */
static void a_published_port_is_refused(void **state)
{
	const char *const docker[] = {
		"nft",
		"table ip dstack_test { chain output { type nat hook output priority -100;"
		" ip daddr 127.0.0.1 tcp dport 3443 dnat to 198.51.100.9\n}\n}\n",
		NULL
	};
	const char *const end[] = { "nft", "delete table ip dstack_test", NULL };
	struct fixture *f = *state;
	_cleanup_guard_ struct guard *g = NULL;

	need_own_world();
	assert_int_equal(slice_make(), 0);
	assert_int_equal(spawn_wait(docker), 0);
	assert_int_equal(guard_open(&g), 0);
	try_one(GUEST, "127.0.0.1", 3443, ETIMEDOUT);
	load(g, f, "");
	try_one(GUEST, "127.0.0.1", 3443, ECONNREFUSED);
	assert_int_equal(spawn_wait(end), 0);
	assert_int_equal(slice_remove(), 0);
}

/* A mapped port: the host asks, the guest answers. */
static void guests_may_answer(void **state)
{
	struct fixture *f = *state;
	_cleanup_guard_ struct guard *g = NULL;
	struct sockaddr_storage ss;
	socklen_t len = address_of("127.0.0.1", 9200, &ss);
	struct timeval limit = { .tv_sec = 10 };
	char text[6] = "";
	int up[2], fd;
	pid_t pid;

	need_own_world();
	assert_int_equal(slice_make(), 0);
	assert_int_equal(guard_open(&g), 0);
	load(g, f, "");
	assert_int_equal(pipe(up), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write_text(SERVICE "/cgroup.procs", "0") < 0)
			_exit(1);
		fd = listen_at("127.0.0.1", 9200);
		if (write(up[1], "x", 1) != 1)
			_exit(1);
		fd = accept(fd, NULL, NULL);
		_exit(write(fd, "hello", 5) == 5 ? 0 : 1);
	}
	assert_int_equal(read(up[0], text, 1), 1);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(recv(fd, text, 5, MSG_WAITALL), 5);
	assert_string_equal(text, "hello");
	close(fd);
	waitpid(pid, NULL, 0);
	assert_int_equal(slice_remove(), 0);
}

static void the_table_is_its_owners(void **state)
{
	static const char bad[] = "table inet " GUARD_TABLE " { flags owner; }\n"
				  "delete table inet " GUARD_TABLE "\n"
				  "table inet " GUARD_TABLE " { chain x { nonsense } }\n";
	const char *const delete[] = { "nft", "delete table inet " GUARD_TABLE, NULL };
	const char *const flush[] = { "nft", "flush ruleset", NULL };
	struct fixture *f = *state;
	_cleanup_guard_ struct guard *g = NULL;
	_cleanup_free_ char *trouble = NULL;

	need_own_world();
	assert_int_equal(slice_make(), 0);
	assert_int_equal(guard_open(&g), 0);
	assert_int_equal(guard_is_loaded(), 0);
	load(g, f, "");
	assert_int_equal(guard_is_loaded(), 1);
	assert_int_not_equal(spawn_wait(delete), 0);
	/* as nftables.service does it when it is restarted */
	assert_int_equal(spawn_wait(flush), 0);
	assert_int_equal(guard_is_loaded(), 1);
	/* all or nothing */
	assert_int_equal(guard_load(g, bad, &trouble), -EINVAL);
	assert_int_equal(guard_is_loaded(), 1);
	try_one(GUEST, "127.0.0.1", 9080, ECONNREFUSED);
	/* a slice made anew is not the one that the rules name */
	assert_int_equal(slice_remove(), 0);
	assert_int_equal(guard_is_loaded(), 0);
	assert_int_equal(slice_make(), 0);
	assert_int_equal(guard_is_loaded(), 0);
	load(g, f, "");
	assert_int_equal(guard_is_loaded(), 1);
	guard_close(&g);
	assert_int_equal(guard_is_loaded(), 0);
	assert_int_equal(slice_remove(), 0);
}

/* dstack-host guard on the fixture, with its table there when this returns. */
static pid_t start_keeper(const struct fixture *f)
{
	struct cmd_ctx ctx = { .root = f->root };
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char verb[] = "guard", *argv[] = { verb, NULL }, text[64] = "";
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = 20 };
	pid_t pid;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/notify", f->dir);
	unlink(at.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("NOTIFY_SOCKET", at.sun_path, 1);
		optind = 0;
		_exit(cmd_guard.run(&ctx, 1, argv));
	}
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_int_equal(strncmp(text, "READY=1", 7), 0);
	close(fd);
	return pid;
}

static void stop_keeper(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FINE);
}

static int is_owned(void)
{
	_cleanup_(guard_sight_free) struct guard_sight sight;

	guard_look(&sight);
	return sight.listing && strstr(sight.listing, "flags owner");
}

/* systemctl stop and restart: guests that run are never let out. */
static void who_stops_the_guard_leaves_the_fence(void **state)
{
	const char *const flush[] = { "nft", "flush ruleset", NULL };
	struct fixture *f = *state;
	_cleanup_free_ char *rules = rules_for(f, "");
	pid_t pid;

	need_own_world();
	assert_int_equal(slice_make(), 0);
	put_text(f, GUARD_FILE, rules);
	/* Nobody to be fenced in. */
	put_text(f, SERVICE "/cgroup.procs", "");
	pid = start_keeper(f);
	assert_true(is_owned());
	stop_keeper(pid);
	assert_int_equal(guard_is_loaded(), 0);

	put_text(f, SERVICE "/cgroup.procs", "4194400\n");
	pid = start_keeper(f);
	stop_keeper(pid);
	assert_int_equal(guard_is_loaded(), 1);
	assert_false(is_owned());
	try_one(GUEST, "127.0.0.1", 9080, ECONNREFUSED);
	/* The next one takes it over, rules and all. */
	put_text(f, KMS_CA, "");
	try_one(USER, "127.0.0.1", 9103, ECONNREFUSED);
	free(rules);
	rules = rules_for(f, "");
	put_text(f, GUARD_FILE, rules);
	pid = start_keeper(f);
	assert_true(is_owned());
	try_one(GUEST, "127.0.0.1", 9080, ECONNREFUSED);
	try_one(USER, "127.0.0.1", 9103, 0);
	stop_keeper(pid);
	assert_int_equal(spawn_wait(flush), 0);
	assert_int_equal(slice_remove(), 0);
}

/* Taking over is all or nothing, too. */
static void a_table_without_owner_is_replaced_by_good_rules_only(void **state)
{
	static const char bad[] = "table inet " GUARD_TABLE " { flags owner; }\n"
				  "delete table inet " GUARD_TABLE "\n"
				  "table inet " GUARD_TABLE " { chain x { nonsense } }\n";
	const char *const flush[] = { "nft", "flush ruleset", NULL };
	struct fixture *f = *state;
	_cleanup_free_ char *rules = rules_for(f, ""), *trouble = NULL;
	_cleanup_guard_ struct guard *g = NULL;

	need_own_world();
	assert_int_equal(slice_make(), 0);
	assert_int_equal(guard_open(&g), 0);
	load(g, f, "");
	assert_int_equal(guard_leave(g, "table x", &trouble), -EINVAL);
	free(trouble);
	trouble = NULL;
	assert_int_equal(guard_leave(g, rules, &trouble), 0);
	guard_close(&g);
	assert_int_equal(guard_open(&g), 0);
	assert_int_equal(guard_load(g, bad, &trouble), -EINVAL);
	assert_non_null(trouble);
	assert_int_equal(guard_is_loaded(), 1);
	try_one(GUEST, "127.0.0.1", 9080, ECONNREFUSED);
	guard_close(&g);
	assert_int_equal(spawn_wait(flush), 0);
	assert_int_equal(slice_remove(), 0);
}

/* Who listens on this host, for all of the tests. */
static void open_services(void)
{
	static const struct {
		const char *address;
		int port;
	} services[] = {
		{ "127.0.0.1", 9080 }, { "::1", 9080 },	     { "192.0.2.1", 9080 },
		{ "127.0.0.1", 3443 }, { "127.0.0.1", 8081 }, { "192.0.2.1", 8081 },
		{ "127.0.0.1", 443 },  { "127.0.0.53", 53 }, { "127.0.0.1", 53 },
		{ "127.0.0.1", 9103 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(services); i++)
		listen_at(services[i].address, services[i].port);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(ports_come_from_the_settings),
		with_root(resolvers_come_from_the_system),
		with_root(operators_bridges_are_not_dockers),
		with_root(nft_takes_the_file),
		with_root(without_the_slice_it_says_so),
		with_root(guests_reach_what_is_listed),
		with_root(a_published_port_is_refused),
		with_root(guests_may_answer),
		with_root(the_table_is_its_owners),
		with_root(who_stops_the_guard_leaves_the_fence),
		with_root(a_table_without_owner_is_replaced_by_good_rules_only),
	};
	int failed;

	in_own_world = enter_own_world() == 0;
	if (in_own_world)
		open_services();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (mounted)
		umount2("/sys/fs/cgroup", MNT_DETACH);
	group_leave();
	return failed;
}
