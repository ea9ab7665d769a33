// SPDX-License-Identifier: Apache-2.0
/* QGS and key provider as the network half speaks to them, and what is neither. */
#include "test-server.h"

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

#define QGS_MAJOR_2                                                                      \
	"\0\0\0\x24\2\0\1\0\5\0\0\0\x24\0\0\0\0\0\0\0\4\0\x0d\0\4\0\0\0\4\0\0\0abcdEFGH"

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

static void qgs_of_another_generation(int fd)
{
	qgs_answer(fd, QGS_MAJOR_2, sizeof(QGS_MAJOR_2) - 1);
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
					     qgs_of_another_generation, answer_fine,
					     qgs_stops_in_the_middle, answer_nothing };

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qgs_is_spoken),
		cmocka_unit_test(what_is_not_qgs_is_not_taken_for_it),
		cmocka_unit_test(key_provider_is_spoken),
		cmocka_unit_test(what_is_no_key_provider_is_not_taken_for_one),
		cmocka_unit_test(a_connection_is_enough_for_connect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
