// SPDX-License-Identifier: Apache-2.0
/* Checks of the Ethereum endpoints, what they are asked, and what of their answers is taken. */
#include "check-cases.h"
#include "test-facts.h"

#include "host/probe/chain.h"

#define KEYED "https://rpc.example.org/v2/0123456789abcdef"

static void set_urls(struct host *h, const struct fixture *f, const char *urls)
{
	_cleanup_free_ char *conf = xasprintf("%sETH_RPC_URLS=%s\n", FULL_CONF, urls);
	char *line = strstr(conf, "ETH_RPC_URLS=http://127");

	/* The first of two lines would be a duplicate. */
	memset(line, '#', 1);
	put_text(f, "/etc/dstack/host.conf", conf);
	settings_free(&h->settings);
	assert_int_equal(settings_load(&h->root, &h->settings), 0);
	assert_int_equal(h->settings.diag.n, 0);
}

static void limit(struct host *h, struct check_view *v _unused_, const struct fixture *f _unused_)
{
	answer(h, PROBE_CHAIN, 429);
	fact(h, PROBE_CHAIN, "limited", "yes");
}

static void refuse_chain(struct host *h, struct check_view *v _unused_,
			 const struct fixture *f _unused_)
{
	answer(h, PROBE_CHAIN, 403);
	fact(h, PROBE_CHAIN, "bad", "no such key");
}

static void silence(struct host *h, struct check_view *v _unused_,
		    const struct fixture *f _unused_)
{
	answer(h, PROBE_CHAIN, 0);
	h->view.probe[PROBE_CHAIN].answer.error = PEER_TIMEOUT;
}

static void more_answer(struct host *h, struct check_view *v _unused_, const struct fixture *f)
{
	set_urls(h, f, "http://127.0.0.1:8545 " KEYED);
}

static void more_do_not(struct host *h, struct check_view *v, const struct fixture *f)
{
	more_answer(h, v, f);
	answer(h, PROBE_CHAIN_1, 500);
}

static void more_lag(struct host *h, struct check_view *v, const struct fixture *f)
{
	more_answer(h, v, f);
	fact(h, PROBE_CHAIN_1, "time", "990000");
}

static void other_chain(struct host *h, struct check_view *v _unused_,
			const struct fixture *f _unused_)
{
	chain_says(h, "1", "999990", "100", "200");
}

static void old(struct host *h, struct check_view *v _unused_, const struct fixture *f _unused_)
{
	chain_says(h, "11155111", "999600", "100", "200");
}

/* Asked 10 minutes ago, and fresh then. */
static void kept(struct host *h, struct check_view *v _unused_, const struct fixture *f _unused_)
{
	chain_says(h, "11155111", "999390", "100", "200");
	h->view.probe[PROBE_CHAIN].age_s = 600;
}

static void stale(struct host *h, struct check_view *v _unused_, const struct fixture *f _unused_)
{
	chain_says(h, "11155111", "990000", "100", "200");
}

static void ahead(struct host *h, struct check_view *v _unused_, const struct fixture *f _unused_)
{
	chain_says(h, "11155111", "1000100", "100", "200");
}

static void slow(struct host *h, struct check_view *v _unused_, const struct fixture *f _unused_)
{
	h->view.probe[PROBE_CHAIN].answer.ms = 1500;
}

static void empty(struct host *h, struct check_view *v _unused_, const struct fixture *f _unused_)
{
	chain_says(h, "11155111", "999990", "0", "0");
}

static void untold(struct host *h, struct check_view *v _unused_,
		   const struct fixture *f _unused_)
{
	answer(h, PROBE_CHAIN, 200);
}

static void no_urls(struct host *h, struct check_view *v _unused_, const struct fixture *f)
{
	put_text(f, "/etc/dstack/host.conf", "DOMAIN=example.org\n");
	settings_free(&h->settings);
	assert_int_equal(settings_load(&h->root, &h->settings), 0);
}

static const struct check_case cases[] = {
	{ "chain.endpoint", "answers" },
	{ "chain.endpoint", "limited", limit },
	{ "chain.endpoint", "refused", refuse_chain },
	{ "chain.endpoint", "silent", silence },
	{ "chain.endpoint", "unset", no_urls },
	{ "chain.spares", "none" },
	{ "chain.spares", "answer", more_answer },
	{ "chain.spares", "troubled", more_do_not },
	{ "chain.spares", "troubled", more_lag },
	{ "chain.id", "right" },
	{ "chain.id", "wrong", other_chain },
	{ "chain.id", "unknown", untold },
	{ "chain.id", "needs", limit },
	{ "chain.head", "fresh" },
	{ "chain.head", "fresh", kept },
	{ "chain.head", "old", old },
	{ "chain.head", "stale", stale },
	{ "chain.head", "ahead", ahead },
	{ "chain.head", "unknown", untold },
	{ "chain.latency", "quick" },
	{ "chain.latency", "slow", slow },
	{ "chain.contract", "deployed" },
	{ "chain.contract", "empty", empty },
	{ "chain.contract", "unknown", untold },
	{ "chain.contract", "needs", other_chain },
	{ "chain.implementation", "deployed" },
	{ "chain.implementation", "empty", empty },
};

/* --- no key is shown --- */

static void quote_the_key(struct host *h, struct check_view *v _unused_, const struct fixture *f)
{
	set_urls(h, f, KEYED);
	answer(h, PROBE_CHAIN, 403);
	fact(h, PROBE_CHAIN, "bad", "key 0123456789abcdef is not known");
}

static void no_word_of_a_verdict_has_the_key(void **state)
{
	static const struct check_case c = { "chain.endpoint", "refused", quote_the_key };
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));
	const struct verdict *r = &verdicts[check_find(c.id)];

	judge_all(&c, *state, verdicts);
	assert_string_equal(r->outcome->name, c.outcome);
	assert_null(strstr(r->found, "0123456789abcdef"));
	assert_null(strstr(r->cause, "0123456789abcdef"));
	assert_non_null(strstr(r->found, "rpc.example.org"));
	verdicts_free(verdicts, checks_count());
}

/* --- which endpoints --- */

static void assert_endpoint(struct host *h, unsigned slot, const char *url, int is_frozen)
{
	int frozen;
	_cleanup_free_ char *got = chain_endpoint(&h->root, &h->settings, slot, &frozen);

	if (!url) {
		assert_null(got);
		return;
	}
	assert_string_equal(got, url);
	assert_int_equal(frozen, is_frozen);
}

static void a_deployed_kms_keeps_its_endpoint(void **state)
{
	const struct fixture *f = *state;
	_cleanup_host_ struct host h;

	host_make(&h, f, FULL_CONF);
	set_urls(&h, f, "http://a.example:1 http://b.example:2");
	assert_endpoint(&h, 0, "http://a.example:1", 0);
	assert_endpoint(&h, 1, "http://b.example:2", 0);
	assert_endpoint(&h, 2, NULL, 0);
	put_kms(&h, f);
	set_urls(&h, f, "http://b.example:2 http://a.example:1 http://c.example:3");
	assert_endpoint(&h, 0, "http://a.example:1", 1);
	assert_endpoint(&h, 1, "http://b.example:2", 0);
	assert_endpoint(&h, 2, "http://c.example:3", 0);
	assert_endpoint(&h, 3, NULL, 0);
}

static void shows_a_host_and_nothing_else(void **state _unused_)
{
	static const struct {
		const char *url, *shown;
	} urls[] = {
		{ KEYED, "rpc.example.org" },
		{ "http://u:p@rpc.example.org:8545/k?key=k", "rpc.example.org:8545" },
		{ "https://rpc.example.org:443", "rpc.example.org" },
		{ "nonsense", "an endpoint that is no URL" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		_cleanup_free_ char *shown = chain_shown(urls[i].url);

		assert_string_equal(shown, urls[i].shown);
	}
}

/* --- the digest --- */

static void chain_facts(const char *body, long status, struct peer_answer *ret)
{
	struct peer_reply reply = { status, body, strlen(body) };
	struct peer_emit emit = { 0 };

	*ret = (struct peer_answer){ .status = status };
	chain_digest(&reply, &emit);
	facts_take(&emit, ret);
}

#define R(id, result) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}"

static const struct {
	const char *body;
	long status;
	const char *key, *value; /* NULL: no such fact */
} answers[] = {
	{ "[" R("1", "\"0xaa36a7\"") "]", 200, "chain", "11155111" },
	/* In any order. */
	{ "[" R("4", "\"0x60806040\"") "," R("1", "\"0x1\"") "]", 200, "code.implementation", "4" },
	{ "[" R("2", "{\"timestamp\":\"0x68f5e2a0\"}") "]", 200, "time", "1760944800" },
	{ "[" R("3", "\"0x\"") "]", 200, "code.contract", "0" },
	{ "[" R("1", "\"0xffffffffffffffff\"") "]", 200, "chain", "18446744073709551615" },
	{ "[" R("1", "\"0x10000000000000000\"") "]", 200, "chain", NULL },
	{ "[" R("1", "\"0x\"") "]", 200, "chain", NULL },
	{ "[" R("1", "\"0xg1\"") "]", 200, "chain", NULL },
	{ "[" R("1", "7") "]", 200, "chain", NULL },
	{ "[" R("2", "null") "]", 200, "time", NULL },
	{ "[1, null, \"x\", []]", 200, "chain", NULL },
	{ "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":429,\"message\":\"no\"}}", 429,
	  "limited", "yes" },
	{ "[{\"id\":1,\"error\":{\"code\":-32005,\"message\":\"daily request count exceeded\"}}]",
	  200, "limited", "yes" },
	{ "{\"error\":{\"code\":-32000,\"message\":\"Rate limit reached\"}}", 200, "limited",
	  "yes" },
	{ "{\"error\":{\"code\":-32000,\"message\":\"batches are off\"}}", 200, "bad",
	  "batches are off" },
	{ "{\"error\":7}", 200, "bad", "an error without a message" },
	{ "<html>", 429, "limited", "yes" },
	{ "<html>", 200, "bad", "the answer is no JSON-RPC" },
	{ "\"0xaa36a7\"", 200, "bad", "the answer is no JSON-RPC" },
	{ "", 200, "bad", "the answer is no JSON-RPC" },
};

static void takes_facts_and_nothing_else(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct peer_answer a;
		const char *got;

		chain_facts(answers[i].body, answers[i].status, &a);
		got = peer_get(&a, answers[i].key);
		if (answers[i].value ? !got || strcmp(got, answers[i].value) != 0 : got != NULL)
			fail_msg("%s: %s is %s", answers[i].body, answers[i].key, got);
		peer_answers_free(&a, 1);
	}
}

static void asks_for_what_is_set(void **state)
{
	const struct fixture *f = *state;
	_cleanup_host_ struct host h;
	_cleanup_free_ char *body = NULL, *less = NULL;

	host_make(&h, f, FULL_CONF);
	body = chain_body(&h.settings);
	assert_non_null(strstr(body, "eth_getCode\",\"params\":[\"" CONTRACT "\""));
	assert_non_null(strstr(body, "eth_getCode\",\"params\":[\"" APP_AUTH "\""));
	settings_free(&h.settings);
	put_text(f, "/etc/dstack/host.conf", "KMS_CONTRACT=\"],[evil\n");
	assert_int_equal(settings_load(&h.root, &h.settings), 0);
	less = chain_body(&h.settings);
	assert_null(strstr(less, "eth_getCode"));
	assert_null(strstr(less, "evil"));
}

#undef CHECK_CASES_MORE
#define CHECK_CASES_MORE                                                                 \
	with_root(no_word_of_a_verdict_has_the_key),                                     \
		with_root(a_deployed_kms_keeps_its_endpoint),                            \
		cmocka_unit_test(shows_a_host_and_nothing_else),                         \
		cmocka_unit_test(takes_facts_and_nothing_else), with_root(asks_for_what_is_set),

CHECK_CASES_MAIN(group_chain, cases)
