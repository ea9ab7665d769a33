// SPDX-License-Identifier: Apache-2.0
/* Checks of PCCS, QGS, their settings, journals, and of the platform's registration. */
#include "check-cases.h"

#include <errno.h>

#include "host/check/dcap-codes.h"
#include "host/check/qcnl-file.h"

#define CASE(name)                                                                       \
	static void name(struct host *h _unused_, struct check_view *v _unused_,         \
			 const struct fixture *f _unused_)

/* --- PCCS --- */

static void cert_of_pccs(struct host *h, long long from, long long until, const char *host,
			 const char *ca)
{
	answer(h, PROBE_PCCS_INTEL, 200);
	fact(h, PROBE_PCCS_INTEL, "crl", "der");
	certificate(h, PROBE_PCCS_INTEL, from, until, host, ca, "self-signed certificate");
}

CASE(expiring) { cert_of_pccs(h, 0, NOW_S + DAYS(20), "ok", "ok"); }
CASE(expired) { cert_of_pccs(h, 0, NOW_S - 1, "ok", "ok"); }
CASE(not_yet) { cert_of_pccs(h, NOW_S + 60, NOW_S + DAYS(300), "ok", "ok"); }
CASE(other_ca) { cert_of_pccs(h, 0, NOW_S + DAYS(300), "ok", "self-signed certificate"); }
CASE(wrong_name) { cert_of_pccs(h, 0, NOW_S + DAYS(300), "no", "ok"); }
CASE(no_certificate) { answer(h, PROBE_PCCS_INTEL, 200); }

static void intel_says(struct host *h, long status, const char *crl)
{
	answer(h, PROBE_PCCS_INTEL, status);
	if (crl)
		fact(h, PROBE_PCCS_INTEL, "crl", crl);
}

CASE(unreachable) { intel_says(h, 502, NULL); }
CASE(garbage) { intel_says(h, 200, "other"); }
CASE(other_service) { intel_says(h, 404, NULL); }
CASE(slow)
{
	intel_says(h, 0, NULL);
	h->view.probe[PROBE_PCCS_INTEL].answer.error = PEER_TIMEOUT;
}

static void set(struct host *h, enum key_id id, const char *value)
{
	set_text(&h->settings.v[id].value, value);
}

CASE(offline) { set(h, KEY_PCCS_FILL_MODE, "OFFLINE"); }
CASE(not_cached)
{
	set(h, KEY_PCCS_FILL_MODE, "OFFLINE");
	intel_says(h, 404, NULL);
}

CASE(user_refused) { answer(h, PROBE_PCCS_USER, 401); }
CASE(admin_refused) { answer(h, PROBE_PCCS_ADMIN, 401); }
CASE(no_user_token) { h->view.probe[PROBE_PCCS_USER].asked = 0; }

/* --- API key --- */

static void pccs_said(struct check_view *v, const char *text)
{
	journal_tail_add(&v->journal[CHECK_JOURNAL_PCCS], v->parts.now_us - 1000000, text,
			 strlen(text));
}

#define REFUSED "[URL=https://pcs/pckcerts?...] -> [Status=401]"

CASE(key_missing) { put_text(f, "/etc/dstack/secrets/pccs-api-key", ""); }
CASE(key_refused) { answer(h, PROBE_PCS_KEY, 401); }
CASE(key_forbidden) { answer(h, PROBE_PCS_KEY, 403); }
CASE(key_not_in_use) { pccs_said(v, REFUSED); }
CASE(key_throttled) { answer(h, PROBE_PCS_KEY, 429); }
CASE(key_refused_says_journal)
{
	refuse(h, PROBE_PCS_KEY, -ECONNREFUSED);
	pccs_said(v, REFUSED);
}
CASE(key_unknown) { refuse(h, PROBE_PCS_KEY, -ECONNREFUSED); }
/* Refused, and then let in. */
CASE(key_good_again)
{
	pccs_said(v, "[URL=https://pcs/pckcerts?...] -> [Status=200]");
	pccs_said(v, REFUSED);
}
CASE(key_simulated)
{
	v->simulated = 1;
	key_missing(h, v, f);
}

/* --- journals --- */

CASE(pccs_logged) { pccs_said(v, "getaddrinfo ENOTFOUND api.trustedservices.intel.com"); }
CASE(pccs_logged_before)
{
	unit(h, "pccs")->main_us = v->parts.now_us;
	pccs_said(v, "getaddrinfo ENOTFOUND api.trustedservices.intel.com");
}

static void qgsd_said(struct check_view *v, unsigned seconds_ago, const char *text)
{
	journal_tail_add(&v->journal[CHECK_JOURNAL_QGSD],
			 v->parts.now_us - (uint64_t)seconds_ago * 1000000, text, strlen(text));
}

CASE(quote_failed)
{
	qgsd_said(v, 10, "tee_att_init_quote return 0x11001");
	qgsd_said(v, 10, "[QPL] Failed to get quote config. Error code is 0xb006");
}
CASE(quote_failed_before)
{
	unit(h, "pccs")->main_us = v->parts.now_us - 5000000;
	quote_failed(h, v, f);
}
CASE(device_was_shut_before) { qgsd_said(v, 10, "tee_att_init_quote return 0x4004"); }
CASE(quote_failed_and_succeeded)
{
	qgsd_said(v, 5, "tee_att_get_quote return Success");
	quote_failed(h, v, f);
}
/* The key is the root of it. */
CASE(quote_failed_for_the_key)
{
	quote_failed(h, v, f);
	key_refused(h, v, f);
}

/* --- QCNL, qgs.conf --- */

static void qgsd_reads(const struct fixture *f, const char *text)
{
	put_text(f, "/proc/77/environ", "PATH=/bin");
	if (text)
		put_text(f, "/etc/sgx_default_qcnl.conf", text);
}

#define GOOD_QCNL                                                                        \
	"// Intel's\n{ \"pccs_url\": \"https://127.0.0.1:8081/sgx/certification/v4\", /* x */" \
	" \"use_secure_cert\": false }\n"

CASE(qcnl_good) { qgsd_reads(f, GOOD_QCNL); }
CASE(qcnl_broken) { qgsd_reads(f, "{ \"retry_times\": 6, }"); }
CASE(qcnl_unknown_key) { qgsd_reads(f, "{ \"pccs_uri\": \"x\", \"use_secure_cert\": false }"); }
CASE(qcnl_missing) { qgsd_reads(f, NULL); }
CASE(qcnl_elsewhere)
{
	qgsd_reads(f, "{ \"pccs_url\": \"https://pccs.example/v4/\" }");
}
CASE(qcnl_untrusted) { qgsd_reads(f, "{ \"use_secure_cert\": true }"); }
CASE(qgsd_is_dead) { unit(h, "qgsd")->main_pid = 0; }

CASE(qgs_unix) { set(h, KEY_QGS_ADDRESS, "unix:/var/run/tdx-qgs/qgs.socket"); }
CASE(qgs_no_port) { put_text(f, "/etc/qgs.conf", "# port = 4050\nnumber_threads = 4\n"); }
CASE(qgs_wrong_port) { put_text(f, "/etc/qgs.conf", "port=4051\n"); }
CASE(qgs_other_port)
{
	set(h, KEY_QGS_ADDRESS, "vsock:2:4051");
	qgs_wrong_port(h, v, f);
}

/* --- registration --- */

CASE(pending) { put_registration(f, 0, 0); }
CASE(revoked) { put_registration(f, 0, 0xa2); }
CASE(no_network) { put_registration(f, 0, 0x82); }
CASE(bios_error) { put_registration(f, 2, 0x11); }
CASE(odd) { put(f, EFI_STATUS, "\7\0\0\0\2\0\3\0\1\0\0", 11); }
CASE(short_variable) { put(f, EFI_STATUS, "\7\0\0\0\1", 5); }
CASE(not_offered)
{
	char path[256];

	snprintf(path, sizeof(path), "%s" EFI_STATUS, f->dir);
	assert_int_equal(unlink(path), 0);
}
CASE(on_a_rehearsal) { v->simulated = 1; }

static const struct check_case cases[] = {
	{ "pccs.tls", "good" },
	{ "pccs.tls", "expiring", expiring },
	{ "pccs.tls", "expired", expired },
	{ "pccs.tls", "not-yet", not_yet },
	{ "pccs.tls", "other-ca", other_ca },
	{ "pccs.tls", "wrong-name", wrong_name },
	{ "pccs.tls", SKIP_UNKNOWN, no_certificate },
	{ "pccs.intel", "reached" },
	{ "pccs.intel", "slow", slow },
	{ "pccs.intel", "unreachable", unreachable },
	{ "pccs.intel", "not-cached", not_cached },
	{ "pccs.intel", "other-service", other_service },
	{ "pccs.intel", "garbage", garbage },
	{ "pccs.fill", "fetches" },
	{ "pccs.fill", "offline", offline },
	{ "pccs.tokens", "accepted" },
	{ "pccs.tokens", "refused", user_refused },
	{ "pccs.tokens", "refused", admin_refused },
	{ "pccs.tokens", SKIP_UNSET, no_user_token },
	{ "pccs.api-key", "accepted" },
	{ "pccs.api-key", "missing", key_missing },
	{ "pccs.api-key", "refused", key_refused },
	{ "pccs.api-key", "refused", key_forbidden },
	{ "pccs.api-key", "refused", key_refused_says_journal },
	{ "pccs.api-key", "not-in-use", key_not_in_use },
	{ "pccs.api-key", "accepted", key_good_again },
	{ "pccs.api-key", SKIP_UNKNOWN, key_throttled },
	{ "pccs.api-key", SKIP_UNKNOWN, key_unknown },
	{ "pccs.api-key", SKIP_SIMULATED, key_simulated },
	{ "pccs.api-key", SKIP_OFF, offline },
	{ "pccs.errors", "quiet" },
	{ "pccs.errors", "error", pccs_logged },
	{ "pccs.errors", "before", pccs_logged_before },
	{ "pccs.errors", SKIP_NEEDS, key_not_in_use },
	{ "qgsd.errors", "quiet" },
	{ "qgsd.errors", "error", quote_failed },
	{ "qgsd.errors", "before", quote_failed_before },
	{ "qgsd.errors", "before", device_was_shut_before },
	{ "qgsd.errors", "quiet", quote_failed_and_succeeded },
	{ "qgsd.errors", SKIP_NEEDS, quote_failed_for_the_key },
	{ "qcnl.file", "rendered" },
	{ "qcnl.file", "good", qcnl_good },
	{ "qcnl.file", "broken", qcnl_broken },
	{ "qcnl.file", "unknown-key", qcnl_unknown_key },
	{ "qcnl.file", "missing", qcnl_missing },
	{ "qcnl.file", SKIP_UNKNOWN, qgsd_is_dead },
	{ "qcnl.agree", "rendered" },
	{ "qcnl.agree", "same", qcnl_good },
	{ "qcnl.agree", "other-pccs", qcnl_elsewhere },
	{ "qcnl.agree", "untrusted", qcnl_untrusted },
	{ "qgs.conf", "vsock" },
	{ "qgs.conf", "unix", qgs_unix },
	{ "qgs.conf", "no-port", qgs_no_port },
	{ "qgs.conf", "wrong-port", qgs_wrong_port },
	{ "qgs.conf", "guests-elsewhere", qgs_other_port },
	{ "qgsd", SKIP_NEEDS, qgs_no_port },
	{ "registration", "complete" },
	{ "registration", "pending", pending },
	{ "registration", "error", revoked },
	{ "registration", "error", bios_error },
	{ "registration", "retry", no_network },
	{ "registration", "odd", odd },
	{ "registration", "odd", short_variable },
	{ "registration", "not-offered", not_offered },
	{ "registration", SKIP_SIMULATED, on_a_rehearsal },
};

/* --- the fix, as it is typed --- */

CASE(qgs_cut_short) { put_text(f, "/etc/qgs.conf", "number_threads = 4"); }
static const char *fixed; /* what /etc/qgs.conf has after it */
CASE(qgs_fixed) { put_text(f, "/etc/qgs.conf", fixed); }

static void a_line_without_its_end_is_not_joined(void **state)
{
	static const struct check_case cut = { "qgs.conf", "no-port", qgs_cut_short },
				       after = { "qgs.conf", "vsock", qgs_fixed };
	const struct fixture *f = *state;
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));
	_cleanup_free_ char *command = NULL;
	char *into;

	judge_all(&cut, f, verdicts);
	command = xstrdup(must(verdicts[check_find(cut.id)].fix));
	verdicts_free(verdicts, checks_count());
	into = must(strstr(command, "sudo tee -a /etc/qgs.conf && "));
	snprintf(into, strlen(into) + 1, "cat");
	/* In a shell, as it is printed, but for the file. */
	into = xasprintf("(printf 'number_threads = 4'; %s) > %s/fixed", command, f->dir);
	assert_int_equal(system(into), 0);
	free(into);
	fixed = must(get(f, "/fixed"));
	assert_case(&after, f);
}

#undef CHECK_CASES_MORE
#define CHECK_CASES_MORE with_root(a_line_without_its_end_is_not_joined),

CHECK_CASES_MAIN(group_attestation, cases)
