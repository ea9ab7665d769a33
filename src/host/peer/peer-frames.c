// SPDX-License-Identifier: Apache-2.0
/*
 * The two protocols that are not HTTP: QGS (Intel's message, 4 bytes of length in front) and
 * the local key provider (length and JSON). Both are asked something that needs no secret.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "host/peer/peer-half.h"

/* qgs_msg_header_t of Intel's qgs_msg_lib.h; little-endian. */
struct qgs_header {
	uint16_t major, minor;
	uint32_t type, size, error;
};

struct qgs_platform_info {
	struct qgs_header header;
	uint16_t tdqe_isvsvn, pce_isvsvn;
	uint32_t platform_id_size, cpusvn_size;
};

enum { QGS_GET_PLATFORM_INFO_REQ = 4, QGS_GET_PLATFORM_INFO_RESP = 5, ID_MAX = 64 };

/* No quote: the provider must read it and refuse. */
static const char no_quote[] = "{\"quote\":[]}";

static void finish(struct frames *f, enum peer_error error, const char *fmt, ...)
	_printf_(3, 4);

static void finish(struct frames *f, enum peer_error error, const char *fmt, ...)
{
	va_list ap;

	f->done = 1;
	f->error = error;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

static void put_frame(struct frames *f, const void *data, size_t len)
{
	uint32_t be = htobe32((uint32_t)len);

	sb_addn(&f->out, &be, sizeof(be));
	sb_addn(&f->out, data, len);
}

void frames_start(struct frames *f, const struct peer_request *request, int fd)
{
	struct qgs_header ask = {
		.major = htole16(1),
		.minor = htole16(1),
		.type = htole32(QGS_GET_PLATFORM_INFO_REQ),
		.size = htole32(sizeof(ask)),
	};

	*f = (struct frames){ .kind = request->kind, .fd = fd, .max_body = request->max_body };
	if (request->kind == PEER_QGS)
		put_frame(f, &ask, sizeof(ask));
	else
		put_frame(f, no_quote, sizeof(no_quote) - 1);
}

short frames_events(const struct frames *f)
{
	return f->sent < f->out.len ? POLLIN | POLLOUT : POLLIN;
}

static void judge_qgs(struct frames *f)
{
	struct qgs_platform_info a = { 0 };
	size_t len = f->in.len - 4;
	uint32_t code;

	if (len < sizeof(a.header)) {
		finish(f, PEER_PROTOCOL, "an answer of %zu bytes, not QGS", len);
		return;
	}
	memcpy(&a, f->in.data + 4, len < sizeof(a) ? len : sizeof(a));
	code = le32toh(a.header.error);
	if (le16toh(a.header.major) != 1 || le32toh(a.header.size) != len ||
	    le32toh(a.header.type) != QGS_GET_PLATFORM_INFO_RESP)
		finish(f, PEER_PROTOCOL, "an answer that is not QGS's");
	else if (code)
		/* The cause is in its journal, it tells callers no more than this. */
		finish(f, PEER_PROTOCOL, "QGS error 0x%x", code);
	else if (len < sizeof(a) || le32toh(a.platform_id_size) > ID_MAX ||
		 le32toh(a.cpusvn_size) > ID_MAX ||
		 len != sizeof(a) + le32toh(a.platform_id_size) + le32toh(a.cpusvn_size))
		finish(f, PEER_PROTOCOL, "platform information of a wrong size");
	else
		finish(f, PEER_OK, "%s", "");
}

/* Has the other side's kernel taken all we sent, and did it not reset the connection? A
 * forwarder with nothing behind it (docker-proxy) closes without reading, and that resets. */
static int was_read(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)
		return 0;
	len = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return 1;
	return info.tcpi_unacked == 0;
}

static void judge_close(struct frames *f)
{
	if (f->kind == PEER_KEY_PROVIDER && f->in.len == 0 && f->sent == f->out.len &&
	    was_read(f->fd))
		finish(f, PEER_OK, "%s", "");
	else
		finish(f, PEER_PROTOCOL, "%s",
		       f->in.len ? "closed in the middle of its answer" : "closed without an answer");
}

static void judge_input(struct frames *f)
{
	uint32_t be;

	if (f->in.len < sizeof(be))
		return;
	memcpy(&be, f->in.data, sizeof(be));
	if (be32toh(be) > f->max_body)
		finish(f, PEER_PROTOCOL, "not its protocol: begins with %02x %02x %02x %02x",
		       (unsigned char)f->in.data[0], (unsigned char)f->in.data[1],
		       (unsigned char)f->in.data[2], (unsigned char)f->in.data[3]);
	else if (f->in.len > sizeof(be) + be32toh(be))
		finish(f, PEER_PROTOCOL, "more than one answer");
	else if (f->in.len < sizeof(be) + be32toh(be))
		return;
	else if (f->kind == PEER_QGS)
		judge_qgs(f);
	else
		finish(f, PEER_OK, "%s", "");
}

static void give(struct frames *f)
{
	ssize_t n = send(f->fd, f->out.data + f->sent, f->out.len - f->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		f->sent += (size_t)n;
	else if (errno != EAGAIN && errno != EINTR)
		finish(f, PEER_PROTOCOL, "closed without an answer: %s", strerror(errno));
}

static void take(struct frames *f)
{
	char chunk[4096];
	ssize_t n = recv(f->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n > 0) {
		sb_addn(&f->in, chunk, (size_t)n);
		judge_input(f);
	} else if (n == 0) {
		judge_close(f);
	} else if (errno != EAGAIN && errno != EINTR) {
		finish(f, PEER_PROTOCOL, "closed without an answer: %s", strerror(errno));
	}
}

void frames_step(struct frames *f)
{
	if (!f->done && f->sent < f->out.len)
		give(f);
	if (!f->done)
		take(f);
}

struct peer_reply frames_reply(const struct frames *f)
{
	if (f->in.len <= 4)
		return (struct peer_reply){ .body = "" };
	return (struct peer_reply){ .body = f->in.data + 4, .len = f->in.len - 4 };
}

static void add_hex(struct peer_emit *emit, const char *key, const char *data, size_t n)
{
	_cleanup_strbuf_ struct strbuf hex = { 0 };

	for (size_t i = 0; i < n; i++)
		sb_addf(&hex, "%02x", (unsigned char)data[i]);
	peer_fact(emit, key, hex.data ? hex.data : "");
}

void frames_digest(const struct frames *f, struct peer_emit *emit)
{
	struct qgs_platform_info a = { 0 };
	const char *ids;

	if (f->kind == PEER_KEY_PROVIDER)
		peer_fact(emit, "answer", f->in.len ? "frame" : "closed");
	if (f->kind != PEER_QGS || f->error != PEER_OK)
		return;
	memcpy(&a, f->in.data + 4, sizeof(a));
	ids = f->in.data + 4 + sizeof(a);
	peer_factf(emit, "tdqe_isvsvn", "%u", le16toh(a.tdqe_isvsvn));
	peer_factf(emit, "pce_isvsvn", "%u", le16toh(a.pce_isvsvn));
	add_hex(emit, "platform_id", ids, le32toh(a.platform_id_size));
	add_hex(emit, "cpusvn", ids + le32toh(a.platform_id_size), le32toh(a.cpusvn_size));
}

void frames_free(struct frames *f)
{
	sb_free(&f->out);
	sb_free(&f->in);
}
