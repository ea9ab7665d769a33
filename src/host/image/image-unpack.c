// SPDX-License-Identifier: Apache-2.0
/* Inflates by ISA-L, whose state is plain memory too. */
#include "host/image/image-unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/lib/lib-isal.h"

enum { OUT = 64 << 10, STATE_FORMAT = 1 };

/* All that it takes to go on. Whoever changes what is in it changes STATE_FORMAT. */
struct unpack_state {
	uint32_t format, size;
	uint64_t taken; /* bytes of the archive */
	struct tar_reader tar;
	struct inflate_state gz;
};

_Static_assert(sizeof(struct unpack_state) <= MESSAGE_MAX, "a state is one message");

struct unpacker {
	struct unpack_state *s;
	int sock;
	unsigned char out[OUT];
};

int unpack_load(void)
{
	return libisal_load();
}

static int on_file(void *arg, const char *name, uint64_t size)
{
	const struct unpacker *u = arg;

	return message_send(u->sock, MESSAGE_FILE, &size, sizeof(size), name, strlen(name));
}

static int on_data(void *arg, const void *data, size_t len)
{
	const struct unpacker *u = arg;

	return message_send(u->sock, MESSAGE_DATA, NULL, 0, data, len);
}

static int untar(struct unpacker *u, size_t len)
{
	const struct tar_sink sink = { on_file, on_data, u };
	int r = tar_feed(&u->s->tar, &sink, u->out, len);

	if (r == -EBADMSG)
		message_fail(u->sock, FAIL_CONTENT, "%s", u->s->tar.error);
	return r;
}

static int inflate_some(struct unpacker *u)
{
	struct inflate_state *gz = &u->s->gz;
	int r;

	/* Files may follow each other: what gzip compresses twice it unpacks as one. */
	if (gz->block_state == ISAL_BLOCK_FINISH && gz->avail_in) {
		uint8_t *in = gz->next_in;
		uint32_t n = gz->avail_in;

		sym_isal_inflate_reset(gz);
		gz->crc_flag = ISAL_GZIP;
		gz->next_in = in;
		gz->avail_in = n;
	}
	gz->next_out = u->out;
	gz->avail_out = OUT;
	r = sym_isal_inflate(gz);
	if (r < 0) {
		message_fail(u->sock, FAIL_CONTENT,
			     u->s->tar.entries ? "its compressed data is damaged" :
						 "it is no gzip archive");
		return -EBADMSG;
	}
	return untar(u, OUT - gz->avail_out);
}

static int take(struct unpacker *u, unsigned char *data, uint32_t len)
{
	struct inflate_state *gz = &u->s->gz;
	int r = 0;

	u->s->taken += len;
	gz->next_in = data;
	gz->avail_in = len;
	/* A full buffer: there may be more, also when all input is taken. */
	do
		r = inflate_some(u);
	while (r == 0 && (gz->avail_in || gz->avail_out == 0));
	return r;
}

static int send_state(const struct unpacker *u)
{
	/* They point to nothing any more. */
	u->s->gz.next_in = u->s->gz.next_out = NULL;
	return message_send(u->sock, MESSAGE_STATE, NULL, 0, u->s, sizeof(*u->s));
}

static void finish(struct unpacker *u)
{
	if (u->s->gz.block_state != ISAL_BLOCK_FINISH)
		message_fail(u->sock, FAIL_CONTENT, "its compressed data ends too early");
	else if (tar_end(&u->s->tar) < 0)
		message_fail(u->sock, FAIL_CONTENT, "%s", u->s->tar.error);
	else
		(void)!message_send(u->sock, MESSAGE_END, NULL, 0, NULL, 0);
}

static int begin(struct unpacker *u, const struct unpack_plan *plan)
{
	const struct unpack_state *old = plan->state;

	u->s = xcalloc(1, sizeof(*u->s));
	if (old && (plan->state_len != sizeof(*old) || old->format != STATE_FORMAT ||
		    old->size != sizeof(*old)))
		return -EBADMSG;
	if (old) {
		memcpy(u->s, old, sizeof(*old));
		return 0;
	}
	u->s->format = STATE_FORMAT;
	u->s->size = sizeof(*u->s);
	tar_init(&u->s->tar, plan->top, plan->limit);
	sym_isal_inflate_init(&u->s->gz);
	u->s->gz.crc_flag = ISAL_GZIP;
	return 0;
}

void unpack_run(void *arg, int fd _unused_, int sock)
{
	struct unpacker *u = xcalloc(1, sizeof(*u));
	struct message *m = xmalloc(sizeof(*m));

	u->sock = sock;
	if (begin(u, arg) < 0) {
		message_fail(sock, FAIL_CONTENT, "another version of this program began it");
		return;
	}
	while (message_receive(sock, m, 0) == 1) {
		int r = 0;

		if (m->type == MESSAGE_END) {
			finish(u);
			return;
		}
		if (m->type == MESSAGE_DATA)
			r = take(u, m->data, m->len);
		else if (m->type == MESSAGE_MARK)
			r = send_state(u);
		if (r < 0)
			return;
	}
}
