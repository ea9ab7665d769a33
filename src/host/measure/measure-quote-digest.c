// SPDX-License-Identifier: Apache-2.0
/* In the half: a quote and an event log, which a guest has written. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/bytes.h"
#include "host/peer/foreign.h"
#include "host/json.h"
#include "host/measure/measure-verify.h"

/* Intel TDX DCAP quoting library API, section A.3. */
enum {
	HEADER = 48,
	TEE_TDX = 0x81,
	V5_PREFIX = 6, /* type and size of the body */
	AT_MRTD = 136,
	AT_RTMR0 = 328,
	BODY = 584,
	QUOTE_MAX = 64 << 10,
};

static int nibble(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, tolower(c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* The bytes of hex digits, the caller's; NULL when it is none. */
static unsigned char *from_hex(const char *hex, size_t *len)
{
	unsigned char *bytes;

	if (strncmp(hex, "0x", 2) == 0)
		hex += 2;
	*len = strlen(hex) / 2;
	bytes = xmalloc(*len + 1);
	for (size_t i = 0; i < *len; i++) {
		int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);

		if (high < 0 || low < 0 || strlen(hex) % 2) {
			free(bytes);
			return NULL;
		}
		bytes[i] = (unsigned char)(high << 4 | low);
	}
	bytes[*len] = '\0';
	return bytes;
}

static void tell_register(struct peer_emit *emit, size_t i, const unsigned char *at)
{
	char hex[SHA384_HEX + 1];

	for (size_t j = 0; j < SHA384_LEN; j++)
		snprintf(hex + 2 * j, 3, "%02x", at[j]);
	peer_fact(emit, measure_registers[i], hex);
}

static const char *tell_quote(const char *text, struct peer_emit *emit)
{
	size_t len = 0, body;
	_cleanup_free_ unsigned char *q =
		text && strlen(text) <= 2 * QUOTE_MAX ? from_hex(text, &len) : NULL;

	if (!q)
		return "no quote in it";
	if (len < HEADER + BODY || get_le32(q + 4) != TEE_TDX)
		return "its quote is not one of a TD";
	if (get_le16(q) != 4 && get_le16(q) != 5)
		return "its quote has a version that is not known";
	body = HEADER + (get_le16(q) == 5 ? V5_PREFIX : 0);
	if (len < body + BODY)
		return "its quote is cut";
	tell_register(emit, MEASURE_MRTD, q + body + AT_MRTD);
	for (size_t i = 0; i < 3; i++)
		tell_register(emit, MEASURE_RTMR0 + i, q + body + AT_RTMR0 + i * SHA384_LEN);
	return NULL;
}

/* A list, its text, or that in hex; the caller's. */
static json_t *log_of(json_t *value)
{
	const char *text = json_string_value(value);
	_cleanup_free_ unsigned char *bytes = NULL;
	size_t len = text ? strlen(text) : 0;

	if (!text)
		return json_is_array(value) ? json_incref(value) : NULL;
	if (*text == '[')
		return json_read(text, len, 0);
	bytes = from_hex(text, &len);
	return bytes ? json_read((const char *)bytes, len, 0) : NULL;
}

static const char *tell_log(json_t *list, struct peer_emit *emit)
{
	size_t n[MEASURE_REGISTERS] = { 0 }, i;
	json_t *item;

	if (!json_is_array(list))
		return "its event log is no list";
	json_array_foreach(list, i, item) {
		json_int_t imr = json_integer_value(json_object_get(item, "imr"));
		const char *digest = json_string_value(json_object_get(item, "digest"));
		const char *name = json_string_value(json_object_get(item, "event"));
		size_t len = 0;
		_cleanup_free_ unsigned char *bytes = digest ? from_hex(digest, &len) : NULL;

		if (!json_is_integer(json_object_get(item, "imr")) || imr < 0 || imr > 3)
			return "its event log has an event of no register";
		/* RTMR3 is the guest's own. */
		if (imr == 3)
			continue;
		if (!bytes || len != SHA384_LEN)
			return "its event log has an event without a digest";
		if (++n[imr] > QUOTE_EVENTS_MAX)
			return "its event log is longer than any";
		peer_factf(emit, "event", "%d %.96s %.80s", (int)imr,
			   digest + (strncmp(digest, "0x", 2) == 0 ? 2 : 0), name ? name : "");
	}
	peer_fact(emit, "log", "");
	return NULL;
}

void measure_digest_quote(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_read(reply->body, reply->len, 0), *list = NULL;
	json_t *log = json_object_get(doc, "eventlog");
	const char *bad = tell_quote(json_string_value(json_object_get(doc, "quote")), emit);

	if (!log)
		log = json_object_get(doc, "event_log");
	if (!bad && log) {
		list = log_of(log);
		bad = tell_log(list, emit);
	}
	if (bad)
		peer_fact(emit, "bad", bad);
	json_decref(list);
	json_decref(doc);
}

/* --- here --- */

static int take_event(const char *text, struct measure_quote *ret)
{
	size_t reg = (size_t)(*text - '0') + MEASURE_RTMR0, n;

	if (*text < '0' || *text > '2' || text[1] != ' ' || strlen(text) < 3 + SHA384_HEX ||
	    text[2 + SHA384_HEX] != ' ')
		return -EBADMSG;
	n = ret->log[reg].n;
	if (n == QUOTE_EVENTS_MAX)
		return -EBADMSG;
	ret->log[reg].digests[n] = xstrndup(text + 2, SHA384_HEX);
	for (char *p = ret->log[reg].digests[n]; *p; p++)
		*p = (char)tolower(*p);
	ret->log[reg].names[n] = xstrdup(text + 3 + SHA384_HEX);
	ret->log[reg].n++;
	return 0;
}

int measure_quote_take(const struct peer_answer *a, struct measure_quote *ret)
{
	int r = 0;

	for (size_t i = 0; i < MEASURE_REGISTERS; i++) {
		const char *digest = peer_get(a, measure_registers[i]);

		ret->registers[i] = digest ? xstrdup(digest) : NULL;
		if (!digest)
			r = -EBADMSG;
	}
	for (size_t i = 0; r == 0 && i < a->n_facts; i++)
		if (strcmp(a->facts[i].key, "event") == 0)
			r = take_event(a->facts[i].value, ret);
	ret->has_log = peer_get(a, "log") != NULL;
	return r;
}

int measure_quote_load(const struct root *root, const char *path, struct measure_quote *ret,
		       char **trouble)
{
	struct foreign_file file = { .path = xstrdup(path), .digest = measure_digest_quote };
	int r = foreign_read(root, &file, 1);
	const char *bad;

	*ret = (struct measure_quote){ 0 };
	if (r == 0)
		r = file.error;
	if (r == 0)
		r = measure_quote_take(&file.answer, ret);
	bad = r == -EBADMSG ? peer_get(&file.answer, "bad") : NULL;
	if (r < 0) {
		*trouble = xasprintf("%s: %s", path, bad ? bad : strerror(-r));
		measure_quote_free(ret);
	}
	foreign_free(&file, 1);
	return r < 0 ? -EBADMSG : 0;
}

void measure_quote_free(struct measure_quote *quote)
{
	for (size_t r = 0; r < MEASURE_REGISTERS; r++) {
		free(quote->registers[r]);
		for (size_t i = 0; i < quote->log[r].n; i++) {
			free(quote->log[r].digests[i]);
			free(quote->log[r].names[i]);
		}
	}
	*quote = (struct measure_quote){ 0 };
}
