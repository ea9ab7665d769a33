// SPDX-License-Identifier: Apache-2.0
/*
 * Answers of a name server: first byte which question, then flags, record count and what comes
 * after the question. Whatever is given out lies within the packet.
 */
#include "fuzz.h"

#include "host/peer/dns.h"

struct bounds {
	const uint8_t *from, *to;
	enum dns_type type;
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void on_record(const uint8_t *data, size_t len, void *arg)
{
	const struct bounds *b = arg;
	struct dns_caa caa;

	require(data >= b->from && len <= (size_t)(b->to - data));
	if (b->type != DNS_CAA || dns_caa(data, len, &caa) < 0)
		return;
	require(caa.tag_len > 0 && caa.value_len >= 0);
	require((const uint8_t *)caa.value + caa.value_len == data + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_CAA };
	_cleanup_free_ uint8_t *packet = NULL;
	struct dns_question q;
	struct bounds b;
	size_t len;
	int r;

	if (size < 5)
		return 0;
	require(dns_ask(0x1234, "kms.example.org", types[data[0] % ARRAY_SIZE(types)], &q) == 0);
	len = q.len + size - 5;
	packet = xmalloc(len);
	memcpy(packet, q.packet, q.len);
	memcpy(packet + q.len, data + 5, size - 5);
	packet[2] = data[1];
	packet[3] = data[2];
	packet[6] = data[3];
	packet[7] = data[4];
	b = (struct bounds){ packet, packet + len, q.type };
	r = dns_answer(&q, packet, len, on_record, &b);
	require(r == -EBADMSG || (r >= 0 && r < 16));
	/* And as it came, with nothing that matches by itself. */
	b = (struct bounds){ data, data + size, q.type };
	require(dns_answer(&q, data, size, on_record, &b) < 0 || size >= q.len);
	return 0;
}
