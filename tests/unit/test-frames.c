// SPDX-License-Identifier: Apache-2.0
/*
 * QGS and the key provider, and the records between the halves, in this process: a script says
 * what each call on the socket returns. (test-peer-frames asks real sockets, from the sealed half.)
 */
#include "test.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"

/* What the socket says next. */
static struct {
	const char *data; /* recv: what comes */
	size_t len;
	int recv_error;	  /* instead; 0 without data: closed */
	int send_error;
	size_t send_most;
	int so_error, no_options, no_info;
	unsigned unacked;
} sock;

ssize_t recv(int fd _unused_, void *data, size_t n, int flags _unused_)
{
	size_t len = sock.len < n ? sock.len : n;

	if (sock.recv_error) {
		errno = sock.recv_error;
		return -1;
	}
	memcpy(data, sock.data, len);
	sock.data += len;
	sock.len -= len;
	return (ssize_t)len;
}

ssize_t send(int fd _unused_, const void *data _unused_, size_t n, int flags _unused_)
{
	if (sock.send_error) {
		errno = sock.send_error;
		return -1;
	}
	return (ssize_t)(n < sock.send_most ? n : sock.send_most);
}

int getsockopt(int fd _unused_, int level, int name _unused_, void *value, socklen_t *len _unused_)
{
	if (sock.no_options || (level == IPPROTO_TCP && sock.no_info))
		return -1;
	if (level == SOL_SOCKET)
		*(int *)value = sock.so_error;
	else
		((struct tcp_info *)value)->tcpi_unacked = sock.unacked;
	return 0;
}

static void start(struct frames *f, enum peer_kind kind)
{
	struct peer_request request = { .kind = kind, .max_body = 4096 };

	memset(&sock, 0, sizeof(sock));
	sock.data = "";
	sock.send_most = 4096;
	frames_start(f, &request, 0);
}

/* An answer of QGS; what is NULL or 0 there is as it should be. */
struct answer {
	unsigned major, type, size, error, id_size, cpusvn_size;
	size_t len; /* of the payload as it comes */
};

static size_t make_answer(const struct answer *a, char out[256])
{
	uint32_t words[7] = { 0 };
	size_t len = a->len ? a->len : 28 + 16 + 16;
	uint32_t be = htobe32((uint32_t)len);

	words[0] = htole32(a->major ? a->major : 1);
	words[1] = htole32(a->type ? a->type : 5);
	words[2] = htole32(a->size ? a->size : (uint32_t)len);
	words[3] = htole32(a->error);
	words[4] = htole32(7 | 9 << 16);
	words[5] = htole32(a->id_size ? a->id_size : 16);
	words[6] = htole32(a->cpusvn_size ? a->cpusvn_size : 16);
	memset(out, 0xab, 256);
	memcpy(out, &be, 4);
	memcpy(out + 4, words, sizeof(words));
	return 4 + len;
}

static void qgs_is_judged_by_every_field(void **state _unused_)
{
	static const struct {
		struct answer answer;
		const char *says;
	} cases[] = {
		{ { 0 }, "" },
		{ { .major = 2 }, "an answer that is not QGS's" },
		{ { .type = 4 }, "an answer that is not QGS's" },
		{ { .size = 61 }, "an answer that is not QGS's" },
		{ { .error = 0x11 }, "QGS error 0x11" },
		{ { .len = 15 }, "an answer of 15 bytes, not QGS" },
		{ { .len = 16 }, "platform information of a wrong size" },
		{ { .id_size = 65 }, "platform information of a wrong size" },
		{ { .cpusvn_size = 65 }, "platform information of a wrong size" },
		{ { .cpusvn_size = 17 }, "platform information of a wrong size" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char data[256];
		struct frames f;

		start(&f, PEER_QGS);
		sock.data = data;
		sock.len = make_answer(&cases[i].answer, data);
		frames_step(&f);
		assert_true(f.done);
		assert_string_equal(f.text, cases[i].says);
		assert_int_equal(f.error, *cases[i].says ? PEER_PROTOCOL : PEER_OK);
		frames_step(&f); /* nothing more is done */
		frames_free(&f);
	}
}

static void a_frame_comes_in_pieces(void **state _unused_)
{
	static const struct {
		const char *data;
		size_t len;
		const char *says; /* NULL: not done yet */
	} cases[] = {
		{ "\0\0\0", 3, NULL },
		{ "\0\0\0\2x", 5, NULL },
		{ "\0\0\0\2xy", 6, "" },
		{ "\0\0\0\2xyz", 7, "more than one answer" },
		{ "HTTP", 4, "not its protocol: begins with 48 54 54 50" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct frames f;

		start(&f, PEER_KEY_PROVIDER);
		sock.data = cases[i].data;
		sock.len = cases[i].len;
		frames_step(&f);
		assert_int_equal(f.done, cases[i].says != NULL);
		assert_string_equal(f.text, cases[i].says ? cases[i].says : "");
		assert_int_equal(frames_reply(&f).len, cases[i].len > 4 ? cases[i].len - 4 : 0);
		frames_free(&f);
	}
}

/* Whether a close means that the question was read and refused. */
static void a_close_is_judged(void **state _unused_)
{
	static const char never[] = "closed without an answer";
	struct frames f;

	for (int i = 0; i < 7; i++) {
		start(&f, i == 6 ? PEER_QGS : PEER_KEY_PROVIDER);
		sock.so_error = i == 1 ? ECONNRESET : 0;
		sock.unacked = i == 2;
		sock.no_options = i == 3;
		sock.no_info = i == 4; /* no TCP: nothing speaks against it */
		sock.send_most = i == 5 ? 3 : 4096;
		frames_step(&f);
		assert_true(f.done);
		assert_string_equal(f.text, i == 0 || i == 4 ? "" : never);
		frames_free(&f);
	}
	start(&f, PEER_KEY_PROVIDER);
	sock.data = "\0";
	sock.len = 1;
	frames_step(&f);
	assert_false(f.done);
	frames_step(&f);
	assert_string_equal(f.text, "closed in the middle of its answer");
	frames_free(&f);
}

static void errors_of_the_socket_end_it_but_for_two(void **state _unused_)
{
	static const int errors[] = { EAGAIN, EINTR, ECONNRESET };

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct frames f;

		start(&f, PEER_QGS);
		assert_int_equal(frames_events(&f), POLLIN | POLLOUT);
		sock.send_error = errors[i];
		sock.recv_error = EAGAIN;
		frames_step(&f);
		assert_int_equal(f.done, errors[i] == ECONNRESET);
		frames_free(&f);
		start(&f, PEER_QGS);
		sock.recv_error = errors[i];
		frames_step(&f);
		assert_int_equal(frames_events(&f), POLLIN);
		assert_int_equal(f.done, errors[i] == ECONNRESET);
		if (f.done)
			assert_string_equal(f.text, "closed without an answer: Connection reset by peer");
		frames_free(&f);
	}
}

/* Facts as "key=value;". */
static char *facts_of(struct frames *f)
{
	struct peer_emit emit = { .index = 3 };
	struct strbuf all = { 0 };

	frames_digest(f, &emit);
	for (size_t at = 0; at < emit.out.len;) {
		struct peer_record rec;
		ssize_t n = record_decode(emit.out.data + at, emit.out.len - at, &rec);

		assert_true(n > 0 && rec.type == RECORD_FACT && rec.index == 3);
		sb_addf(&all, "%.*s=%.*s;", (int)rec.key_len, rec.key, (int)rec.value_len,
			rec.value);
		at += (size_t)n;
	}
	sb_free(&emit.out);
	return sb_steal(&all);
}

static void facts_of_what_was_answered(void **state _unused_)
{
	static const struct answer usual = { .len = 28 + 2, .id_size = 2 };
	_cleanup_free_ char *qgs = NULL, *frame = NULL, *closed = NULL, *none = NULL;
	char data[256];
	struct frames f;

	start(&f, PEER_QGS);
	sock.data = data;
	sock.len = make_answer(&usual, data);
	memset(data + 4 + 24, 0, 4); /* no CPUSVN */
	frames_step(&f);
	qgs = facts_of(&f);
	assert_string_equal(qgs, "tdqe_isvsvn=7;pce_isvsvn=9;platform_id=abab;cpusvn=;");
	frames_free(&f);
	start(&f, PEER_QGS);
	frames_step(&f);
	none = facts_of(&f);
	assert_string_equal(none, "");
	frames_free(&f);
	start(&f, PEER_KEY_PROVIDER);
	frames_step(&f);
	closed = facts_of(&f);
	assert_string_equal(closed, "answer=closed;");
	frames_free(&f);
	start(&f, PEER_KEY_PROVIDER);
	sock.data = "\0\0\0\1x";
	sock.len = 5;
	frames_step(&f);
	frame = facts_of(&f);
	assert_string_equal(frame, "answer=frame;");
	frames_free(&f);
}

/* --- records --- */

struct raw {
	uint8_t type, zero;
	uint16_t index;
	uint32_t len;
	char data[PEER_VALUE_MAX + 128];
};

static ssize_t decode(uint8_t type, uint16_t index, const void *data, size_t len)
{
	static struct raw raw;
	struct peer_record rec;

	raw = (struct raw){ .type = type, .index = index, .len = (uint32_t)len };
	memcpy(raw.data, data, len);
	return record_decode((const char *)&raw, 8 + len, &rec);
}

static void records_that_are_not_exactly_right_are_refused(void **state _unused_)
{
	static char big[1 + PEER_KEY_MAX + PEER_VALUE_MAX + 1];
	int32_t done[3 + (PEER_TEXT_MAX + 1) / 4 + 1] = { 0 };
	int32_t error = 0;

	memset(big, 'x', sizeof(big));
	assert_int_equal(decode(RECORD_READY, 0, &error, 4), 12);
	assert_int_equal(decode(RECORD_READY, 1, &error, 4), -EBADMSG);
	assert_int_equal(decode(RECORD_READY, 0, &error, 3), -EBADMSG);
	error = 4096;
	assert_int_equal(decode(RECORD_READY, 0, &error, 4), -EBADMSG);
	error = -1;
	assert_int_equal(decode(RECORD_READY, 0, &error, 4), -EBADMSG);
	assert_int_equal(decode(0, 0, &error, 4), -EBADMSG);
	assert_int_equal(decode(4, 0, &error, 4), -EBADMSG);

	assert_int_equal(decode(RECORD_FACT, 0, "\1kv", 3), 11);
	assert_int_equal(decode(RECORD_FACT, 0, "", 0), -EBADMSG);
	assert_int_equal(decode(RECORD_FACT, 0, "\0v", 2), -EBADMSG);
	assert_int_equal(decode(RECORD_FACT, 0, "\2k", 2), -EBADMSG);
	assert_int_equal(decode(RECORD_FACT, 0, "\1\n", 2), -EBADMSG);
	assert_int_equal(decode(RECORD_FACT, 0, "\1k\x1b", 3), -EBADMSG);
	big[0] = PEER_KEY_MAX + 1;
	assert_int_equal(decode(RECORD_FACT, 0, big, 100), -EBADMSG);
	big[0] = 1;
	assert_int_equal(decode(RECORD_FACT, 0, big, 2 + PEER_VALUE_MAX + 1), -EBADMSG);
	assert_int_equal(decode(RECORD_FACT, 0, big, sizeof(big)), -EBADMSG);

	assert_int_equal(decode(RECORD_DONE, 0, done, 11), -EBADMSG);
	assert_int_equal(decode(RECORD_DONE, 0, done, 12), 20);
	assert_int_equal(decode(RECORD_DONE, 0, done, 13), -EBADMSG); /* a NUL is no text */
	assert_int_equal(decode(RECORD_DONE, 0, done, 12 + PEER_TEXT_MAX + 1), -EBADMSG);
	done[1] = 999;
	assert_int_equal(decode(RECORD_DONE, 0, done, 12), 20);
	done[1] = 1000;
	assert_int_equal(decode(RECORD_DONE, 0, done, 12), -EBADMSG);
	done[1] = -1;
	assert_int_equal(decode(RECORD_DONE, 0, done, 12), -EBADMSG);
}

static void a_record_waits_for_the_rest(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct peer_record rec;

	record_add_fact(&out, 2, "key", "value");
	for (size_t n = 0; n < out.len; n++)
		assert_int_equal(record_decode(out.data, n, &rec), 0);
	assert_int_equal(record_decode(out.data, out.len, &rec), out.len);
	out.data[1] = 1; /* reserved */
	assert_int_equal(record_decode(out.data, out.len, &rec), -EBADMSG);
}

static void what_is_encoded_is_clean_and_bounded(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct peer_record rec, done = { .type = RECORD_DONE };
	char key[PEER_KEY_MAX + 8];

	record_add_fact(&out, 0, "", "of no key");
	assert_int_equal(out.len, 0);
	memset(key, 'k', sizeof(key));
	key[sizeof(key) - 1] = '\0';
	record_add_fact(&out, 0, key, "a\tb\nc\rd\x1b" "e\xff\xc3\xa9");
	assert_int_equal(record_decode(out.data, out.len, &rec), out.len);
	assert_int_equal(rec.key_len, PEER_KEY_MAX);
	assert_int_equal(rec.value_len, 12);
	assert_memory_equal(rec.value, "a b c d?e?\xc3\xa9", 12);
	sb_free(&out);
	/* A character that would not fit whole is left out. */
	memcpy(key + PEER_KEY_MAX - 1, "\xc3\xa9", 3);
	record_add_fact(&out, 0, key, "");
	assert_int_equal(record_decode(out.data, out.len, &rec), out.len);
	assert_int_equal(rec.key_len, PEER_KEY_MAX - 1);
	sb_free(&out);
	record_add_done(&out, &done);
	assert_int_equal(record_decode(out.data, out.len, &rec), out.len);
	assert_int_equal(rec.text_len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qgs_is_judged_by_every_field),
		cmocka_unit_test(a_frame_comes_in_pieces),
		cmocka_unit_test(a_close_is_judged),
		cmocka_unit_test(errors_of_the_socket_end_it_but_for_two),
		cmocka_unit_test(facts_of_what_was_answered),
		cmocka_unit_test(records_that_are_not_exactly_right_are_refused),
		cmocka_unit_test(a_record_waits_for_the_rest),
		cmocka_unit_test(what_is_encoded_is_clean_and_bounded),
	};

	return cmocka_run_group_tests_name("frames", tests, NULL, NULL);
}
