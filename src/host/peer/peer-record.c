// SPDX-License-Identifier: Apache-2.0
/* Encoder and strict decoder of the records between the halves. */
#include "host/peer/peer-record.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"

/* Type, a zero byte, index, length of the rest; one machine, so its own byte order. */
struct header {
	uint8_t type;
	uint8_t zero;
	uint16_t index;
	uint32_t len;
};

struct done {
	int32_t error;
	int32_t status;
	uint32_t ms;
};

enum { RECORD_MAX = 1 + PEER_KEY_MAX + PEER_VALUE_MAX };

static void add_header(struct strbuf *out, enum record_type type, unsigned index, size_t len)
{
	struct header h = { .type = (uint8_t)type, .index = (uint16_t)index,
			    .len = (uint32_t)len };

	sb_addn(out, &h, sizeof(h));
}

/* Appends at most `max` bytes of clean text. */
static void add_clean(struct strbuf *out, const char *s, size_t max)
{
	size_t n = strlen(s), used = 0;

	while (n) {
		size_t step = utf8_printable(s, n);
		const char *put = step ? s : strchr("\t\n\r", *s) ? " " : "?";
		size_t len = step ? step : 1;

		if (used + len > max)
			break;
		sb_addn(out, put, len);
		used += len;
		s += len;
		n -= len;
	}
}

static int is_clean(const char *s, size_t n)
{
	while (n) {
		size_t step = utf8_printable(s, n);

		if (!step)
			return 0;
		s += step;
		n -= step;
	}
	return 1;
}

void record_add_ready(struct strbuf *out, int error)
{
	int32_t e = error;

	add_header(out, RECORD_READY, 0, sizeof(e));
	sb_addn(out, &e, sizeof(e));
}

void record_add_fact(struct strbuf *out, unsigned index, const char *key, const char *value)
{
	_cleanup_strbuf_ struct strbuf k = { 0 }, v = { 0 };

	add_clean(&k, key, PEER_KEY_MAX);
	add_clean(&v, value, PEER_VALUE_MAX);
	if (!k.len)
		return;
	add_header(out, RECORD_FACT, index, 1 + k.len + v.len);
	sb_addc(out, (char)k.len);
	sb_addn(out, k.data, k.len);
	sb_addn(out, v.data, v.len);
}

void record_add_done(struct strbuf *out, const struct peer_record *done)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	struct done d = { done->error, (int32_t)done->status, done->ms };

	add_clean(&text, done->text ? done->text : "", PEER_TEXT_MAX);
	add_header(out, RECORD_DONE, done->index, sizeof(d) + text.len);
	sb_addn(out, &d, sizeof(d));
	sb_addn(out, text.data, text.len);
}

static int decode_fact(const char *p, size_t len, struct peer_record *ret)
{
	size_t key_len = len ? (unsigned char)p[0] : 0;

	if (key_len == 0 || key_len > PEER_KEY_MAX || key_len + 1 > len)
		return -EBADMSG;
	ret->key = p + 1;
	ret->key_len = key_len;
	ret->value = p + 1 + key_len;
	ret->value_len = len - 1 - key_len;
	if (ret->value_len > PEER_VALUE_MAX || !is_clean(ret->key, key_len) ||
	    !is_clean(ret->value, ret->value_len))
		return -EBADMSG;
	return 0;
}

static int decode_done(const char *p, size_t len, struct peer_record *ret)
{
	struct done d;

	if (len < sizeof(d) || len > sizeof(d) + PEER_TEXT_MAX)
		return -EBADMSG;
	memcpy(&d, p, sizeof(d));
	ret->error = d.error;
	ret->status = d.status;
	ret->ms = d.ms;
	ret->text = p + sizeof(d);
	ret->text_len = len - sizeof(d);
	if (d.status < 0 || d.status > 999 || !is_clean(ret->text, ret->text_len))
		return -EBADMSG;
	return 0;
}

static int decode_ready(const char *p, size_t len, struct peer_record *ret)
{
	int32_t error;

	if (len != sizeof(error))
		return -EBADMSG;
	memcpy(&error, p, sizeof(error));
	ret->error = error;
	return error < 0 || error > 4095 ? -EBADMSG : 0;
}

ssize_t record_decode(const char *data, size_t len, struct peer_record *ret)
{
	struct header h;
	int r;

	if (len < sizeof(h))
		return 0;
	memcpy(&h, data, sizeof(h));
	if (h.zero || h.len > RECORD_MAX)
		return -EBADMSG;
	if (len - sizeof(h) < h.len)
		return 0;
	*ret = (struct peer_record){ .type = (enum record_type)h.type, .index = h.index };
	if (h.type == RECORD_READY)
		r = h.index ? -EBADMSG : decode_ready(data + sizeof(h), h.len, ret);
	else if (h.type == RECORD_FACT)
		r = decode_fact(data + sizeof(h), h.len, ret);
	else if (h.type == RECORD_DONE)
		r = decode_done(data + sizeof(h), h.len, ret);
	else
		r = -EBADMSG;
	return r < 0 ? r : (ssize_t)(sizeof(h) + h.len);
}
