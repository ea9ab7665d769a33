// SPDX-License-Identifier: Apache-2.0
/* A peer for the network half's tests: a process on loopback that runs a script. */
#pragma once

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "host/peer/peer.h"

struct server {
	pid_t pid;
	char at[32];  /* 127.0.0.1:PORT */
	char url[64]; /* http://127.0.0.1:PORT/x */
};

typedef void (*script_fn)(int fd);

static inline void say(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		_exit(1);
}

/* Reads the head of a request (and what comes with it) into a static buffer. */
static inline const char *hear(int fd)
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

static inline int listen_on_loopback(char *at, size_t size)
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

static inline void serve(int fd, script_fn script)
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

static inline struct server start(script_fn script)
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

static inline void stop(struct server *s)
{
	kill(s->pid, SIGKILL);
	assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
}

static inline void body_to_fact(const struct peer_reply *reply, struct peer_emit *emit)
{
	peer_factf(emit, "status", "%ld", reply->status);
	peer_fact(emit, "body", reply->body);
	peer_factf(emit, "len", "%zu", reply->len);
}

static inline struct peer_request http(const struct server *s)
{
	return (struct peer_request){ .kind = PEER_HTTP, .url = s->url, .fd = -1,
				      .timeout_ms = 2000, .max_body = 4096,
				      .digest = body_to_fact };
}

/* Asks one thing of a peer that runs `script`; the answer is the caller's. */
static inline struct peer_answer ask(script_fn script, struct peer_request (*make)(const struct server *))
{
	struct server s = start(script);
	struct peer_request q = make(&s);
	struct peer_answer a;

	assert_int_equal(peer_ask(&q, 1, &a), 0);
	stop(&s);
	return a;
}

static inline void answer_fine(int fd)
{
	hear(fd);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

static inline void answer_late(int fd)
{
	char c;

	/* Until the other side gives up. */
	while (read(fd, &c, 1) > 0)
		;
}

static inline struct peer_request https(const struct server *s)
{
	static char url[64];
	struct peer_request q = http(s);

	snprintf(url, sizeof(url), "https://%s/", s->at);
	q.url = url;
	return q;
}

static inline void answer_ssh(int fd)
{
	say(fd, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
	hear(fd);
}

static inline void answer_nothing(int fd)
{
	hear(fd);
}
