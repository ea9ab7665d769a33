// SPDX-License-Identifier: Apache-2.0
/*
 * What root reads from the network half: any bytes, in pieces of any size. A record that is
 * taken is one that our own encoder would have written, byte for byte.
 */
#include "fuzz.h"

#include "host/peer/peer.c"
#include "host/vmm/vmm.h"

enum { REQUESTS = 3 };

static void encode(const struct peer_record *rec, struct strbuf *out)
{
	_cleanup_free_ char *key = NULL, *value = NULL, *text = NULL;
	struct peer_record done = *rec;

	if (rec->type == RECORD_READY) {
		record_add_ready(out, rec->error);
	} else if (rec->type == RECORD_FACT) {
		key = xstrndup(rec->key, rec->key_len);
		value = xstrndup(rec->value, rec->value_len);
		record_add_fact(out, rec->index, key, value);
	} else {
		text = xstrndup(rec->text ? rec->text : "", rec->text_len);
		done.text = text;
		record_add_done(out, &done);
	}
}

static void only_canonical_records(const char *data, size_t size)
{
	size_t at = 0;

	for (;;) {
		_cleanup_strbuf_ struct strbuf again = { 0 };
		struct peer_record rec;
		ssize_t n = record_decode(data + at, size - at, &rec);

		if (n <= 0)
			return;
		require((size_t)n <= size - at);
		encode(&rec, &again);
		require(again.len == (size_t)n && memcmp(again.data, data + at, again.len) == 0);
		at += (size_t)n;
	}
}

static void answers_are_whole(struct intake *in)
{
	for (size_t i = 0; i < in->n; i++) {
		struct peer_answer *a = &in->answers[i];
		struct vmm_vm *vms;
		size_t n;

		require(a->error >= PEER_OK && a->error <= PEER_INTERNAL);
		require((a->error == PEER_OK) == !a->text);
		for (size_t j = 0; j < a->n_facts; j++)
			require(*a->facts[j].key);
		if (vmm_list(a, &vms, &n) == 0)
			vmm_list_free(vms, n);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer_answer answers[REQUESTS] = { 0 };
	char done[REQUESTS] = { 0 };
	struct intake in = { .answers = answers, .done = done, .n = REQUESTS };
	size_t step = size ? data[0] + 1u : 1;
	int r = 0;

	if (!size)
		return 0;
	data++;
	size--;
	only_canonical_records((const char *)data, size);
	for (size_t at = 0; r == 0 && at < size && in.n_done < in.n; at += step) {
		sb_addn(&in.in, data + at, size - at < step ? size - at : step);
		r = digest_input(&in);
	}
	in.error = r;
	complain_unfinished(&in);
	answers_are_whole(&in);
	peer_answers_free(answers, REQUESTS);
	sb_free(&in.in);
	return 0;
}
