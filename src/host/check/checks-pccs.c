// SPDX-License-Identifier: Apache-2.0
/* Checks of the local PCCS: its certificate, its way to Intel, its keys. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/peer/cert-facts.h"
#include "host/check/checks-attestation.h"
#include "host/conf/secrets.h"

#define RESTART "sudo systemctl restart pccs.service"
#define SET_KEY "sudo dstack-host secret set pccs-api-key && " APPLY

/* --- TLS --- */

const struct outcome pccs_tls_outcomes[] = {
	{ "good", CHECK_OK },
	{ "expiring", CHECK_WARN, "the certificate of PCCS ends in %s days and was not renewed",
	  RESTART },
	{ "expired", CHECK_FAIL, "the certificate of PCCS has expired", RESTART },
	{ "not-yet", CHECK_FAIL, "the certificate of PCCS begins in the future: this host's "
	  "clock is behind", "timedatectl" },
	{ "other-ca", CHECK_FAIL, "the certificate of PCCS is signed by %s, not by this host",
	  RESTART },
	{ "wrong-name", CHECK_FAIL, "the certificate of PCCS is not for the name in PCCS_URL (%s)",
	  RESTART },
	{ 0 },
};

const char *eval_pccs_tls(const struct check_view *v, struct verdict *r)
{
	const struct peer_answer *a = &v->parts.probe[PROBE_PCCS_INTEL].answer;
	_cleanup_free_ char *names = cert_names(a);
	struct cert_facts cert;
	long left;

	cert_facts_of(a, &cert);
	if (!cert.seen) {
		verdict_subject(r, "its certificate was not seen");
		return SKIP_UNKNOWN;
	}
	left = cert_days_left(&cert, v->parts.now_us);
	verdict_found(r, "%s, %ld days left", names, left);
	if (left < 0)
		return "expired";
	if (cert.from > (int64_t)(v->parts.now_us / 1000000))
		return "not-yet";
	if (!cert_is_ok(cert.ca) && !cert_is_ok(cert.system)) {
		verdict_subject(r, "%s", cert.issuer);
		return "other-ca";
	}
	if (!cert.host) {
		verdict_subject(r, "%s", names);
		return "wrong-name";
	}
	verdict_subject(r, "%ld", left);
	return left < CERT_SOON_DAYS ? "expiring" : "good";
}

/* --- the way to Intel --- */

const struct outcome pccs_intel_outcomes[] = {
	{ "reached", CHECK_OK },
	{ "slow", CHECK_FAIL, "PCCS did not get through to Intel in time: %s",
	  "look at the way out: firewall, DNS, and PROXY in sudo dstack-host config list" },
	{ "unreachable", CHECK_FAIL, "PCCS could not fetch from Intel (HTTP %s)",
	  "look at the way out: firewall, DNS, and PROXY in sudo dstack-host config list" },
	{ "not-cached", CHECK_FAIL, "PCCS may not fetch from Intel and its cache is empty",
	  "sudo dstack-host config set PCCS_FILL_MODE=LAZY && " APPLY },
	{ "other-service", CHECK_FAIL, "what answers at PCCS_URL is no PCCS of this interface "
	  "version (%s)", "sudo dstack-host config get PCCS_URL" },
	{ "garbage", CHECK_FAIL, "the revocation list that PCCS hands out is none, a proxy's "
	  "page for example", "sudo journalctl -b -e -u pccs.service" },
	{ 0 },
};

static int is_offline(const struct check_view *v)
{
	return strcmp(setting(v->parts.settings, KEY_PCCS_FILL_MODE), "OFFLINE") == 0;
}

const char *eval_pccs_intel(const struct check_view *v, struct verdict *r)
{
	const struct peer_answer *a = &v->parts.probe[PROBE_PCCS_INTEL].answer;
	const char *skip, *crl = peer_get(a, "crl");

	if (a->error == PEER_TIMEOUT) {
		verdict_subject(r, "%s", a->text ? a->text : "no answer");
		return "slow";
	}
	skip = check_no_answer(v, PROBE_PCCS_INTEL, r);
	if (skip)
		return skip;
	verdict_found(r, "rootcacrl: HTTP %ld", a->status);
	verdict_subject(r, "%ld", a->status);
	if (a->status == 200)
		return crl && strcmp(crl, "der") == 0 ? "reached" : "garbage";
	if (a->status >= 500)
		return "unreachable";
	/* Its own "no cache data" is text, a path that it does not have a page: both are 404. */
	if (a->status == 404 && is_offline(v))
		return "not-cached";
	verdict_subject(r, "HTTP %ld for rootcacrl", a->status);
	return "other-service";
}

/* --- fill mode --- */

const struct outcome pccs_fill_outcomes[] = {
	{ "fetches", CHECK_OK },
	{ "offline", CHECK_WARN, "PCCS fetches nothing by itself (PCCS_FILL_MODE=OFFLINE): what "
	  "expires is not renewed", "sudo dstack-host config set PCCS_FILL_MODE=LAZY && " APPLY },
	{ 0 },
};

const char *eval_pccs_fill(const struct check_view *v, struct verdict *r)
{
	verdict_found(r, "%s", setting(v->parts.settings, KEY_PCCS_FILL_MODE));
	return is_offline(v) ? "offline" : "fetches";
}

/* --- tokens --- */

const struct outcome pccs_tokens_outcomes[] = {
	{ "accepted", CHECK_OK },
	{ "refused", CHECK_FAIL, "PCCS refuses this host's own %s: it runs with older settings",
	  RESTART },
	{ 0 },
};

/* A request that is wrong but for its token: 401 comes first, and nothing is changed. */
const char *eval_pccs_tokens(const struct check_view *v, struct verdict *r)
{
	static const struct {
		enum probe_id probe;
		const char *name;
	} tokens[] = {
		{ PROBE_PCCS_USER, "user token" },
		{ PROBE_PCCS_ADMIN, "admin token" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
		const struct probe_result *p = &v->parts.probe[tokens[i].probe];
		const char *skip;

		if (!p->asked) {
			verdict_subject(r, "%s", secrets[tokens[i].probe == PROBE_PCCS_USER ?
						SECRET_PCCS_USER_TOKEN : SECRET_PCCS_ADMIN_TOKEN].name);
			return SKIP_UNSET;
		}
		skip = check_no_answer(v, tokens[i].probe, r);
		if (skip)
			return skip;
		if (p->answer.status != 401)
			continue;
		verdict_found(r, "HTTP 401");
		verdict_subject(r, "%s", tokens[i].name);
		return "refused";
	}
	return "accepted";
}

/* --- the API key --- */

const struct outcome pccs_key_outcomes[] = {
	{ "accepted", CHECK_OK },
	{ "missing", CHECK_FAIL, "there is no Intel API key: PCCS cannot fetch this platform's "
	  "certificate, and no quote can be made", SET_KEY },
	{ "refused", CHECK_FAIL, "Intel refuses the API key (PCCS hides that behind 404)", SET_KEY },
	{ "not-in-use", CHECK_FAIL, "Intel accepts the API key, but PCCS was refused: it runs with "
	  "another one", RESTART },
	{ 0 },
};

/* Has Intel refused PCCS since that was started? */
static int pccs_was_refused(const struct check_view *v)
{
	uint64_t at_us = 0;
	const struct dcap_code *code = dcap_last(&v->journal[CHECK_JOURNAL_PCCS], DCAP_PCCS,
						 &at_us);

	return code && strstr(code->phrase, "401") && at_us >= part_started_us(v, "pccs");
}

static const char *by_journal(const struct check_view *v, struct verdict *r, const char *trouble)
{
	if (pccs_was_refused(v)) {
		verdict_found(r, "Status=401 in the journal of pccs");
		return "refused";
	}
	verdict_subject(r, "Intel's service: %s", trouble);
	return SKIP_UNKNOWN;
}

static const char *key_is_stored(const struct check_view *v)
{
	_cleanup_secret_ char *key = NULL;
	int r = secret_read(v->parts.root, SECRET_PCCS_API_KEY, &key);

	if (r == -EACCES || r == -EPERM)
		return SKIP_PRIVILEGE;
	if (r == 0 && key && *key)
		return NULL;
	/* A rehearsal lends one. */
	return v->simulated ? SKIP_SIMULATED : "missing";
}

const char *eval_pccs_key(const struct check_view *v, struct verdict *r)
{
	const struct probe_result *p = &v->parts.probe[PROBE_PCS_KEY];
	_cleanup_free_ char *trouble = NULL;
	const char *end;

	if (is_offline(v)) {
		verdict_subject(r, "PCCS_FILL_MODE=OFFLINE");
		return SKIP_OFF;
	}
	end = key_is_stored(v);
	if (end)
		return end;
	if (!probe_answered(p, 0, &trouble))
		return by_journal(v, r, trouble);
	verdict_found(r, "HTTP %ld from Intel", p->answer.status);
	switch (p->answer.status) {
	case 401:
	case 403:
		return "refused";
	case 200:
	case 400: /* it was let in, and the platform does not exist */
	case 404:
		return pccs_was_refused(v) ? "not-in-use" : "accepted";
	default:
		trouble = xasprintf("HTTP %ld", p->answer.status);
		return by_journal(v, r, trouble);
	}
}
