// SPDX-License-Identifier: Apache-2.0
/*
 * Checks of the Ethereum endpoints. Only their hosts are shown, the rest of a URL may be a key.
 * The endpoint of a deployed KMS is measured: it is waited for, never replaced.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/probe/chain.h"
#include "host/check/check.h"
#include "host/check/checks-chain.h"

#define OWN_FIX "sudo dstack-host config set ETH_RPC_URLS=…"
#define CHAIN_PROBES                                                                     \
	(PROBE(PROBE_CHAIN) | PROBE(PROBE_CHAIN_1) | PROBE(PROBE_CHAIN_2) | PROBE(PROBE_CHAIN_3))

enum { OLD_S = 5 * 60, STALE_S = 30 * 60, AHEAD_S = 60, SLOW_MS = 1000 };

struct endpoint {
	char *url; /* NULL: there is none */
	char *shown;
	int frozen;
	const struct probe_result *result;
};

static void endpoint_of(const struct check_view *v, unsigned slot, struct endpoint *ret)
{
	*ret = (struct endpoint){ .result = &v->parts.probe[PROBE_CHAIN + slot] };
	ret->url = chain_endpoint(v->parts.root, v->parts.settings, slot, &ret->frozen);
	ret->shown = ret->url ? chain_shown(ret->url) : NULL;
}

static void endpoint_free(struct endpoint *e)
{
	free(e->url);
	free(e->shown);
}

#define _cleanup_endpoint_ _cleanup_(endpoint_free)

/* The number that it answered; 0 when it did not. */
static int number(const struct endpoint *e, const char *key, uint64_t *ret)
{
	const char *text = peer_get(&e->result->answer, key);

	return text && !parse_uint(text, 0, UINT64_MAX, ret);
}

/* Seconds since its newest block. 0: it tells none. */
static int age_of(const struct endpoint *e, const struct check_view *v, int64_t *ret)
{
	uint64_t time;

	if (!number(e, "time", &time))
		return 0;
	*ret = (int64_t)(v->parts.now_us / 1000000 - e->result->age_s - time);
	return 1;
}

/* An endpoint's own words may quote the URL, and with it a key. */
static char *without_url(char *text, const struct endpoint *e)
{
	static const char between[] = "/?&=@:";
	struct url u;
	const char *at = e->url;

	if (!text || parse_url(e->url, &u))
		return text;
	for (size_t len; *at; at += len, at += strspn(at, between)) {
		_cleanup_free_ char *word = NULL;

		len = strcspn(at, between);
		word = xstrndup(at, len);
		if (len < 8 || strcmp(word, u.host) == 0 || !strstr(text, word))
			continue;
		free(text);
		return xstrdup("its answer quotes the URL, which is not to be shown");
	}
	return text;
}

/* --- does the first one answer? --- */

static const struct outcome endpoint_outcomes[] = {
	{ "answers", CHECK_OK },
	{ "limited", CHECK_FAIL,
	  "%s says that it is asked too often (HTTP 429): while it does, GetMeta of the KMS hangs",
	  OWN_FIX },
	{ "refused", CHECK_FAIL, "the Ethereum endpoint refuses to answer: %s", OWN_FIX },
	{ "silent", CHECK_FAIL, "the Ethereum endpoint does not answer: %s", OWN_FIX },
	{ 0 },
};

static const char *judge_endpoint(const struct endpoint *e, char **trouble)
{
	*trouble = NULL;
	if (probe_answered(e->result, 200, trouble))
		return "answers";
	*trouble = without_url(*trouble, e);
	if (peer_get(&e->result->answer, "limited"))
		return "limited";
	return e->result->error || e->result->answer.error ? "silent" : "refused";
}

/* Where another endpoint would be another KMS. */
static void fix_of(const struct endpoint *e, struct verdict *r)
{
	if (e->frozen)
		verdict_fix(r, "wait, or ask whoever runs %s: this endpoint is measured into the "
			       "deployed KMS and stays (dstack-host kms status)", e->shown);
}

const char *chain_first(const struct check_view *v)
{
	_cleanup_endpoint_ struct endpoint e = { 0 };
	_cleanup_free_ char *trouble = NULL;

	endpoint_of(v, 0, &e);
	return e.url && e.result->asked ? judge_endpoint(&e, &trouble) : NULL;
}

static const char *eval_endpoint(const struct check_view *v, struct verdict *r)
{
	_cleanup_endpoint_ struct endpoint e = { 0 };
	_cleanup_free_ char *trouble = NULL;
	const char *outcome;

	endpoint_of(v, 0, &e);
	if (!e.url) {
		verdict_subject(r, "ETH_RPC_URLS");
		return SKIP_UNSET;
	}
	outcome = judge_endpoint(&e, &trouble);
	if (!trouble) {
		/* What is deployed only root can tell. */
		verdict_found(r, !v->privileged ? "%s answers" :
				 e.frozen	? "%s answers; it is measured into the KMS" :
						  "%s answers; it is measured into the next KMS",
			      e.shown);
		return outcome;
	}
	verdict_found(r, "%s: %.200s", e.shown, trouble);
	verdict_subject(r, strcmp(outcome, "limited") == 0 ? "%s" : "%s (%.200s)", e.shown,
			trouble);
	fix_of(&e, r);
	return outcome;
}

/* --- the others --- */

static const struct outcome spares_outcomes[] = {
	{ "answer", CHECK_OK },
	{ "none", CHECK_OK },
	{ "troubled", CHECK_WARN, "an Ethereum endpoint that no KMS uses yet is of no use: %s",
	  OWN_FIX },
	{ 0 },
};

static const char *eval_spares(const struct check_view *v, struct verdict *r)
{
	unsigned n = 0;

	for (unsigned slot = 1; slot < CHAIN_ENDPOINTS; slot++) {
		_cleanup_endpoint_ struct endpoint e = { 0 };
		_cleanup_free_ char *trouble = NULL;
		int64_t age;

		endpoint_of(v, slot, &e);
		if (!e.url)
			break;
		n++;
		judge_endpoint(&e, &trouble);
		if (!trouble && age_of(&e, v, &age) && age > STALE_S)
			trouble = xasprintf("its newest block is %" PRId64 " s old", age);
		if (!trouble)
			continue;
		verdict_found(r, "%s: %.200s", e.shown, trouble);
		verdict_subject(r, "%s (%.200s)", e.shown, trouble);
		return "troubled";
	}
	verdict_found(r, n ? "%u more answer" : "there is no other", n);
	return n ? "answer" : "none";
}

/* --- what they answer --- */

static const struct outcome id_outcomes[] = {
	{ "right", CHECK_OK },
	{ "wrong", CHECK_FAIL, "an Ethereum endpoint is of another chain: %s",
	  "sudoedit /etc/dstack/host.conf" },
	{ 0 },
};

static const char *eval_id(const struct check_view *v, struct verdict *r)
{
	const char *wanted = setting(v->parts.settings, KEY_CHAIN_ID);
	unsigned right = 0;

	for (unsigned slot = 0; slot < CHAIN_ENDPOINTS; slot++) {
		_cleanup_endpoint_ struct endpoint e = { 0 };
		const char *said;

		endpoint_of(v, slot, &e);
		said = e.url ? peer_get(&e.result->answer, "chain") : NULL;
		if (!said)
			continue;
		if (strcmp(said, wanted) == 0) {
			right++;
			continue;
		}
		verdict_found(r, "%s is of chain %.20s", e.shown, said);
		verdict_expected(r, "chain %s (CHAIN_ID)", wanted);
		verdict_subject(r, "%s is of %.20s, CHAIN_ID is %s", e.shown, said, wanted);
		return "wrong";
	}
	if (!right) {
		verdict_subject(r, "no endpoint tells its chain");
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "chain %s", wanted);
	return "right";
}

static const struct outcome head_outcomes[] = {
	{ "fresh", CHECK_OK },
	{ "old", CHECK_WARN, "the endpoint lags behind its chain: %s", OWN_FIX },
	{ "stale", CHECK_FAIL,
	  "the endpoint's newest block is older than half an hour: %s; what the KMS is told of "
	  "permissions is as old", OWN_FIX },
	{ "ahead", CHECK_WARN, "this host's clock is behind the chain's: %s", "timedatectl status" },
	{ 0 },
};

static const char *eval_head(const struct check_view *v, struct verdict *r)
{
	_cleanup_endpoint_ struct endpoint e = { 0 };
	int64_t age;

	endpoint_of(v, 0, &e);
	if (!e.url || !age_of(&e, v, &age)) {
		verdict_subject(r, "the endpoint tells no time of its newest block");
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "the newest block of %s is %" PRId64 " s old", e.shown, age);
	verdict_subject(r, "%s, %" PRId64 " s", e.shown, age < 0 ? -age : age);
	if (age < -AHEAD_S)
		return "ahead";
	fix_of(&e, r);
	return age > STALE_S ? "stale" : age > OLD_S ? "old" : "fresh";
}

static const struct outcome latency_outcomes[] = {
	{ "quick", CHECK_OK },
	{ "slow", CHECK_WARN, "GetMeta of the KMS takes as long as its Ethereum endpoint: %s",
	  OWN_FIX },
	{ 0 },
};

static const char *eval_latency(const struct check_view *v, struct verdict *r)
{
	_cleanup_endpoint_ struct endpoint e = { 0 };
	unsigned ms = v->parts.probe[PROBE_CHAIN].answer.ms;

	endpoint_of(v, 0, &e);
	r->ms = ms;
	verdict_found(r, "%s in %u ms", e.shown, ms);
	verdict_expected(r, "less than %u ms", (unsigned)SLOW_MS);
	verdict_subject(r, "%s, %u ms", e.shown, ms);
	fix_of(&e, r);
	return ms < SLOW_MS ? "quick" : "slow";
}

static const struct outcome code_outcomes[] = {
	{ "deployed", CHECK_OK },
	{ "empty", CHECK_FAIL, "there is no contract at %s",
	  "sudoedit /etc/dstack/host.conf" },
	{ 0 },
};

static const char *judge_code(const struct check_view *v, struct verdict *r, const char *fact,
			      enum key_id id)
{
	_cleanup_endpoint_ struct endpoint e = { 0 };
	const char *at = setting(v->parts.settings, id);
	uint64_t bytes;

	endpoint_of(v, 0, &e);
	if (!*at) {
		verdict_subject(r, "%s", keys[id].name);
		return SKIP_UNSET;
	}
	if (!number(&e, fact, &bytes)) {
		verdict_subject(r, "%s tells no code", e.shown);
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "%" PRIu64 " bytes of code at %s", bytes, at);
	verdict_subject(r, "%s (%s)", at, keys[id].name);
	return bytes ? "deployed" : "empty";
}

static const char *eval_contract(const struct check_view *v, struct verdict *r)
{
	return judge_code(v, r, "code.contract", KEY_KMS_CONTRACT);
}

static const char *eval_implementation(const struct check_view *v, struct verdict *r)
{
	return judge_code(v, r, "code.implementation", KEY_APP_AUTH_IMPLEMENTATION);
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "chain.endpoint", .title = "the KMS's Ethereum endpoint answers",
	  .needs = "settings", .probes = PROBE(PROBE_CHAIN), .outcomes = endpoint_outcomes,
	  .eval = eval_endpoint },
	{ .id = "chain.spares", .title = "the other Ethereum endpoints answer",
	  .needs = "settings", .probes = CHAIN_PROBES, .outcomes = spares_outcomes,
	  .eval = eval_spares },
	{ .id = "chain.id", .title = "the endpoints are of the chain that is set",
	  .needs = "chain.endpoint", .probes = CHAIN_PROBES, .outcomes = id_outcomes,
	  .eval = eval_id },
	{ .id = "chain.head", .title = "the endpoint is up to date with its chain",
	  .needs = "chain.endpoint", .probes = PROBE(PROBE_CHAIN), .outcomes = head_outcomes,
	  .eval = eval_head },
	{ .id = "chain.latency", .title = "the endpoint answers quickly",
	  .needs = "chain.endpoint", .probes = PROBE(PROBE_CHAIN), .outcomes = latency_outcomes,
	  .eval = eval_latency },
	{ .id = "chain.contract", .title = "the KMS contract is on the chain",
	  .needs = "chain.id", .probes = PROBE(PROBE_CHAIN), .outcomes = code_outcomes,
	  .eval = eval_contract },
	{ .id = "chain.implementation", .title = "the app auth implementation is on the chain",
	  .needs = "chain.id", .probes = PROBE(PROBE_CHAIN), .outcomes = code_outcomes,
	  .eval = eval_implementation },
};
/* clang-format on */

const struct check_group group_chain = { "chain", checks, ARRAY_SIZE(checks) };
