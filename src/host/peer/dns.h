// SPDX-License-Identifier: Apache-2.0
/* DNS messages (RFC 1035, CAA: RFC 8659): a question is made, the answer to it is read. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

enum dns_type { DNS_A = 1, DNS_AAAA = 28, DNS_CAA = 257 };
enum { DNS_PORT = 53, DNS_QUESTION_MAX = 12 + 255 + 4, DNS_ANSWER_MAX = 4096 };
enum { DNS_NO_ERROR = 0, DNS_NO_NAME = 3 };

struct dns_question {
	uint8_t packet[DNS_QUESTION_MAX];
	size_t len;
	enum dns_type type;
};

/* 0, or -EINVAL: no name. */
int dns_ask(uint16_t id, const char *name, enum dns_type type, struct dns_question *ret)
	_must_check_;
/* Reads the answer to q and calls f with the data of each record of the type asked for. The
 * response code, or -EBADMSG: it answers something else, or breaks off. */
int dns_answer(const struct dns_question *q, const void *packet, size_t len,
	       void (*f)(const uint8_t *data, size_t len, void *arg), void *arg) _must_check_;

/* A CAA record's parts, pointing into it. */
struct dns_caa {
	const char *tag, *value;
	int tag_len, value_len;
};

int dns_caa(const uint8_t *data, size_t len, struct dns_caa *ret) _must_check_;
