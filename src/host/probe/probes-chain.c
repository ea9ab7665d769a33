// SPDX-License-Identifier: Apache-2.0
/* The question to each Ethereum endpoint, and, in the network half, what it answers. */
#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "host/probe/chain.h"
#include "host/json.h"
#include "host/probe/probes-ask.h"

/* The hashes of a full block's transactions, and two contracts' code of the largest size. */
enum { BODY_MAX = 512 << 10 };

int ask_chain(const struct probe_context *c, struct prepared *p)
{
	int frozen;

	p->url = chain_endpoint(c->root, c->s, (unsigned)(p->id - PROBE_CHAIN), &frozen);
	if (!p->url)
		return PROBE_NOBODY;
	p->body = chain_body(c->s);
	p->request.content_type = "application/json";
	p->request.max_body = BODY_MAX;
	p->request.digest = chain_digest;
	/* The URL may hold a key. */
	p->request.tls = PEER_TLS_SYSTEM;
	return 0;
}

/* "0x1b4"; 0: it is none that fits. */
static int read_quantity(const json_t *value, unsigned long long *ret)
{
	const char *s = json_string_value(value);
	size_t n = s ? strlen(s) : 0;

	*ret = 0;
	if (n < 3 || n > 18 || s[0] != '0' || s[1] != 'x')
		return 0;
	for (s += 2; *s; s++) {
		const char *digits = "0123456789abcdef", *at = strchr(digits, *s | 0x20);

		if (!at)
			return 0;
		*ret = *ret << 4 | (unsigned)(at - digits);
	}
	return 1;
}

static void fact_quantity(struct peer_emit *emit, const char *key, const json_t *value)
{
	unsigned long long n;

	if (read_quantity(value, &n))
		peer_factf(emit, key, "%llu", n);
}

static void fact_code(struct peer_emit *emit, const char *key, const json_t *value)
{
	const char *s = json_string_value(value);

	if (s && s[0] == '0' && s[1] == 'x')
		peer_factf(emit, key, "%zu", json_string_length(value) / 2 - 1);
}

/* Each provider has its own way to say it. */
static int is_limit(const json_t *error)
{
	json_int_t code = json_integer_value(json_object_get(error, "code"));
	const char *text = json_string_value(json_object_get(error, "message"));

	return code == 429 || code == -32005 || code == -32097 ||
	       (text && (strcasestr(text, "rate limit") || strcasestr(text, "too many requests")));
}

static void take_error(const json_t *error, struct peer_emit *emit)
{
	const char *text = json_string_value(json_object_get(error, "message"));

	if (is_limit(error))
		peer_fact(emit, "limited", "yes");
	peer_fact(emit, "bad", text ? text : "an error without a message");
}

static void take_result(json_int_t id, json_t *result, struct peer_emit *emit)
{
	if (id == 1)
		fact_quantity(emit, "chain", result);
	else if (id == 2)
		fact_quantity(emit, "time", json_object_get(result, "timestamp"));
	else if (id == 3)
		fact_code(emit, "code.contract", result);
	else if (id == 4)
		fact_code(emit, "code.implementation", result);
}

/* The answers of a batch come in any order. */
static void take_batch(json_t *doc, struct peer_emit *emit)
{
	json_t *item;
	size_t i;

	json_array_foreach(doc, i, item) {
		json_t *error = json_object_get(item, "error");

		if (error) {
			take_error(error, emit);
			return;
		}
		take_result(json_integer_value(json_object_get(item, "id")),
			    json_object_get(item, "result"), emit);
	}
}

void chain_digest(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, JSON_REJECT_DUPLICATES);

	if (reply->status == 429)
		peer_fact(emit, "limited", "yes");
	if (json_is_array(doc))
		take_batch(doc, emit);
	else if (json_object_get(doc, "error"))
		take_error(json_object_get(doc, "error"), emit);
	else if (reply->status == 200)
		peer_fact(emit, "bad", "the answer is no JSON-RPC");
	json_decref(doc);
}
