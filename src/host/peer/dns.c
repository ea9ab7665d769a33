// SPDX-License-Identifier: Apache-2.0
/* Everything read here comes from a stranger: each length is compared with what is left. */
#include "host/peer/dns.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { HEADER = 12, LABEL_MAX = 63, NAME_MAX_BYTES = 255, CLASS_IN = 1 };
enum { FLAG_ANSWER = 0x80, FLAG_RECURSION = 0x01, OPCODE = 0x78, RCODE = 0x0f };

static unsigned word(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static void put_word(struct dns_question *q, unsigned v)
{
	q->packet[q->len++] = (uint8_t)(v >> 8);
	q->packet[q->len++] = (uint8_t)v;
}

int dns_ask(uint16_t id, const char *name, enum dns_type type, struct dns_question *ret)
{
	*ret = (struct dns_question){ .type = type };
	put_word(ret, id);
	ret->packet[ret->len++] = FLAG_RECURSION;
	ret->packet[ret->len++] = 0;
	put_word(ret, 1);
	ret->len = HEADER;
	if (!*name || strlen(name) > NAME_MAX_BYTES - 2)
		return -EINVAL;
	for (const char *p = name; *p; p += *p == '.') {
		size_t n = strcspn(p, ".");

		if (n == 0 || n > LABEL_MAX)
			return -EINVAL;
		ret->packet[ret->len++] = (uint8_t)n;
		memcpy(ret->packet + ret->len, p, n);
		ret->len += n;
		p += n;
	}
	ret->packet[ret->len++] = 0;
	put_word(ret, type);
	put_word(ret, CLASS_IN);
	return 0;
}

struct reader {
	const uint8_t *at, *end;
};

static size_t left(const struct reader *r)
{
	return (size_t)(r->end - r->at);
}

/* Only its end is looked for: a pointer ends it too. */
static int skip_name(struct reader *r)
{
	while (left(r)) {
		unsigned n = *r->at++;

		if (n == 0)
			return 0;
		if ((n & 0xc0) == 0xc0) {
			if (!left(r))
				return -EBADMSG;
			r->at++;
			return 0;
		}
		if (n > LABEL_MAX || n > left(r))
			return -EBADMSG;
		r->at += n;
	}
	return -EBADMSG;
}

/* The name comes back as it was sent, but for the case of its letters; the rest exactly. */
static int is_answer_to(const struct dns_question *q, const uint8_t *p, size_t len)
{
	size_t name = q->len - HEADER - 4;

	return len >= q->len && memcmp(p, q->packet, 2) == 0 && (p[2] & FLAG_ANSWER) &&
	       !(p[2] & OPCODE) && word(p + 4) == 1 &&
	       strncasecmp((const char *)p + HEADER, (const char *)q->packet + HEADER, name) == 0 &&
	       memcmp(p + HEADER + name, q->packet + HEADER + name, 4) == 0;
}

int dns_answer(const struct dns_question *q, const void *packet, size_t len,
	       void (*f)(const uint8_t *data, size_t len, void *arg), void *arg)
{
	const uint8_t *p = packet;
	struct reader r;
	unsigned records;

	if (len < HEADER || !is_answer_to(q, p, len))
		return -EBADMSG;
	r = (struct reader){ p + q->len, p + len };
	records = word(p + 6);
	while (records--) {
		unsigned type, class, n;

		if (skip_name(&r) < 0 || left(&r) < 10)
			return -EBADMSG;
		type = word(r.at);
		class = word(r.at + 2);
		n = word(r.at + 8);
		r.at += 10;
		if (n > left(&r))
			return -EBADMSG;
		if (type == (unsigned)q->type && class == CLASS_IN)
			f(r.at, n, arg);
		r.at += n;
	}
	return p[3] & RCODE;
}

int dns_caa(const uint8_t *data, size_t len, struct dns_caa *ret)
{
	size_t tag = len >= 2 ? data[1] : 0;

	if (!tag || tag > len - 2)
		return -EBADMSG;
	*ret = (struct dns_caa){
		.tag = (const char *)data + 2,
		.tag_len = (int)tag,
		.value = (const char *)data + 2 + tag,
		.value_len = (int)(len - 2 - tag),
	};
	return 0;
}
