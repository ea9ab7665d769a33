// SPDX-License-Identifier: Apache-2.0
/* Several network halves: what one has of the others', what it can spoil, whether they start. */
#include "test-server.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "host/peer/peer-half.h"
#include "host/peer/peer-plan.h"

#define TOKEN "the vmm's token"

/* Outside the requests, where a half that was forked finds it again. */
static char *token;

static void look_around(const struct peer_reply *reply, struct peer_emit *emit)
{
	int sockets = 0, others = 0;

	for (int fd = 3; fd < 1024; fd++) {
		struct sockaddr_un peer;
		socklen_t len = sizeof(peer);
		struct stat st;

		if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
			continue;
		sockets++;
		others += getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
			  peer.sun_family == AF_UNIX && len > sizeof(sa_family_t);
	}
	peer_fact(emit, "body", reply->body);
	peer_factf(emit, "pid", "%d", getpid());
	peer_factf(emit, "sockets", "%d", sockets);
	peer_factf(emit, "named", "%d", others);
	peer_fact(emit, "token", token && strcmp(token, TOKEN) == 0 ? "seen" : "gone");
}

static void answer_token(int fd)
{
	const char *heard = hear(fd);

	/* Not from one that only connects. */
	if (!*heard)
		return;
	if (strstr(heard, "Authorization: Bearer " TOKEN "\r\n"))
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntoken");
	else
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnone");
}

/* A daemon at a path. */
struct daemon {
	struct sockaddr_un at;
	pid_t pid;
};

static struct daemon daemon_start(const char *name)
{
	struct daemon d = { .at.sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), up[2];
	char byte;

	/* Abstract: nothing is left behind. */
	snprintf(d.at.sun_path + 1, sizeof(d.at.sun_path) - 1, "dstack-test-%d-%s", getpid(), name);
	assert_int_equal(bind(fd, (struct sockaddr *)&d.at, sizeof(d.at)), 0);
	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	d.pid = fork();
	if (d.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Whoever listens is the one that SO_PEERCRED names. */
		if (listen(fd, 8) < 0 || write(up[1], "", 1) != 1)
			_exit(1);
		close(up[1]);
		serve(fd, answer_token);
	}
	close(fd);
	close(up[1]);
	assert_int_equal(read(up[0], &byte, 1), 1);
	close(up[0]);
	return d;
}

static void daemon_stop(struct daemon *d)
{
	kill(d->pid, SIGKILL);
	waitpid(d->pid, NULL, 0);
}

static struct peer_request to_daemon(const struct daemon *d)
{
	struct peer_request q = { .kind = PEER_HTTP, .url = "http://localhost/", .timeout_ms = 2000,
				  .max_body = 4096, .digest = look_around };

	q.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(q.fd, (const struct sockaddr *)&d->at, sizeof(d->at)), 0);
	return q;
}

static void nobody_is_left(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void a_half_has_only_what_is_its_own(void **state _unused_)
{
	struct daemon docker = daemon_start("docker"), vmm = daemon_start("vmm");
	struct server s = start(answer_fine);
	struct peer_request q[4] = { to_daemon(&docker), http(&s), to_daemon(&vmm), http(&s) };
	struct peer_answer a[4];

	token = xstrdup(TOKEN);
	/* No exchange: the socket is still there when the digest looks around. */
	q[0].kind = PEER_CONNECT;
	q[1].digest = q[3].digest = look_around;
	q[2].bearer = token;
	assert_int_equal(peer_ask(q, 4, a), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(a[i].error, PEER_OK);
	/* The right answer for each, and the token only where it belongs. */
	assert_string_equal(peer_get(&a[1], "body"), "hello");
	assert_string_equal(peer_get(&a[2], "body"), "token");
	assert_string_equal(peer_get(&a[3], "body"), "hello");
	assert_string_not_equal(peer_get(&a[0], "pid"), peer_get(&a[1], "pid"));
	assert_string_not_equal(peer_get(&a[0], "pid"), peer_get(&a[2], "pid"));
	assert_string_not_equal(peer_get(&a[1], "pid"), peer_get(&a[2], "pid"));
	assert_string_equal(peer_get(&a[1], "pid"), peer_get(&a[3], "pid"));
	/* The one that was handed over, and the one to the other half. */
	assert_string_equal(peer_get(&a[0], "sockets"), "2");
	assert_string_equal(peer_get(&a[0], "named"), "1");
	assert_string_equal(peer_get(&a[1], "named"), "0");
	assert_string_equal(peer_get(&a[2], "named"), "0");
	assert_string_equal(peer_get(&a[0], "token"), "gone");
	assert_string_equal(peer_get(&a[1], "token"), "gone");
	/* Here nothing was wiped. */
	assert_string_equal(token, TOKEN);
	peer_answers_free(a, 4);
	close(q[0].fd);
	close(q[2].fd);
	free(token);
	token = NULL;
	daemon_stop(&docker);
	daemon_stop(&vmm);
	stop(&s);
	nobody_is_left();
}

static int first_pid(const struct peer_answer *a)
{
	return atoi(must(peer_get(a, "pid")));
}

/* Whoever has less to ask does not wait for one who has much; patience counts more. */
static void the_short_question_is_asked_first(void **state _unused_)
{
	struct daemon vmm = daemon_start("vmm");
	struct server s = start(answer_fine);
	struct peer_request q[3] = { http(&s), http(&s), to_daemon(&vmm) };
	struct peer_answer a[3];

	q[0].digest = q[1].digest = look_around;
	assert_int_equal(peer_ask(q, 3, a), 0);
	/* The half that was forked first has the lower number. */
	assert_true(first_pid(&a[2]) < first_pid(&a[0]));
	peer_answers_free(a, 3);
	close(q[2].fd);
	q[2] = to_daemon(&vmm);
	q[0].timeout_ms++;
	assert_int_equal(peer_ask(q, 3, a), 0);
	assert_true(first_pid(&a[0]) < first_pid(&a[2]));
	peer_answers_free(a, 3);
	close(q[2].fd);
	daemon_stop(&vmm);
	stop(&s);
}

/* A thousand guests are asked through one VMM, and that is one half. */
static void one_peer_is_one_half(void **state _unused_)
{
	struct daemon docker = daemon_start("docker"), vmm = daemon_start("vmm");
	struct peer_request q[5] = { to_daemon(&vmm), to_daemon(&docker), to_daemon(&vmm) };
	static const size_t order[] = { 0, 2, 1, 3, 4 };
	struct peer_plan plan;
	int pair[2];

	/* No names: who knows who is there? */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	q[3].fd = pair[0];
	q[4].fd = pair[1];
	peer_plan(q, 5, &plan);
	assert_int_equal(plan.n_halves, 4);
	assert_memory_equal(plan.order, order, sizeof(order));
	assert_memory_equal(plan.from, ((size_t[]){ 0, 2, 3, 4, 5 }), 5 * sizeof(size_t));
	for (int i = 0; i < 5; i++) {
		assert_int_equal(plan.requests[i].fd, q[order[i]].fd);
		close(q[i].fd);
	}
	peer_plan_free(&plan);
	daemon_stop(&docker);
	daemon_stop(&vmm);
}

/* Another process at the same address is somebody else. */
static void a_successor_is_another_peer(void **state _unused_)
{
	struct daemon vmm = daemon_start("vmm");
	struct peer_request q[2] = { to_daemon(&vmm) };
	struct peer_plan plan;

	daemon_stop(&vmm);
	vmm = daemon_start("vmm");
	q[1] = to_daemon(&vmm);
	peer_plan(q, 2, &plan);
	assert_int_equal(plan.n_halves, 2);
	peer_plan_free(&plan);
	close(q[0].fd);
	close(q[1].fd);
	daemon_stop(&vmm);
}

static void write_garbage(const struct peer_reply *reply _unused_, struct peer_emit *emit _unused_)
{
	for (int fd = 3; fd < 64; fd++)
		if (write(fd, "\2\0\0\0\377\377\377\377garbage", 15) < 0)
			continue;
	for (;;)
		pause();
}

static void run_a_program(const struct peer_reply *reply _unused_, struct peer_emit *emit _unused_)
{
	execl("/bin/true", "true", (char *)NULL);
}

static void one_that_was_taken_over_spoils_its_own_answer_only(void **state _unused_)
{
	struct daemon docker = daemon_start("docker"), vmm = daemon_start("vmm");
	struct server s = start(answer_fine);
	struct peer_request q[3] = { to_daemon(&docker), to_daemon(&vmm), http(&s) };
	struct peer_answer a[3];

	q[0].digest = write_garbage;
	q[1].digest = run_a_program;
	assert_int_equal(peer_ask(q, 3, a), 0);
	assert_int_equal(a[0].error, PEER_INTERNAL);
	assert_string_equal(a[0].text, "the network half broke its protocol");
	assert_int_equal(a[1].error, PEER_INTERNAL);
	assert_string_equal(a[1].text, "the network half ended early");
	assert_int_equal(a[2].error, PEER_OK);
	peer_answers_free(a, 3);
	close(q[0].fd);
	close(q[1].fd);
	daemon_stop(&docker);
	daemon_stop(&vmm);
	stop(&s);
	nobody_is_left();
}

/* --- starting --- */

/* In a process of its own; what it returns becomes the answer. */
static int apart(int (*what)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(what());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

enum { NO_NAMESPACE = 255 };

/* Root who may not become anybody else. */
static int ask_in_namespace(void)
{
	static const char map[] = "0 0 1";
	struct peer_request q = { .kind = PEER_CONNECT, .url = "127.0.0.1:1", .fd = -1 };
	struct peer_answer a;
	int fd;

	if (geteuid() != 0 || unshare(CLONE_NEWUSER) < 0)
		return NO_NAMESPACE;
	fd = open("/proc/self/uid_map", O_WRONLY);
	if (fd < 0 || write(fd, map, strlen(map)) < 0)
		return NO_NAMESPACE;
	close(fd);
	return -peer_ask(&q, 1, &a);
}

static void the_cause_of_no_half_is_told(void **state _unused_)
{
	int r = apart(ask_in_namespace);

	if (r == NO_NAMESPACE)
		skip();
	/* setgroups(2) without a gid_map. */
	assert_int_equal(r, EPERM);
}

static pid_t claimed_parent;

static int lock_down(void)
{
	struct peer_request none = { .fd = -1 };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 255;
	return -peer_lock_down(&none, 1, &pair[0], claimed_parent);
}

/* It has died before the half could ask to die with it: nobody would ever end that one. */
static void a_half_without_the_other_does_not_start(void **state _unused_)
{
	claimed_parent = getpid();
	assert_int_equal(apart(lock_down), 0);
	claimed_parent = 1;
	assert_int_equal(apart(lock_down), ESRCH);
}

/* --- an ordinary user --- */

static void open_unix(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	peer_factf(emit, "uid", "%u", geteuid());
	peer_factf(emit, "unix", "%d", socket(AF_UNIX, SOCK_STREAM, 0));
}

static const struct server *asked;

static int ask_as_user(void)
{
	struct peer_request q = http(asked);
	struct peer_answer a;

	if (geteuid() == 0 && setuid(12345) < 0)
		return 1;
	q.digest = open_unix;
	if (peer_ask(&q, 1, &a) < 0)
		return 2;
	if (a.error != PEER_OK)
		return 3;
	/* The half keeps the user's groups, docker's among them. */
	return strcmp(peer_get(&a, "unix"), "-1") ? 4 : 0;
}

static void a_user_s_half_reaches_no_daemon(void **state _unused_)
{
	struct server s = start(answer_fine);

	asked = &s;
	assert_int_equal(apart(ask_as_user), 0);
	stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_half_has_only_what_is_its_own),
		cmocka_unit_test(the_short_question_is_asked_first),
		cmocka_unit_test(one_peer_is_one_half),
		cmocka_unit_test(a_successor_is_another_peer),
		cmocka_unit_test(one_that_was_taken_over_spoils_its_own_answer_only),
		cmocka_unit_test(the_cause_of_no_half_is_told),
		cmocka_unit_test(a_half_without_the_other_does_not_start),
		cmocka_unit_test(a_user_s_half_reaches_no_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
