// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a quote with its event log: what is told is digests and clean names. */
#include "fuzz.h"

#include "host/measure/measure-verify.h"
#include "host/peer/peer-half.h"
#include "host/peer/peer-record.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	require(sha384_load() == 0);
	return 0;
}

/* The facts as the other half reads them. */
static void take_facts(const struct strbuf *out, struct peer_answer *a)
{
	struct peer_record rec;

	for (size_t at = 0; at < out->len;) {
		ssize_t n = record_decode(out->data + at, out->len - at, &rec);

		require(n > 0);
		at += (size_t)n;
		a->facts = xrealloc(a->facts, (a->n_facts + 1) * sizeof(*a->facts));
		a->facts[a->n_facts].key = xstrndup(rec.key, rec.key_len);
		a->facts[a->n_facts++].value = xstrndup(rec.value, rec.value_len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	struct peer_reply reply = { .body = text, .len = size };
	struct peer_emit emit = { 0 };
	struct peer_answer a = { 0 };
	struct measure_quote quote = { 0 };
	struct measure_result result = { 0 };
	struct measure_verdict verdict;

	measure_digest_quote(&reply, &emit);
	take_facts(&emit.out, &a);
	if (!peer_get(&a, "bad")) {
		require(measure_quote_take(&a, &quote) == 0);
		for (size_t r = 0; r < MEASURE_REGISTERS; r++)
			result.registers[r] = xstrdup(quote.registers[r]);
		for (size_t e = 0; e < MEASURE_EVENTS; e++)
			result.events[e] = xstrdup(quote.registers[MEASURE_MRTD]);
		measure_verify(&result, &quote, &verdict);
		require(verdict.all_equal);
	}
	measure_result_free(&result);
	measure_quote_free(&quote);
	peer_answers_free(&a, 1);
	sb_free(&emit.out);
	return 0;
}
