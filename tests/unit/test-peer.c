// SPDX-License-Identifier: Apache-2.0
/* The network half: what it asks, what it may not do, and what hostile peers get out of it. */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "host/peer.h"
#include "host/peer-record.h"

/* --- a peer on loopback: one process, one script for every connection --- */

struct server {
	pid_t pid;
	char at[32];  /* 127.0.0.1:PORT */
	char url[64]; /* http://127.0.0.1:PORT/x */
};

typedef void (*script_fn)(int fd);

static void say(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		_exit(1);
}

/* Reads the head of a request (and what comes with it) into a static buffer. */
static const char *hear(int fd)
{
	static char text[8192];
	size_t n = 0;

	while (n < sizeof(text) - 1) {
		ssize_t r = read(fd, text + n, sizeof(text) - 1 - n);

		if (r <= 0)
			break;
		n += (size_t)r;
		text[n] = '\0';
		if (strstr(text, "\r\n\r\n"))
			break;
	}
	return text;
}

static int listen_on_loopback(char *at, size_t size)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	snprintf(at, size, "127.0.0.1:%u", ntohs(sin.sin_port));
	return fd;
}

static void serve(int fd, script_fn script)
{
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int conn = accept(fd, NULL, NULL);

		if (conn < 0)
			_exit(0);
		script(conn);
		close(conn);
	}
}

static struct server start(script_fn script)
{
	struct server s = { 0 };
	int fd = listen_on_loopback(s.at, sizeof(s.at));

	snprintf(s.url, sizeof(s.url), "http://%s/x", s.at);
	s.pid = fork();
	assert_true(s.pid >= 0);
	if (s.pid == 0) {
		/* A test that fails must not leave it behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fd, script);
	}
	close(fd);
	return s;
}

static void stop(struct server *s)
{
	kill(s->pid, SIGKILL);
	assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
}

static void body_to_fact(const struct peer_reply *reply, struct peer_emit *emit)
{
	peer_factf(emit, "status", "%ld", reply->status);
	peer_fact(emit, "body", reply->body);
	peer_factf(emit, "len", "%zu", reply->len);
}

static struct peer_request http(const struct server *s)
{
	return (struct peer_request){ .kind = PEER_HTTP, .url = s->url, .fd = -1,
				      .timeout_ms = 2000, .max_body = 4096,
				      .digest = body_to_fact };
}

/* Asks one thing of a peer that runs `script`; the answer is the caller's. */
static struct peer_answer ask(script_fn script, struct peer_request (*make)(const struct server *))
{
	struct server s = start(script);
	struct peer_request q = make(&s);
	struct peer_answer a;

	assert_int_equal(peer_ask(&q, 1, &a), 0);
	stop(&s);
	return a;
}

/* --- HTTP --- */

static void answer_fine(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

static void http_answer_becomes_facts(void **state _unused_)
{
	struct peer_answer a = ask(answer_fine, http);

	assert_int_equal(a.error, PEER_OK);
	assert_int_equal(a.status, 200);
	assert_string_equal(peer_get(&a, "body"), "hello");
	assert_string_equal(peer_get(&a, "len"), "5");
	assert_null(peer_get(&a, "absent"));
	peer_answers_free(&a, 1);
}

/* Sends the request back, with ~ for line breaks. */
static void answer_echo(int fd)
{
	char *text = xstrdup(hear(fd)), *reply;

	for (char *p = text; *p; p++)
		if (*p == '\r' || *p == '\n')
			*p = '~';
	reply = xasprintf("HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n%s", text);
	say(fd, reply);
	free(text);
	free(reply);
}

static struct peer_request post(const struct server *s)
{
	struct peer_request q = http(s);

	q.body = "{\"a\":1}";
	q.bearer = "t0ken";
	q.content_type = "application/json";
	return q;
}

static void post_carries_body_type_and_token(void **state _unused_)
{
	struct peer_answer a;
	const char *seen;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	a = ask(answer_echo, post);
	unsetenv("http_proxy");
	assert_int_equal(a.error, PEER_OK);
	assert_int_equal(a.status, 400);
	seen = peer_get(&a, "body");
	assert_non_null(strstr(seen, "POST /x HTTP/1.1~~"));
	assert_non_null(strstr(seen, "Authorization: Bearer t0ken~~"));
	assert_non_null(strstr(seen, "Content-Type: application/json~~"));
	assert_null(strstr(seen, "Expect"));
	assert_non_null(strstr(seen, "~~~~{\"a\":1}"));
	peer_answers_free(&a, 1);
}

static struct peer_request split_header(const struct server *s)
{
	struct peer_request q = http(s);

	q.bearer = "a\r\nX-Evil: 1";
	return q;
}

static void line_breaks_cannot_enter_headers(void **state _unused_)
{
	struct peer_answer a = ask(answer_echo, split_header);

	assert_int_equal(a.error, PEER_INTERNAL);
	peer_answers_free(&a, 1);
}

static void answer_redirect(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 302 Found\r\nLocation: /etc/passwd\r\nContent-Length: 0\r\n\r\n");
}

static void redirects_are_not_followed(void **state _unused_)
{
	struct peer_answer a = ask(answer_redirect, http);

	assert_int_equal(a.error, PEER_OK);
	assert_int_equal(a.status, 302);
	peer_answers_free(&a, 1);
}

static struct peer_request file_url(const struct server *s)
{
	struct peer_request q = http(s);

	q.url = "file:///etc/passwd";
	return q;
}

static void other_protocols_are_refused(void **state _unused_)
{
	struct peer_answer a = ask(answer_fine, file_url);

	assert_int_not_equal(a.error, PEER_OK);
	peer_answers_free(&a, 1);
}

static void answer_long(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx");
	hear(fd);
}

static void answer_endless(int fd)
{
	char chunk[4096];

	memset(chunk, 'a', sizeof(chunk));
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\n\r\n");
	while (write(fd, chunk, sizeof(chunk)) > 0)
		;
}

static void answer_endless_headers(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\n");
	while (write(fd, "X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 52) > 0)
		;
}

static void answer_ssh(int fd)
{
	say(fd, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
	hear(fd);
}

static void answer_half(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
}

static void answer_nothing(int fd)
{
	hear(fd);
}

/* A server that was sent a TLS hello where it expected HTTP. */
static void answer_bad_request(int fd)
{
	char hello[4096];

	if (read(fd, hello, sizeof(hello)) > 0)
		say(fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

static struct peer_request https(const struct server *s)
{
	static char url[64];
	struct peer_request q = http(s);

	snprintf(url, sizeof(url), "https://%s/", s->at);
	q.url = url;
	return q;
}

static void bad_peers_are_told_apart(void **state _unused_)
{
	static const struct {
		script_fn script;
		struct peer_request (*make)(const struct server *s);
		enum peer_error error;
	} cases[] = {
		{ answer_long, http, PEER_TOO_LARGE },
		{ answer_endless, http, PEER_TOO_LARGE },
		{ answer_endless_headers, http, PEER_TOO_LARGE },
		{ answer_ssh, http, PEER_PROTOCOL },
		{ answer_half, http, PEER_PROTOCOL },
		{ answer_nothing, http, PEER_PROTOCOL },
		{ answer_bad_request, https, PEER_TLS },
		{ answer_ssh, https, PEER_TLS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer_answer a = ask(cases[i].script, cases[i].make);

		if (a.error != cases[i].error)
			print_error("case %zu: %s\n", i, a.text ? a.text : "fine");
		assert_int_equal(a.error, cases[i].error);
		assert_non_null(a.text);
		assert_int_equal(a.n_facts, 0);
		peer_answers_free(&a, 1);
	}
}

static void nobody_there(void **state _unused_)
{
	struct server s = start(answer_fine);
	struct peer_request q[3] = { http(&s), http(&s), http(&s) };
	struct peer_answer a[3];

	stop(&s);
	q[1].kind = PEER_CONNECT;
	q[1].url = s.at;
	q[2].kind = PEER_KEY_PROVIDER;
	q[2].url = s.at;
	assert_int_equal(peer_ask(q, 3, a), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(a[i].error, PEER_UNREACHABLE);
	peer_answers_free(a, 3);
}

static void answer_late(int fd)
{
	char c;

	/* Until the other side gives up. */
	while (read(fd, &c, 1) > 0)
		;
}

static void all_are_asked_at_once(void **state _unused_)
{
	struct server quick = start(answer_fine), slow[3];
	struct peer_request q[4];
	struct peer_answer a[4];
	uint64_t before = clock_ms(), took;

	for (int i = 0; i < 3; i++) {
		slow[i] = start(answer_late);
		q[i] = http(&slow[i]);
		q[i].timeout_ms = 400;
	}
	q[2].kind = PEER_KEY_PROVIDER;
	q[2].url = slow[2].at;
	q[3] = http(&quick);
	assert_int_equal(peer_ask(q, 4, a), 0);
	took = clock_ms() - before;
	assert_in_range(took, 390, 1200);
	for (int i = 0; i < 3; i++)
		assert_int_equal(a[i].error, PEER_TIMEOUT);
	assert_int_equal(a[3].error, PEER_OK);
	assert_true(a[3].ms < 390);
	peer_answers_free(a, 4);
	for (int i = 0; i < 3; i++)
		stop(&slow[i]);
	stop(&quick);
}

/* --- sockets that are handed over --- */

static void answer_one(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
}

static void answer_two(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
}

static int unix_peer(script_fn script, pid_t *pid)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*pid = fork();
	if (*pid == 0) {
		close(pair[0]);
		script(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	return pair[0];
}

static void sockets_given_are_used_and_not_mixed_up(void **state _unused_)
{
	struct server none = { .url = "http://localhost/x" };
	struct peer_request q[2] = { http(&none), http(&none) };
	struct peer_answer a[2];
	pid_t pid[2];

	q[0].fd = unix_peer(answer_one, &pid[0]);
	q[1].fd = unix_peer(answer_two, &pid[1]);
	assert_int_equal(peer_ask(q, 2, a), 0);
	assert_int_equal(a[0].error, PEER_OK);
	assert_string_equal(peer_get(&a[0], "body"), "one");
	assert_string_equal(peer_get(&a[1], "body"), "two");
	peer_answers_free(a, 2);
	for (int i = 0; i < 2; i++) {
		close(q[i].fd);
		waitpid(pid[i], NULL, 0);
	}
}

/* --- frames --- */

static void read_exactly(int fd, unsigned char *buf, size_t n)
{
	while (n) {
		ssize_t r = read(fd, buf, n);

		if (r <= 0)
			_exit(1);
		buf += r;
		n -= (size_t)r;
	}
}

/* Reads one frame; its length is returned. */
static size_t read_frame(int fd, unsigned char *buf, size_t size)
{
	unsigned char be[4];
	size_t n;

	read_exactly(fd, be, 4);
	n = (size_t)be[2] << 8 | be[3];
	if (n > size)
		_exit(1);
	read_exactly(fd, buf, n);
	return n;
}

#define QGS_OK                                                                           \
	"\0\0\0\x24\1\0\1\0\5\0\0\0\x24\0\0\0\0\0\0\0\4\0\x0d\0\4\0\0\0\4\0\0\0abcdEFGH"
#define QGS_REFUSED "\0\0\0\x10\1\0\1\0\5\0\0\0\x10\0\0\0\1\x20\1\0"
#define QGS_LIES "\0\0\0\x24\1\0\1\0\5\0\0\0\x24\0\0\0\0\0\0\0\4\0\x0d\0\4\0\0\0\xff\0\0\0abcdEFGH"
#define QGS_QUOTE "\0\0\0\x10\1\0\1\0\1\0\0\0\x10\0\0\0\0\0\0\0"

static void qgs_answer(int fd, const char *bytes, size_t n)
{
	static const unsigned char expected[] = "\1\0\1\0\4\0\0\0\x10\0\0\0\0\0\0";
	unsigned char buf[64];

	if (read_frame(fd, buf, sizeof(buf)) != 16 || memcmp(buf, expected, 16) != 0)
		return;
	if (write(fd, bytes, n) < 0)
		_exit(1);
}

static void qgs_fine(int fd)
{
	qgs_answer(fd, QGS_OK, sizeof(QGS_OK) - 1);
}

static void qgs_refuses(int fd)
{
	qgs_answer(fd, QGS_REFUSED, sizeof(QGS_REFUSED) - 1);
}

static void qgs_lies(int fd)
{
	qgs_answer(fd, QGS_LIES, sizeof(QGS_LIES) - 1);
}

static void qgs_answers_something_else(int fd)
{
	qgs_answer(fd, QGS_QUOTE, sizeof(QGS_QUOTE) - 1);
}

static void qgs_stops_in_the_middle(int fd)
{
	qgs_answer(fd, QGS_OK, sizeof(QGS_OK) - 5);
}

static struct peer_request frames(const struct server *s)
{
	struct peer_request q = http(s);

	q.kind = PEER_QGS;
	q.url = s->at;
	q.digest = NULL;
	return q;
}

static void qgs_is_spoken(void **state _unused_)
{
	struct peer_answer a = ask(qgs_fine, frames);

	assert_int_equal(a.error, PEER_OK);
	assert_string_equal(peer_get(&a, "tdqe_isvsvn"), "4");
	assert_string_equal(peer_get(&a, "pce_isvsvn"), "13");
	assert_string_equal(peer_get(&a, "platform_id"), "61626364");
	assert_string_equal(peer_get(&a, "cpusvn"), "45464748");
	peer_answers_free(&a, 1);
	a = ask(qgs_refuses, frames);
	assert_int_equal(a.error, PEER_PROTOCOL);
	assert_string_equal(a.text, "QGS error 0x12001");
	peer_answers_free(&a, 1);
}

static void what_is_not_qgs_is_not_taken_for_it(void **state _unused_)
{
	static const script_fn scripts[] = { qgs_lies, qgs_answers_something_else, answer_ssh,
					     qgs_stops_in_the_middle, answer_fine, answer_nothing };

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		struct server s = start(scripts[i]);
		struct peer_request q = frames(&s);
		struct peer_answer a;

		q.timeout_ms = 300;
		assert_int_equal(peer_ask(&q, 1, &a), 0);
		stop(&s);
		assert_in_range(a.error, PEER_TIMEOUT, PEER_PROTOCOL);
		peer_answers_free(&a, 1);
	}
}

static void provider_refuses(int fd)
{
	unsigned char buf[64];

	if (read_frame(fd, buf, sizeof(buf)) != 12 || memcmp(buf, "{\"quote\":[]}", 12) != 0)
		say(fd, "no");
}

static void provider_answers(int fd)
{
	unsigned char buf[64];

	read_frame(fd, buf, sizeof(buf));
	if (write(fd, "\0\0\0\2{}", 6) < 0)
		_exit(1);
}

/* docker-proxy with nothing behind it. */
static void closes_at_once(int fd)
{
	close(fd);
}

static struct peer_request provider(const struct server *s)
{
	struct peer_request q = frames(s);

	q.kind = PEER_KEY_PROVIDER;
	return q;
}

static void key_provider_is_spoken(void **state _unused_)
{
	struct peer_answer a = ask(provider_refuses, provider);

	assert_int_equal(a.error, PEER_OK);
	assert_string_equal(peer_get(&a, "answer"), "closed");
	peer_answers_free(&a, 1);
	a = ask(provider_answers, provider);
	assert_int_equal(a.error, PEER_OK);
	assert_string_equal(peer_get(&a, "answer"), "frame");
	peer_answers_free(&a, 1);
}

static void what_is_no_key_provider_is_not_taken_for_one(void **state _unused_)
{
	static const script_fn scripts[] = { answer_ssh, closes_at_once, answer_late };

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		struct server s = start(scripts[i]);
		struct peer_request q = provider(&s);
		struct peer_answer a;

		q.timeout_ms = 300;
		assert_int_equal(peer_ask(&q, 1, &a), 0);
		stop(&s);
		assert_int_not_equal(a.error, PEER_OK);
		peer_answers_free(&a, 1);
	}
}

static struct peer_request connect_only(const struct server *s)
{
	struct peer_request q = frames(s);

	q.kind = PEER_CONNECT;
	return q;
}

static void a_connection_is_enough_for_connect(void **state _unused_)
{
	struct peer_answer a = ask(answer_late, connect_only);

	assert_int_equal(a.error, PEER_OK);
	peer_answers_free(&a, 1);
}

/* --- what the half may not do --- */

static int secret_fd;

static void try_everything(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	char byte;

	peer_factf(emit, "uid", "%u", geteuid());
	peer_factf(emit, "write", "%d", open("/tmp/dstack-peer-test", O_WRONLY | O_CREAT, 0600));
	peer_factf(emit, "append", "%d", open("/dev/null", O_WRONLY | O_APPEND));
	peer_factf(emit, "shadow", "%d", open("/etc/shadow", O_RDONLY));
	peer_factf(emit, "unlink", "%d", unlink("/tmp/dstack-peer-test"));
	peer_factf(emit, "fd", "%zd", read(secret_fd, &byte, 1));
	peer_factf(emit, "packet", "%d", socket(AF_PACKET, SOCK_RAW, 0));
	peer_factf(emit, "fork", "%d", fork());
	peer_fact(emit, "env", getenv("PATH"));
}

static struct peer_request curious(const struct server *s)
{
	struct peer_request q = http(s);

	q.digest = try_everything;
	return q;
}

static void the_half_has_no_privileges(void **state _unused_)
{
	struct peer_answer a;

	secret_fd = open("/dev/zero", O_RDONLY);
	a = ask(answer_fine, curious);
	close(secret_fd);
	assert_int_equal(a.error, PEER_OK);
	assert_string_not_equal(peer_get(&a, "uid"), "0");
	assert_string_equal(peer_get(&a, "write"), "-1");
	assert_string_equal(peer_get(&a, "append"), "-1");
	assert_string_equal(peer_get(&a, "shadow"), "-1");
	assert_string_equal(peer_get(&a, "unlink"), "-1");
	assert_string_equal(peer_get(&a, "fd"), "-1");
	assert_string_equal(peer_get(&a, "packet"), "-1");
	assert_string_equal(peer_get(&a, "fork"), "-1");
	assert_string_equal(peer_get(&a, "env"), "");
	peer_answers_free(&a, 1);
}

static void run_a_program(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	execl("/bin/true", "true", (char *)NULL);
	peer_fact(emit, "survived", "1");
}

static void kill_the_other_half(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	kill(getppid(), SIGKILL);
	peer_fact(emit, "survived", "1");
}

static void never_return(const struct peer_reply *reply _unused_, struct peer_emit *emit _unused_)
{
	for (;;)
		pause();
}

/* Whichever descriptor the other half listens on. */
static void write_garbage(const struct peer_reply *reply _unused_, struct peer_emit *emit _unused_)
{
	for (int fd = 3; fd < 64; fd++)
		if (write(fd, "\2\0\0\0\377\377\377\377garbage", 15) < 0)
			continue;
	for (;;)
		pause();
}

static void tell_too_much(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	for (int i = 0; i < 200000; i++)
		peer_factf(emit, "n", "%d", i);
}

#ifndef __SANITIZE_ADDRESS__
static void use_memory(const struct peer_reply *reply _unused_, struct peer_emit *emit)
{
	for (int i = 0; i < 4096; i++)
		memset(xmalloc(1 << 20), 1, 1 << 20);
	peer_fact(emit, "survived", "1");
}
#endif

static void a_half_that_was_taken_over_is_ended(void **state _unused_)
{
	static const struct {
		void (*digest)(const struct peer_reply *reply, struct peer_emit *emit);
		enum peer_error error;
		const char *text;
	} cases[] = {
		{ run_a_program, PEER_INTERNAL, "the network half ended early" },
		{ kill_the_other_half, PEER_INTERNAL, "the network half ended early" },
		{ never_return, PEER_TIMEOUT, "no answer in time" },
		{ write_garbage, PEER_INTERNAL, "the network half broke its protocol" },
		{ tell_too_much, PEER_TOO_LARGE, "tells more than may be told" },
#ifndef __SANITIZE_ADDRESS__
		{ use_memory, PEER_INTERNAL, "the network half ended early" },
#endif
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct server s = start(answer_fine);
		struct peer_request q = http(&s);
		struct peer_answer a;

		q.digest = cases[i].digest;
		q.timeout_ms = 200;
		assert_int_equal(peer_ask(&q, 1, &a), 0);
		stop(&s);
		assert_int_equal(a.error, cases[i].error);
		assert_string_equal(a.text, cases[i].text);
		assert_null(peer_get(&a, "survived"));
		peer_answers_free(&a, 1);
		/* It was reaped: no child is left. */
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
		assert_int_equal(errno, ECHILD);
	}
}

/* What was answered before the half went bad counts. */
static void answers_that_arrived_are_kept(void **state _unused_)
{
	struct server s = start(answer_fine), late = start(answer_late);
	struct peer_request q[3] = { http(&s), http(&late), http(&s) };
	struct peer_answer a[3];

	q[1].timeout_ms = 300;
	q[2].kind = PEER_CONNECT;
	q[2].url = s.at;
	assert_int_equal(peer_ask(q, 3, a), 0);
	assert_int_equal(a[0].error, PEER_OK);
	assert_int_equal(a[1].error, PEER_TIMEOUT);
	assert_int_equal(a[2].error, PEER_OK);
	peer_answers_free(a, 3);
	stop(&s);
	stop(&late);
}

/* --- records --- */

static void answer_nasty(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
		"a\x1b[31m\nb\xc2\x9b\xff\xc3\xa4\x7f");
}

static void nothing_unprintable_comes_through(void **state _unused_)
{
	struct peer_answer a = ask(answer_nasty, http);

	assert_int_equal(a.error, PEER_OK);
	assert_string_equal(peer_get(&a, "body"), "a?[31m b???\xc3\xa4?");
	peer_answers_free(&a, 1);
}

static void records_survive_the_way(void **state _unused_)
{
	struct peer_record done = { .index = 7, .error = 2, .status = 404, .ms = 9, .text = "t" };
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	struct peer_record rec;
	ssize_t n;

	record_add_fact(&sb, 7, "key", "value");
	record_add_done(&sb, &done);
	/* Not a byte less is enough. */
	n = record_decode(sb.data, sb.len, &rec);
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(record_decode(sb.data, (size_t)i, &rec), 0);
	assert_int_equal(record_decode(sb.data, sb.len, &rec), n);
	assert_int_equal(rec.type, RECORD_FACT);
	assert_int_equal(rec.index, 7);
	assert_int_equal(rec.key_len, 3);
	assert_memory_equal(rec.value, "value", 5);
	assert_int_equal(record_decode(sb.data + n, sb.len - (size_t)n, &rec),
			 (ssize_t)sb.len - n);
	assert_int_equal(rec.type, RECORD_DONE);
	assert_int_equal(rec.error, 2);
	assert_int_equal(rec.status, 404);
}

static void records_that_are_not_exactly_right_are_refused(void **state _unused_)
{
	static const struct {
		const char *bytes;
		size_t n;
	} cases[] = {
#define C(s) { s, sizeof(s) - 1 }
		C("\0\0\0\0\0\0\0\0"),			  /* no type */
		C("\4\0\0\0\0\0\0\0"),			  /* unknown type */
		C("\2\1\0\0\2\0\0\0\1k"),		  /* not zero */
		C("\2\0\0\0\0\0\0\0"),			  /* no key */
		C("\2\0\0\0\1\0\0\0\0"),		  /* empty key */
		C("\2\0\0\0\2\0\0\0\2k"),		  /* key longer than the record */
		C("\2\0\0\0\3\0\0\0\1kv\0\0")		  /* fine, to be sure of the others */,
		C("\2\0\0\0\3\0\0\0\1k\n"),		  /* control character */
		C("\2\0\0\0\3\0\0\0\1k\377"),		  /* no UTF-8 */
		C("\2\0\0\0\0\0\0\1"),			  /* too long */
		C("\3\0\0\0\4\0\0\0\0\0\0\0"),		  /* too short */
		C("\3\0\0\0\xc\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0"), /* status 65536 */
		C("\1\0\0\0\4\0\0\0\377\377\377\377"),	  /* negative errno */
#undef C
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer_record rec;
		ssize_t n = record_decode(cases[i].bytes, cases[i].n, &rec);

		assert_int_equal(n, i == 6 ? 11 : -EBADMSG);
	}
}

/* --- TLS --- */

struct tls {
	char dir[64], cert[96], key[96];
	char at[32];
	pid_t pid;
	FILE *out;
};

static int run(const char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* openssl s_server with a new certificate; 0 when there is no openssl here. */
static int tls_start(struct tls *t)
{
	char line[256];
	int fds[2];

	strcpy(t->dir, "/tmp/dstack-test-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	chmod(t->dir, 0755);
	snprintf(t->cert, sizeof(t->cert), "%s/c", t->dir);
	snprintf(t->key, sizeof(t->key), "%s/k", t->dir);
	if (run((const char *[]){ "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
				  "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj",
				  "/CN=kms.example.org", "-addext",
				  "subjectAltName=DNS:kms.example.org", "-keyout", t->key,
				  "-out", t->cert, NULL }) != 0)
		return 0;
	assert_int_equal(pipe(fds), 0);
	t->pid = fork();
	if (t->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert",
		       t->cert, "-key", t->key, "-www", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	t->out = fdopen(fds[0], "r");
	while (fgets(line, sizeof(line), t->out))
		if (sscanf(line, "ACCEPT %31s", t->at) == 1)
			return 1;
	fail_msg("openssl s_server did not start");
	return 0;
}

static void tls_stop(struct tls *t)
{
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	fclose(t->out);
	unlink(t->cert);
	unlink(t->key);
	rmdir(t->dir);
}

static int connect_to(const char *at)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr = { htonl(INADDR_LOOPBACK) },
				   .sin_port = htons((uint16_t)atoi(strchr(at, ':') + 1)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

static void certificates_are_checked_when_there_is_a_ca(void **state _unused_)
{
	static char pem[8192];
	struct tls t = { 0 }, other = { 0 };
	struct server s = { 0 };
	struct peer_request q[4];
	struct peer_answer a[4];
	FILE *fp;

	if (!tls_start(&t))
		skip();
	fp = fopen(t.cert, "r");
	pem[fread(pem, 1, sizeof(pem) - 1, fp)] = '\0';
	fclose(fp);
	assert_int_equal(tls_start(&other), 1);
	memcpy(s.at, t.at, sizeof(s.at));
	for (int i = 0; i < 4; i++) {
		q[i] = https(&s);
		q[i].max_body = 65536;
	}
	q[1].ca_pem = pem; /* right certificate, wrong name */
	q[2].ca_pem = pem; /* right name, handed-over connection */
	q[2].url = "https://kms.example.org/";
	q[3].ca_pem = pem; /* right name, wrong certificate */
	q[3].url = "https://kms.example.org/";
	/* One after the other: s_server serves one at a time. */
	for (int i = 0; i < 4; i++) {
		if (i >= 2)
			q[i].fd = connect_to(i == 2 ? t.at : other.at);
		assert_int_equal(peer_ask(&q[i], 1, &a[i]), 0);
		if (i >= 2)
			close(q[i].fd);
	}
	assert_int_equal(a[0].error, PEER_OK);
	assert_int_equal(a[0].status, 200);
	assert_int_equal(a[1].error, PEER_TLS);
	assert_int_equal(a[2].error, PEER_OK);
	assert_int_equal(a[3].error, PEER_TLS);
	peer_answers_free(a, 4);
	tls_stop(&t);
	tls_stop(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(http_answer_becomes_facts),
		cmocka_unit_test(post_carries_body_type_and_token),
		cmocka_unit_test(line_breaks_cannot_enter_headers),
		cmocka_unit_test(redirects_are_not_followed),
		cmocka_unit_test(other_protocols_are_refused),
		cmocka_unit_test(bad_peers_are_told_apart),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(all_are_asked_at_once),
		cmocka_unit_test(sockets_given_are_used_and_not_mixed_up),
		cmocka_unit_test(qgs_is_spoken),
		cmocka_unit_test(what_is_not_qgs_is_not_taken_for_it),
		cmocka_unit_test(key_provider_is_spoken),
		cmocka_unit_test(what_is_no_key_provider_is_not_taken_for_one),
		cmocka_unit_test(a_connection_is_enough_for_connect),
		cmocka_unit_test(the_half_has_no_privileges),
		cmocka_unit_test(a_half_that_was_taken_over_is_ended),
		cmocka_unit_test(answers_that_arrived_are_kept),
		cmocka_unit_test(nothing_unprintable_comes_through),
		cmocka_unit_test(records_survive_the_way),
		cmocka_unit_test(records_that_are_not_exactly_right_are_refused),
		cmocka_unit_test(certificates_are_checked_when_there_is_a_ca),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
