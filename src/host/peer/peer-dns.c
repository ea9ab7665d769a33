// SPDX-License-Identifier: Apache-2.0
/*
 * A network half that resolves: all questions at once over UDP, each to the next name server
 * when the one before has had a third of the time. No stub resolver does that, they ask one
 * after the other and for seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/parse.h"
#include "host/peer/dns.h"
#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"

enum { QUESTIONS_MAX = 48, SERVERS_MAX = 3, ATTEMPTS = 3, RECORDS_MAX = 64 };

struct question {
	char *name;
	struct dns_question dns;
	int done;
};

struct resolve {
	struct question questions[QUESTIONS_MAX];
	size_t n, n_done;
	struct pollfd servers[SERVERS_MAX];
	nfds_t n_servers;
	struct peer_emit *emit;
	const struct question *now; /* whose answer is being read */
	unsigned n_records;
};

static const char *type_name(enum dns_type type)
{
	return type == DNS_A ? "A" : type == DNS_AAAA ? "AAAA" : "CAA";
}

static void add_question(struct resolve *w, const char *name, enum dns_type type)
{
	struct question *q = &w->questions[w->n];
	uint16_t id;

	for (size_t i = 0; i < w->n; i++)
		if (w->questions[i].dns.type == type && strcmp(w->questions[i].name, name) == 0)
			return;
	if (w->n == QUESTIONS_MAX || getrandom(&id, sizeof(id), 0) != sizeof(id) ||
	    dns_ask(id, name, type, &q->dns) < 0)
		return;
	q->name = xstrdup(name);
	w->n++;
}

/* CAA counts for a name and all below it; nobody has one at a top level domain of a host. */
static int add_name(const char *name, void *arg)
{
	struct resolve *w = arg;

	add_question(w, name, DNS_A);
	add_question(w, name, DNS_AAAA);
	for (const char *p = name; p && strchr(p, '.'); p = strchr(p, '.') + 1)
		add_question(w, p, DNS_CAA);
	return 0;
}

static int add_server(const char *word, void *arg)
{
	struct resolve *w = arg;
	struct hostport hp;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to = { 0 };
	int v6, fd;

	if (parse_hostport(word, &hp) || w->n_servers == SERVERS_MAX)
		return 0;
	v6 = strchr(hp.host, ':') != NULL;
	to.any.sa_family = v6 ? AF_INET6 : AF_INET;
	if (v6)
		to.v6.sin6_port = htons(hp.port);
	else
		to.v4.sin_port = htons(hp.port);
	if (inet_pton(to.any.sa_family, hp.host,
		      v6 ? (void *)&to.v6.sin6_addr : (void *)&to.v4.sin_addr) != 1)
		return 0;
	fd = socket(to.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return 0;
	/* Connected: the kernel drops what comes from anybody else. */
	if (connect(fd, &to.any, v6 ? sizeof(to.v6) : sizeof(to.v4)) < 0) {
		close(fd);
		return 0;
	}
	w->servers[w->n_servers++] = (struct pollfd){ .fd = fd, .events = POLLIN };
	return 0;
}

static void on_record(const uint8_t *data, size_t len, void *arg)
{
	struct resolve *w = arg;
	const struct question *q = w->now;
	char address[INET6_ADDRSTRLEN];
	struct dns_caa caa;

	if (w->n_records++ >= RECORDS_MAX)
		return;
	if (q->dns.type == DNS_CAA) {
		if (dns_caa(data, len, &caa) == 0)
			peer_factf(w->emit, "caa", "%s %.*s %.*s", q->name, caa.tag_len, caa.tag,
				   caa.value_len, caa.value);
		return;
	}
	if (len != (q->dns.type == DNS_A ? 4 : 16))
		return;
	inet_ntop(q->dns.type == DNS_A ? AF_INET : AF_INET6, data, address, sizeof(address));
	peer_factf(w->emit, "address", "%s %s", q->name, address);
}

static void take_answer(struct resolve *w, const void *packet, size_t len)
{
	for (size_t i = 0; i < w->n; i++) {
		struct question *q = &w->questions[i];
		int rcode;

		if (q->done || len < 2 || memcmp(packet, q->dns.packet, 2) != 0)
			continue;
		w->now = q;
		w->n_records = 0;
		rcode = dns_answer(&q->dns, packet, len, on_record, w);
		if (rcode < 0)
			continue;
		peer_factf(w->emit, "answered", "%s %s %s", q->name, type_name(q->dns.type),
			   rcode == DNS_NO_ERROR || rcode == DNS_NO_NAME ? "ok" : "failed");
		q->done = 1;
		w->n_done++;
		return;
	}
}

static int anybody(const struct resolve *w)
{
	for (nfds_t i = 0; i < w->n_servers; i++)
		if (w->servers[i].fd >= 0)
			return 1;
	return 0;
}

static void receive(struct resolve *w, uint64_t deadline)
{
	uint8_t packet[DNS_ANSWER_MAX];
	ssize_t n;

	while (w->n_done < w->n && anybody(w) &&
	       poll(w->servers, w->n_servers, clock_left(deadline)) > 0)
		for (nfds_t i = 0; i < w->n_servers; i++) {
			while ((n = recv(w->servers[i].fd, packet, sizeof(packet), 0)) >= 0)
				take_answer(w, packet, (size_t)n);
			/* Nobody listens there. */
			if (errno != EAGAIN && errno != EINTR && w->servers[i].fd >= 0) {
				close(w->servers[i].fd);
				w->servers[i].fd = -1;
			}
		}
}

static void resolve(struct resolve *w, unsigned timeout_ms)
{
	uint64_t start = clock_ms();

	for (unsigned attempt = 0; attempt < ATTEMPTS && w->n_done < w->n; attempt++) {
		int fd = w->servers[attempt % w->n_servers].fd;

		for (size_t i = 0; fd >= 0 && i < w->n; i++)
			if (!w->questions[i].done)
				(void)!send(fd, w->questions[i].dns.packet,
					    w->questions[i].dns.len, MSG_NOSIGNAL);
		receive(w, start + (uint64_t)timeout_ms * (attempt + 1) / ATTEMPTS);
	}
}

static void run_one(const struct peer_request *q, unsigned index, int sock)
{
	struct peer_emit emit = { .index = index };
	struct resolve w = { .emit = &emit };
	uint64_t start = clock_ms();
	struct peer_reply none = { 0 };
	struct peer_record done = { .index = index, .error = PEER_OK };

	for_each_word(q->url ? q->url : "", add_name, &w);
	for_each_word(q->body ? q->body : "", add_server, &w);
	if (w.n_servers)
		resolve(&w, q->timeout_ms ? q->timeout_ms : PEER_TIMEOUT_DEFAULT_MS);
	if (!w.n_done) {
		done.error = w.n_servers ? PEER_TIMEOUT : PEER_UNREACHABLE;
		done.text = w.n_servers ? "no name server answers" : "no name server";
	}
	done.ms = (unsigned)(clock_ms() - start);
	peer_send(sock, &emit.out);
	peer_finish(q, &none, &done, sock);
	sb_free(&emit.out);
	for (size_t i = 0; i < w.n; i++)
		free(w.questions[i].name);
	for (nfds_t i = 0; i < w.n_servers; i++)
		if (w.servers[i].fd >= 0)
			close(w.servers[i].fd);
}

void peer_resolve(const struct peer_request *requests, size_t n, int sock)
{
	for (size_t i = 0; i < n; i++)
		run_one(&requests[i], (unsigned)i, sock);
}
