// SPDX-License-Identifier: Apache-2.0
/* What is read of PCCS, Docker, QCNL files and the libraries' logs. */
#include "test-facts.h"

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/check/checks-attestation.h"
#include "host/probe/probes.h"
#include "host/check/dcap-codes.h"
#include "host/probe/probes-digest.h"
#include "host/check/qcnl-file.h"

/* "key=value;" of each fact; the caller's. */
static char *facts_of(digest *d, long status, const char *body)
{
	struct peer_reply reply = { status, body, strlen(body) };
	struct peer_emit emit = { 0 };

	d(&reply, &emit);
	return facts_text(&emit);
}

static void assert_facts(digest *d, long status, const char *body, const char *expected)
{
	_cleanup_free_ char *facts = facts_of(d, status, body);

	assert_string_equal(facts, expected);
}

static void revocation_list(void **state _unused_)
{
	assert_facts(digest_rootcacrl, 200, "30820002aabb", "crl=der;");
	assert_facts(digest_rootcacrl, 200, "30820002AABB\n", "crl=der;");
	assert_facts(digest_rootcacrl, 200, "308102aabb", "crl=der;");
	assert_facts(digest_rootcacrl, 200, "30820003aabb", "crl=other;");
	assert_facts(digest_rootcacrl, 200, "30820001aabb", "crl=other;");
	assert_facts(digest_rootcacrl, 200, "30820002aabx", "crl=other;");
	assert_facts(digest_rootcacrl, 200, "30820002aabbc", "crl=other;");
	assert_facts(digest_rootcacrl, 200, "<html>welcome to the hotel</html>", "crl=other;");
	assert_facts(digest_rootcacrl, 200, "", "crl=other;");
	assert_facts(digest_rootcacrl, 502, "30820002aabb", "");
}

/* Docker 20.10's words for a container of our compose project, shortened. */
static void container(void **state _unused_)
{
	static const char body[] =
		"{\"Id\":\"e1\",\"State\":{\"Status\":\"running\",\"Pid\":4242,"
		"\"StartedAt\":\"2025-12-09T10:00:00Z\"},\"Image\":\"sha256:11\","
		"\"RestartCount\":2,\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"always\"},"
		"\"Privileged\":true},\"Config\":{\"Image\":\"r/a:1\"},\"Mounts\":["
		"{\"Type\":\"bind\",\"Source\":\"/a b\",\"Destination\":\"/c\"},"
		"{\"Type\":\"bind\",\"Source\":\"/a\",\"Destination\":\"/c d\"}]}";

	assert_facts(digest_inspect, 200, body,
		     "id=sha256:11;image=r/a:1;started=2025-12-09T10:00:00Z;restart=always;"
		     "restarts=2;pid=4242;privileged=yes;mount=/c bind /a b;");
	assert_facts(digest_inspect, 200,
		     "{\"State\":{},\"Config\":{\"Labels\":{\"org.dstack.simulated\":\"true\"}}}",
		     "simulated=yes;");
	assert_facts(digest_inspect, 404, "{\"message\":\"No such container: aesmd\"}", "");
	assert_facts(digest_inspect, 200, "[]", "bad=the answer is no container;");
	assert_facts(digest_inspect, 200, "{\"State\":[],\"Config\":3,\"Mounts\":{}}",
		     "bad=the answer is no container;");
}

static void image(void **state _unused_)
{
	assert_facts(digest_image, 200, "{\"Id\":\"sha256:11\",\"RepoTags\":[]}", "id=sha256:11;");
	assert_facts(digest_image, 200,
		     "{\"Id\":\"i\",\"Config\":{\"Labels\":{\"org.dstack.simulated\":\"true\"}}}",
		     "id=i;simulated=yes;");
	assert_facts(digest_image, 200,
		     "{\"Id\":\"i\",\"Config\":{\"Labels\":{\"org.dstack.simulated\":\"false\"}}}",
		     "id=i;");
	assert_facts(digest_image, 404, "{\"message\":\"No such image: k\"}", "");
	assert_facts(digest_image, 200, "{\"Id\":7}", "bad=the answer is no image;");
	assert_facts(digest_image, 200, "[]", "bad=the answer is no image;");
}

/* --- codes --- */

static const char *name_in(enum dcap_speaker speaker, const char *line)
{
	const struct dcap_code *code = dcap_code_in(speaker, line);

	return code ? code->name : "";
}

static void codes(void **state _unused_)
{
	static const struct {
		enum dcap_speaker speaker;
		const char *line, *name;
	} cases[] = {
		{ DCAP_QGSD, "[QPL] No certificate data for this platform.", "NO_PLATFORM_CERT_DATA" },
		{ DCAP_QGSD, "[get_platform_quote_cert_data ../td_ql_logic.cpp:302] Error returned "
			     "from the p_sgx_get_quote_config API. 0xe011", "NO_PLATFORM_CERT_DATA" },
		{ DCAP_QGSD, "tee_att_init_quote return 0x11001", "UNEXPECTED" },
		{ DCAP_QGSD, "tee_att_init_quote return 0x11016", "ENCLAVE_LOAD_ERROR" },
		{ DCAP_QGSD, "[load_pce] no access to /dev/sgx_provision. 0x4004 -> 0xe035",
		  "SGX_ERROR_SERVICE_INVALID_PRIVILEGE" },
		{ DCAP_QGSD, "[QPL] Failed to get quote config. Error code is 0xb00a",
		  "QCNL_NETWORK_HTTPS" },
		{ DCAP_QGSD, "return 0x11001, from 0xb006", "QCNL_NETWORK_COULDNT_CONNECT" },
		{ DCAP_QGSD, "CID 0xe0110 came", "" },
		{ DCAP_QGSD, "AESM error 30", "" },
		{ DCAP_AESM, "quote: AESM error 44 (simulated)", "AESM_NO_PLATFORM_CERT_DATA" },
		{ DCAP_AESM, "error: AESM service returned error 30; this may happen",
		  "AESM_SERVICE_UNAVAILABLE" },
		{ DCAP_AESM, "AESM error 3", "" },
		{ DCAP_AESM, "AESM error 0x1e", "" },
		{ DCAP_PCCS, "[URL=https://x/pckcerts?...] -> [Status=401]",
		  "Intel refuses the API key" },
		{ DCAP_PCCS, "Request-ID : 0xe011", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(name_in(cases[i].speaker, cases[i].line), cases[i].name);
}

static void every_code_has_its_words(void **state _unused_)
{
	for (size_t i = 0; i < n_dcap_codes; i++) {
		const struct dcap_code *c = &dcap_codes[i];

		assert_true(c->speakers && c->name && *c->name && c->cause && *c->cause &&
			    c->fix && *c->fix);
		assert_null(strchr(c->cause, '%'));
		for (size_t j = 0; j < i; j++)
			assert_false(!c->phrase && !dcap_codes[j].phrase &&
				     c->code == dcap_codes[j].code);
	}
}

static void add(struct journal_tail *tail, unsigned second, const char *text)
{
	journal_tail_add(tail, (uint64_t)second * 1000000, text, strlen(text));
}

/* Newest first: of one failure the line that is nearest to its cause counts. */
static void the_cause_of_a_burst(void **state _unused_)
{
	struct journal_tail tail = { 0 };
	uint64_t at_us = 0;

	assert_null(dcap_last(&tail, DCAP_QGSD, &at_us));
	add(&tail, 1000, "tee_att_init_quote return 0x11001");
	add(&tail, 999, "Error returned from the p_sgx_get_quote_config API. 0xe019");
	add(&tail, 998, "[QPL] Failed to get quote config. Error code is 0xb005");
	add(&tail, 500, "[load_qe] 0x2006");
	assert_string_equal(dcap_last(&tail, DCAP_QGSD, &at_us)->name,
			    "QCNL_NETWORK_HOST_FAIL");
	assert_int_equal(at_us, 1000000000);
	journal_tail_free(&tail);
	/* Of another failure, long before: nothing to do with it. */
	add(&tail, 1000, "tee_att_init_quote return 0x11001");
	add(&tail, 500, "[load_qe] 0x2006");
	assert_string_equal(dcap_last(&tail, DCAP_QGSD, &at_us)->name, "UNEXPECTED");
	journal_tail_free(&tail);
}

static void tails_are_bounded(void **state _unused_)
{
	struct journal_tail tail = { 0 };
	char *line = xcalloc(1, 2 * JOURNAL_TEXT_MAX);

	memset(line, 'a', 2 * JOURNAL_TEXT_MAX - 1);
	for (unsigned i = 0; i < 2 * JOURNAL_LINES_MAX; i++)
		add(&tail, i, line);
	assert_int_equal(tail.n, JOURNAL_LINES_MAX);
	assert_int_equal(strlen(tail.lines[0].text), JOURNAL_TEXT_MAX);
	journal_tail_free(&tail);
	free(line);
}

/* --- QCNL --- */

static void qcnl(void **state _unused_)
{
	static const struct {
		const char *text, *url;
		int secure, broken;
		const char *unknown;
	} cases[] = {
		{ "{}", "https://localhost:8081/sgx/certification/v4/", 1, 0, NULL },
		{ "// a \"quote\n{ /* { */ \"pccs_url\": \"http://x//y\" }", "http://x//y", 1, 0,
		  NULL },
		{ "{ \"use_secure_cert\": false, \"retry\": 1 }",
		  "https://localhost:8081/sgx/certification/v4/", 0, 0, "retry" },
		{ "{ \"retry_times\": 6, }", "https://localhost:8081/sgx/certification/v4/", 1, 1,
		  NULL },
		{ "PCCS_URL=https://x/\nUSE_SECURE_CERT=FALSE\n",
		  "https://localhost:8081/sgx/certification/v4/", 1, 1, NULL },
		{ "{ /* never closed }", "https://localhost:8081/sgx/certification/v4/", 1, 1,
		  NULL },
		{ "[]", "https://localhost:8081/sgx/certification/v4/", 1, 1, NULL },
		{ "{ \"a\\\"// b\": \"", "https://localhost:8081/sgx/certification/v4/", 1, 1, NULL },
		{ "", "https://localhost:8081/sgx/certification/v4/", 1, 1, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(qcnl_free) struct qcnl_file f = { 0 };

		qcnl_parse(cases[i].text, &f);
		assert_string_equal(f.url, cases[i].url);
		assert_int_equal(f.secure, cases[i].secure);
		assert_int_equal(f.broken != NULL, cases[i].broken);
		assert_string_equal(f.unknown ? f.unknown : "", cases[i].unknown ?
								       cases[i].unknown : "");
	}
}

/* --- the KMS image's place --- */

static void assert_path(struct settings *s, const char *ref, const char *expected)
{
	_cleanup_free_ char *path = NULL;

	free(s->v[KEY_KMS_IMAGE].value);
	s->v[KEY_KMS_IMAGE].value = xstrdup(ref);
	path = registry_manifest_path(s);
	if (expected)
		assert_string_equal(path, expected);
	else
		assert_null(path);
}

static void manifest_path(void **state)
{
	const struct fixture *f = *state;
	_cleanup_settings_ struct settings s = { 0 };

	put_text(f, "/etc/dstack/host.conf", "DOMAIN=example.org\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_path(&s, "registry.example.org/a/b@sha256:12", "/v2/a/b/manifests/sha256:12");
	assert_path(&s, "registry.example.org/a:1@sha256:12", "/v2/a/manifests/sha256:12");
	assert_path(&s, "Registry.Example.org:8443/a@sha256:12", "/v2/a/manifests/sha256:12");
	assert_path(&s, "registry.example.org.evil/a@sha256:12", NULL);
	assert_path(&s, "registry.example/a@sha256:12", NULL);
	assert_path(&s, "registry.example.org@sha256:12", NULL);
	assert_path(&s, "a@sha256:12", NULL);
	assert_path(&s, "", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(revocation_list),
		cmocka_unit_test(container), cmocka_unit_test(image),
		cmocka_unit_test(codes),
		cmocka_unit_test(every_code_has_its_words),
		cmocka_unit_test(the_cause_of_a_burst),
		cmocka_unit_test(tails_are_bounded),
		cmocka_unit_test(qcnl),
		cmocka_unit_test_setup_teardown(manifest_path, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
