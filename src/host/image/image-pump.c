// SPDX-License-Identifier: Apache-2.0
/* Root in the middle: looks into nothing, counts everything, never waits for one side alone. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "host/disk.h"
#include "host/image/image-pull-in.h"

enum {
	CHUNK = 64 << 10,
	MARK_BYTES = 32 << 20, MARK_BYTES_MIN = 256 << 10, MARK_MS = 250,
	SILENT_MS = 60000, /* and what curl may wait: its half should have said so itself */
	AT_A_TIME = 64, /* messages from one side before the other is looked at */
};

enum pull_outcome pull_fail(struct pull *p, enum pull_outcome outcome, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	free(p->trouble);
	p->trouble = xvasprintf(fmt, ap);
	va_end(ap);
	return outcome;
}

static enum pull_outcome cannot_write(struct pull *p, int r)
{
	/* The half has sent what no image has, though it was to look. */
	if (r == -EBADMSG || r == -EEXIST)
		return pull_fail(p, PULL_CONTENT, "what unpacks it was led astray");
	if (r == -ENOSPC || r == -EDQUOT)
		return pull_fail(p, PULL_HOST, "there is no room for it in %s (make some; what "
				 "has come is kept, and the same command goes on)", p->q->images);
	return pull_fail(p, PULL_HOST, "cannot write to %s: %s", p->q->images, strerror(-r));
}

/* --- to the unpacking half --- */

static int mark_is_due(const struct pull *p)
{
	uint64_t n = p->at - p->marked_at;

	return !p->marking && !p->stage.saving && !p->came_whole &&
	       (n >= MARK_BYTES || (n >= MARK_BYTES_MIN && clock_ms() >= p->marked_ms + MARK_MS));
}

static void fill_slot(struct pull *p)
{
	if (p->slot.type)
		return;
	if (mark_is_due(p)) {
		p->marking = 1;
		p->cut.at = p->marked_at = p->at;
		p->cut.hash = p->hash;
		p->marked_ms = clock_ms();
		p->slot = (struct pull_slot){ .type = MESSAGE_MARK };
	} else if (p->came_whole && !p->end_sent) {
		p->end_sent = 1;
		p->slot = (struct pull_slot){ .type = MESSAGE_END };
	}
}

/* What does not go now goes later. Its end is seen where its last words are read. */
static void send_slot(struct pull *p)
{
	struct iovec parts[] = { { &p->slot.type, sizeof(p->slot.type) },
				 { (void *)(uintptr_t)p->slot.data, p->slot.len } };
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts) };
	ssize_t n;

	while (p->slot.type) {
		parts[0].iov_base = &p->slot.type;
		parts[1] = (struct iovec){ (void *)(uintptr_t)p->slot.data, p->slot.len };
		n = sendmsg(p->unpack.sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return;
		p->slot.type = 0;
		fill_slot(p);
	}
}

/* --- from the unpacking half --- */

static enum pull_outcome begin_file(struct pull *p)
{
	uint64_t size;
	int r;

	if (p->out->len < sizeof(size))
		return cannot_write(p, -EBADMSG);
	memcpy(&size, p->out->data, sizeof(size));
	if (size > pull_most_unpacked(p->q->artifact))
		return cannot_write(p, -EBADMSG);
	r = stage_begin(&p->stage, (const char *)p->out->data + sizeof(size), size);
	return r < 0 ? cannot_write(p, r) : PULL_DONE;
}

static enum pull_outcome save_state(struct pull *p)
{
	int r;

	if (!p->marking)
		return cannot_write(p, -EBADMSG);
	p->marking = 0;
	stage_cut_free(&p->cut);
	memcpy(p->cut.identity, p->identity, sizeof(p->cut.identity));
	p->cut.unpack = xmalloc(p->out->len + 1);
	p->cut.unpack_len = p->out->len;
	memcpy(p->cut.unpack, p->out->data, p->out->len);
	r = stage_save(&p->stage, &p->cut);
	return r < 0 ? cannot_write(p, r) : PULL_DONE;
}

static enum pull_outcome take_unpacked(struct pull *p)
{
	int r = 0;

	switch (p->out->type) {
	case MESSAGE_READY:
		return PULL_DONE;
	case MESSAGE_FILE:
		return begin_file(p);
	case MESSAGE_DATA:
		r = stage_write(&p->stage, p->out->data, p->out->len);
		return r < 0 ? cannot_write(p, r) : PULL_DONE;
	case MESSAGE_STATE:
		return save_state(p);
	case MESSAGE_END:
		p->unpacked = p->end_sent;
		return PULL_DONE;
	case MESSAGE_FAIL:
		return pull_fail(p, PULL_CONTENT, "%.400s", p->out->len ? (char *)p->out->data + 1 : "");
	default:
		return cannot_write(p, -EBADMSG);
	}
}

static enum pull_outcome read_unpacked(struct pull *p)
{
	enum pull_outcome o = PULL_DONE;

	for (int i = 0; o == PULL_DONE && !p->unpacked && i < AT_A_TIME; i++) {
		int r = message_receive(p->unpack.sock, p->out, MSG_DONTWAIT);

		if (r == -EAGAIN)
			break;
		p->heard_ms = clock_ms();
		o = r == 1 ? take_unpacked(p) :
			     pull_fail(p, PULL_CONTENT, "what unpacks it has ended early");
	}
	return o;
}

/* --- from the source --- */

static enum pull_outcome take_bytes(struct pull *p, size_t len)
{
	const struct artifact *a = p->q->artifact;

	if (p->at + len > (a->size ? a->size : pull_most(a)))
		return pull_fail(p, PULL_CONTENT, "it is longer than it should be");
	hash_add(&p->hash, p->in->data, len);
	p->at += len;
	p->slot = (struct pull_slot){ MESSAGE_DATA, p->in->data, len };
	return PULL_DONE;
}

static enum pull_outcome take_failure(struct pull *p)
{
	const char *text = p->in->len ? (const char *)p->in->data + 1 : "";

	switch (p->in->len ? p->in->data[0] : 0) {
	case FAIL_RANGE:
		p->whole = 1;
		return pull_fail(p, PULL_AGAIN, "%.400s", text);
	case FAIL_AGAIN:
		return pull_fail(p, PULL_AGAIN, "%.400s", text);
	case FAIL_CONTENT:
		return pull_fail(p, PULL_CONTENT, "%.400s", text);
	case FAIL_INTERNAL:
		return pull_fail(p, PULL_HOST, "%.400s", text);
	default:
		return pull_fail(p, PULL_URL, "%.400s", text);
	}
}

static enum pull_outcome read_net(struct pull *p)
{
	int r = message_receive(p->net.sock, p->in, MSG_DONTWAIT);

	if (r == -EAGAIN)
		return PULL_DONE;
	p->heard_ms = clock_ms();
	if (r != 1)
		return pull_fail(p, PULL_AGAIN, "what fetches it has ended early");
	if (p->in->type == MESSAGE_DATA)
		return take_bytes(p, p->in->len);
	if (p->in->type == MESSAGE_FAIL)
		return take_failure(p);
	if (p->in->type == MESSAGE_START && p->in->len == sizeof(p->progress.total))
		memcpy(&p->progress.total, p->in->data, sizeof(p->progress.total));
	p->came_whole = p->in->type == MESSAGE_END;
	if (p->came_whole)
		half_end(&p->net);
	return PULL_DONE;
}

static enum pull_outcome read_file(struct pull *p)
{
	ssize_t n = read(p->file, p->in->data, CHUNK);

	if (n < 0)
		return errno == EINTR ? PULL_DONE :
			pull_fail(p, PULL_URL, "it cannot be read: %s", strerror(errno));
	p->came_whole = n == 0;
	return n ? take_bytes(p, (size_t)n) : PULL_DONE;
}

static enum pull_outcome read_source(struct pull *p, const struct pollfd *net)
{
	if (p->slot.type || p->came_whole)
		return PULL_DONE;
	if (p->file >= 0)
		return read_file(p);
	return net->revents ? read_net(p) : PULL_DONE;
}

/* --- all of them --- */

static enum pull_outcome take_saved(struct pull *p)
{
	int r = stage_saved(&p->stage);

	p->lost = r == -EIO;
	if (p->lost)
		return pull_fail(p, PULL_HOST, "the disk of %s has lost what was written (see "
				 "journalctl -k); all of it is dropped", p->q->images);
	return r < 0 ? cannot_write(p, r) : PULL_DONE;
}

/* A half may have been talked into never saying a word again. */
static enum pull_outcome judge_silence(struct pull *p)
{
	uint64_t most = SILENT_MS + (uint64_t)p->q->stall_s * 1000;

	if (clock_ms() < p->heard_ms + most || (!p->slot.type && !p->net.pid && !p->end_sent))
		return PULL_DONE;
	if (p->slot.type || p->end_sent)
		return pull_fail(p, PULL_CONTENT, "what unpacks it does not go on");
	return pull_fail(p, PULL_AGAIN, "what fetches it does not go on");
}

static int wait_of(const struct pull *p, uint64_t until)
{
	int most = pull_progress_interval(&p->progress), left = until ? clock_left(until) : most;

	/* A file is always readable. */
	if (p->file >= 0 && !p->slot.type && !p->came_whole)
		return 0;
	return left < most ? left : most;
}

enum pull_outcome pull_pump(struct pull *p, uint64_t until)
{
	enum pull_outcome o = PULL_DONE;

	p->heard_ms = clock_ms();
	while (o == PULL_DONE && !p->unpacked && (!until || clock_left(until))) {
		struct pollfd fds[] = {
			{ .fd = p->unpack.sock, .events = POLLIN },
			{ .fd = p->slot.type || !p->net.pid ? -1 : p->net.sock, .events = POLLIN },
			{ .fd = p->stage.saving ? p->stage.saving_fd : -1, .events = POLLIN },
		};

		if (p->slot.type)
			fds[0].events |= POLLOUT;
		if (poll(fds, ARRAY_SIZE(fds), wait_of(p, until)) < 0 && errno != EINTR)
			return pull_fail(p, PULL_HOST, "poll: %s", strerror(errno));
		if (fds[0].revents)
			o = read_unpacked(p);
		if (o == PULL_DONE && fds[2].revents)
			o = take_saved(p);
		if (o == PULL_DONE)
			o = read_source(p, &fds[1]);
		if (o == PULL_DONE) {
			fill_slot(p);
			send_slot(p);
			o = judge_silence(p);
		}
		pull_progress_at(&p->progress, p->at);
	}
	return o;
}
