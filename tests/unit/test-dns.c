// SPDX-License-Identifier: Apache-2.0
/* DNS: what is sent, what is read, and a network half that asks a name server of the test. */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "host/peer/dns.h"
#include "host/peer/peer.h"

static void put_record(struct strbuf *out, unsigned type, const void *data, size_t len)
{
	unsigned char head[12] = { 0xc0, 12, (unsigned char)(type >> 8), (unsigned char)type, 0, 1,
				   0, 0, 0, 60, (unsigned char)(len >> 8), (unsigned char)len };

	sb_addn(out, head, sizeof(head));
	sb_addn(out, data, len);
}

/* The answer to a question with so many records, which come after. */
static void put_head(struct strbuf *out, const void *question, size_t len, unsigned records,
		     unsigned rcode)
{
	sb_addn(out, question, len);
	out->data[2] = (char)0x81;
	out->data[3] = (char)(0x80 | rcode);
	out->data[7] = (char)records;
}

struct seen {
	unsigned n;
	uint8_t last[64];
	size_t len;
};

static void see(const uint8_t *data, size_t len, void *arg)
{
	struct seen *s = arg;

	s->n++;
	s->len = len;
	memcpy(s->last, data, len < sizeof(s->last) ? len : sizeof(s->last));
}

static void a_question_is_one_packet(void **state _unused_)
{
	static const char wanted[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
				     "\x03kms\x07" "example\x03org\x00\x01\x01\x00\x01";
	struct dns_question q;
	char name[300];

	assert_int_equal(dns_ask(0x1234, "kms.example.org", DNS_CAA, &q), 0);
	assert_int_equal(q.len, sizeof(wanted) - 1);
	assert_memory_equal(q.packet, wanted, q.len);
	assert_int_equal(dns_ask(1, "", DNS_A, &q), -EINVAL);
	assert_int_equal(dns_ask(1, "a..b", DNS_A, &q), -EINVAL);
	memset(name, 'a', sizeof(name));
	name[64] = '\0';
	assert_int_equal(dns_ask(1, name, DNS_A, &q), -EINVAL);
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 2 ? '.' : 'a';
	name[253] = '\0';
	assert_int_equal(dns_ask(1, name, DNS_A, &q), 0);
	assert_true(q.len <= DNS_QUESTION_MAX);
	name[253] = '.', name[254] = 'a', name[255] = '\0';
	assert_int_equal(dns_ask(1, name, DNS_A, &q), -EINVAL);
}

static void records_of_the_type_are_read(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf a = { 0 };
	struct dns_question q;
	struct seen s = { 0 };

	assert_int_equal(dns_ask(7, "kms.example.org", DNS_A, &q), 0);
	put_head(&a, q.packet, q.len, 3, 0);
	put_record(&a, 5, "\xc0\x10", 2); /* CNAME */
	put_record(&a, DNS_A, "\xcb\x00\x71\x05", 4);
	put_record(&a, DNS_AAAA, "0123456789abcdef", 16);
	assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), DNS_NO_ERROR);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.len, 4);
	assert_memory_equal(s.last, "\xcb\x00\x71\x05", 4);
	/* 0x20: the server may write the letters as it likes, but not other ones. */
	a.data[13] = 'K';
	assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), DNS_NO_ERROR);
	a.data[13] = 'x';
	assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), -EBADMSG);
}

static void other_answers_are_refused(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf a = { 0 };
	struct dns_question q;
	struct seen s = { 0 };

	assert_int_equal(dns_ask(7, "kms.example.org", DNS_A, &q), 0);
	/* the question itself */
	assert_int_equal(dns_answer(&q, q.packet, q.len, see, &s), -EBADMSG);
	put_head(&a, q.packet, q.len, 0, DNS_NO_NAME);
	assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), DNS_NO_NAME);
	a.data[1] = 8;
	assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), -EBADMSG);
	a.data[1] = 7;
	/* a server status, as an answer */
	a.data[2] = (char)0x91;
	assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), -EBADMSG);
	a.data[2] = (char)0x81;
	/* more records than there are */
	a.data[7] = 1;
	assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), -EBADMSG);
	put_record(&a, DNS_A, "\x01\x02\x03\x04", 4);
	assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), DNS_NO_NAME);
	for (size_t len = 0; len < a.len; len++)
		assert_int_equal(dns_answer(&q, a.data, len, see, &s), -EBADMSG);
	assert_int_equal(s.n, 1);
}

/* A name may also be written out, and its pointer or label may break off. */
static void names_of_records_are_skipped(void **state _unused_)
{
	static const char none[1 + 64 + 1] = { 64, 'a' };
	static const unsigned char rest[] = { 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4 };
	static const struct {
		const char *name;
		size_t len;
		int good;
	} cases[] = {
		{ "\0", 1, 1 },
		{ "\x01" "a\x02" "bc\0", 6, 1 },
		{ "\x01" "a\xc0\x0c", 4, 1 },
		{ "\x3f", 1, 0 }, /* longer than what is left */
		{ none, 1 + 64 + 1, 0 }, /* no length that there is */
		{ "\x80", 1, 0 },
	};
	struct dns_question q;

	assert_int_equal(dns_ask(7, "kms.example.org", DNS_A, &q), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_strbuf_ struct strbuf a = { 0 };
		struct seen s = { 0 };

		put_head(&a, q.packet, q.len, 1, 0);
		sb_addn(&a, cases[i].name, cases[i].len);
		sb_addn(&a, rest, sizeof(rest));
		assert_int_equal(dns_answer(&q, a.data, a.len, see, &s),
				 cases[i].good ? DNS_NO_ERROR : -EBADMSG);
		assert_int_equal(s.n, cases[i].good);
		if (!cases[i].good)
			continue;
		/* Of another class: passed over. */
		a.data[a.len - sizeof(rest) + 3] = 3;
		assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), DNS_NO_ERROR);
		assert_int_equal(s.n, 1);
		/* To another question, to more than one, and no answer. */
		a.data[q.len - 3] = 28;
		assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), -EBADMSG);
		a.data[q.len - 3] = 1;
		a.data[5] = 2;
		assert_int_equal(dns_answer(&q, a.data, a.len, see, &s), -EBADMSG);
	}
}

static void caa_has_tag_and_value(void **state _unused_)
{
	struct dns_caa caa;

	assert_int_equal(dns_caa((const uint8_t *)"\x00\x05issueca.example", 17, &caa), 0);
	assert_int_equal(caa.tag_len, 5);
	assert_memory_equal(caa.tag, "issue", 5);
	assert_int_equal(caa.value_len, 10);
	assert_memory_equal(caa.value, "ca.example", 10);
	assert_int_equal(dns_caa((const uint8_t *)"\x00\x05iss", 5, &caa), -EBADMSG);
	assert_int_equal(dns_caa((const uint8_t *)"\x00\x00x", 3, &caa), -EBADMSG);
	assert_int_equal(dns_caa((const uint8_t *)"", 0, &caa), -EBADMSG);
}

/* --- a name server; a process of the test's --- */

struct server {
	pid_t pid;
	int fd;
	char address[32];
};

static int open_server(struct server *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, len) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&at, &len) < 0)
		return -1;
	snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", ntohs(at.sin_port));
	return 0;
}

/* A: two records, AAAA: SERVFAIL, CAA: of example.org alone. First garbage with the right id. */
static void answer_one(int fd, const unsigned char *q, size_t len, const struct sockaddr_in *to)
{
	_cleanup_strbuf_ struct strbuf a = { 0 };
	unsigned type = (unsigned)q[len - 4] << 8 | q[len - 3];

	sendto(fd, q, 2, 0, (const struct sockaddr *)to, sizeof(*to));
	put_head(&a, q, len, type == DNS_A ? 2 : type == DNS_CAA && q[12] == 7,
		 type == DNS_AAAA ? 2 : 0);
	if (type == DNS_A) {
		put_record(&a, DNS_A, "\xcb\x00\x71\x05", 4);
		put_record(&a, DNS_A, "\xcb\x00\x71\x06", 4);
	}
	if (type == DNS_CAA && q[12] == 7)
		put_record(&a, DNS_CAA, "\x00\x05issueca.\x1b[31m", 15);
	/* Twice: nothing may count double. */
	for (int i = 0; i < 2; i++)
		sendto(fd, a.data, a.len, 0, (const struct sockaddr *)to, sizeof(*to));
}

static void start_server(struct server *s)
{
	assert_int_equal(open_server(s), 0);
	s->pid = fork();
	if (s->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct sockaddr_in from;
		socklen_t len = sizeof(from);
		unsigned char q[512];
		ssize_t n = recvfrom(s->fd, q, sizeof(q), 0, (struct sockaddr *)&from, &len);

		if (n > 16)
			answer_one(s->fd, q, (size_t)n, &from);
	}
}

static void stop_server(struct server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	close(s->fd);
}

static void ask(const char *names, const char *servers, unsigned ms, struct peer_answer *a)
{
	struct peer_request q = { .kind = PEER_DNS, .url = names, .fd = -1, .timeout_ms = ms };
	char copy[256];

	/* Bodies are blanked in the half's copy of this process. */
	snprintf(copy, sizeof(copy), "%s", servers);
	q.body = copy;
	assert_int_equal(peer_ask(&q, 1, a), 0);
}

static int has_fact(const struct peer_answer *a, const char *key, const char *value)
{
	for (size_t i = 0; i < a->n_facts; i++)
		if (strcmp(a->facts[i].key, key) == 0 && strcmp(a->facts[i].value, value) == 0)
			return 1;
	return 0;
}

static void a_half_resolves(void **state _unused_)
{
	struct server s;
	struct peer_answer a;

	start_server(&s);
	ask("kms.example.org", s.address, 2000, &a);
	assert_int_equal(a.error, PEER_OK);
	assert_true(has_fact(&a, "address", "kms.example.org 203.0.113.5"));
	assert_true(has_fact(&a, "address", "kms.example.org 203.0.113.6"));
	assert_true(has_fact(&a, "answered", "kms.example.org A ok"));
	assert_true(has_fact(&a, "answered", "kms.example.org AAAA failed"));
	assert_true(has_fact(&a, "answered", "kms.example.org CAA ok"));
	/* that of a name above, and nothing that steers a terminal */
	assert_true(has_fact(&a, "caa", "example.org issue ca.?[31m"));
	assert_int_equal(a.n_facts, 7);
	peer_answers_free(&a, 1);
	stop_server(&s);
}

static void a_dead_server_is_passed_over(void **state _unused_)
{
	struct server dead, silent, s;
	char servers[128];
	struct peer_answer a;

	assert_int_equal(open_server(&dead), 0);
	close(dead.fd);
	assert_int_equal(open_server(&silent), 0);
	start_server(&s);
	snprintf(servers, sizeof(servers), "%s %s %s", dead.address, silent.address, s.address);
	ask("kms.example.org", servers, 600, &a);
	assert_int_equal(a.error, PEER_OK);
	assert_true(has_fact(&a, "answered", "kms.example.org A ok"));
	peer_answers_free(&a, 1);
	stop_server(&s);
	close(silent.fd);
}

static void silence_ends_in_time(void **state _unused_)
{
	struct server silent;
	struct peer_answer a;
	uint64_t start = clock_ms();

	assert_int_equal(open_server(&silent), 0);
	ask("kms.example.org registry.example.org", silent.address, 300, &a);
	assert_int_equal(a.error, PEER_TIMEOUT);
	assert_in_range(clock_ms() - start, 290, 1200);
	peer_answers_free(&a, 1);
	close(silent.fd);
	ask("kms.example.org", "", 300, &a);
	assert_int_equal(a.error, PEER_UNREACHABLE);
	peer_answers_free(&a, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_is_one_packet),
		cmocka_unit_test(records_of_the_type_are_read),
		cmocka_unit_test(other_answers_are_refused),
		cmocka_unit_test(names_of_records_are_skipped),
		cmocka_unit_test(caa_has_tag_and_value),
		cmocka_unit_test(a_half_resolves),
		cmocka_unit_test(a_dead_server_is_passed_over),
		cmocka_unit_test(silence_ends_in_time),
	};

	return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
