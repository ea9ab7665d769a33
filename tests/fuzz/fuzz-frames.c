// SPDX-License-Identifier: Apache-2.0
/*
 * Answers of QGS and of the key provider over a real socket: first byte which of the two and
 * whether the peer closes, second how many bytes arrive at once.
 */
#include "fuzz.h"

#include <sys/socket.h>

#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"

enum { BODY_MAX = 4096 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void facts_can_be_read(const struct frames *f)
{
	struct peer_emit emit = { .index = 1 };

	frames_digest(f, &emit);
	for (size_t at = 0; at < emit.out.len;) {
		struct peer_record rec;
		ssize_t n = record_decode(emit.out.data + at, emit.out.len - at, &rec);

		require(n > 0 && rec.type == RECORD_FACT);
		at += (size_t)n;
	}
	sb_free(&emit.out);
}

static void judge(const struct frames *f, int closed, size_t size)
{
	struct peer_reply reply = frames_reply(f);

	require(!closed || f->done);
	require(reply.len <= BODY_MAX + 4096);
	if (!f->done)
		return;
	require((f->error == PEER_OK) == !*f->text);
	/* A QGS that is taken has sent a whole header, and is as long as it says. */
	if (f->error == PEER_OK && f->kind == PEER_QGS) {
		uint32_t says = (uint32_t)(unsigned char)f->in.data[12] |
				(uint32_t)(unsigned char)f->in.data[13] << 8 |
				(uint32_t)(unsigned char)f->in.data[14] << 16 |
				(uint32_t)(unsigned char)f->in.data[15] << 24;

		require(reply.len >= 28 && says == reply.len && says + 4 <= size);
	}
	facts_can_be_read(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer_request request = { .max_body = BODY_MAX };
	struct frames f;
	size_t step, at = 0;
	int pair[2], closes;

	if (size < 2 || size > 65536)
		return 0;
	request.kind = data[0] & 1 ? PEER_QGS : PEER_KEY_PROVIDER;
	closes = data[0] & 2;
	step = data[1] + 1u;
	data += 2;
	size -= 2;
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	frames_start(&f, &request, pair[0]);
	frames_step(&f); /* asks */
	for (; at < size && !f.done; at += step) {
		require(send(pair[1], data + at, size - at < step ? size - at : step,
			     MSG_NOSIGNAL) > 0);
		frames_step(&f);
	}
	if (closes) {
		shutdown(pair[1], SHUT_WR);
		frames_step(&f);
	}
	judge(&f, closes, size);
	frames_free(&f);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
