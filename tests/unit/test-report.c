// SPDX-License-Identifier: Apache-2.0
/* The report: its keys are the reference's, no secret is in any print, nothing is taken for markup. */
#include "test-view.h"

#include <jansson.h>

#include "base/parse.h"
#include "host/check/check-print.h"
#include "host/report/diff.h"
#include "host/json.h"
#include "host/report/redact.h"
#include "host/render/render.h"
#include "host/report/report-map.h"
#include "host/report/report.h"
#include "host/conf/secrets.h"
#include "host/sha256.h"

#define API_KEY "abcdefABCDEF0123456789abcdefABCD"
#define USER_TOKEN "user-token-canary-1"
#define ADMIN_TOKEN "admin-token-canary-2"
#define VMM_TOKEN "vmm-token-canary-3"
#define INTERNAL_TOKEN "internal-token-canary-4"
#define OPERATOR_TOKEN "operator-token-canary-5"
#define RPC_PASSWORD "rpc-password-canary"
#define RPC_KEY "rpcKeyCanary0123456789"
#define OLD_RPC_KEY "oldRpcKeyCanary987654"
#define PROXY_PASSWORD "proxy-password-canary"

static const char *const canaries[] = {
	API_KEY,      USER_TOKEN, ADMIN_TOKEN, VMM_TOKEN,   INTERNAL_TOKEN,
	RPC_PASSWORD, RPC_KEY,	  OLD_RPC_KEY, PROXY_PASSWORD, OPERATOR_TOKEN,
};

#define SECRET_CONF                                                                      \
	"DOMAIN=example.org\nAESMD_IMAGE=a\nKEY_PROVIDER_IMAGE=b\n"                      \
	"KMS_IMAGE=" IMAGE_REF "\nKMS_CONTRACT=" CONTRACT "\n"                           \
	"APP_AUTH_IMPLEMENTATION=" APP_AUTH "\n"                                         \
	"PROXY=http://joe:" PROXY_PASSWORD "@proxy.example.org:3128\n"                   \
	"ETH_RPC_URLS=https://me:" RPC_PASSWORD "@rpc.example.org/v2/" RPC_KEY "\n"

static char text_of_record[] = "k", no_id[] = "";

/* What is deployed is shown from where it is frozen. */
static void put_record(const struct fixture *f)
{
	struct kms_record rec = {
		.vm_id = no_id, .name = text_of_record, .image = text_of_record,
		.compose_hash = text_of_record, .domain = text_of_record, .vcpu = 2,
		.memory_mb = 4096, .disk_gb = 20, .host_port = 9103, .guest_port = 9100,
	};

	assert_int_equal(kms_record_save(&f->root, &rec), 0);
}

static void put_secrets(const struct fixture *f)
{
	static const struct {
		enum secret_id id;
		const char *value;
	} all[] = {
		{ SECRET_PCCS_API_KEY, API_KEY },
		{ SECRET_PCCS_USER_TOKEN, USER_TOKEN },
		{ SECRET_PCCS_ADMIN_TOKEN, ADMIN_TOKEN },
		{ SECRET_VMM_TOKEN, VMM_TOKEN },
		{ SECRET_VMM_INTERNAL_TOKEN, INTERNAL_TOKEN },
	};

	assert_int_equal(ARRAY_SIZE(all), SECRET_COUNT); /* a new secret wants a canary */
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		assert_int_equal(secret_store(&f->root, all[i].id, all[i].value), 0);
	put_record(f);
	put_text(f, KMS_DIR "/auth-eth.env",
		 "HOST=127.0.0.1\nETH_RPC_URL=https://old.example.org/v3/" OLD_RPC_KEY "\n");
	put_text(f, KMS_DIR "/docker-compose.yaml",
		 "services:\n  a:\n    environment:\n      - ETH_RPC_URL=https://old.example.org/v3/"
		 OLD_RPC_KEY "\n");
}

static void render_all(const struct host *h)
{
	struct render_ctx ctx = { .root = &h->root, .settings = &h->settings };
	struct render_result *results;
	size_t n;

	render_plan(&ctx, NULL, &results, &n);
	for (size_t i = 0; i < n; i++)
		render_apply(&ctx, &results[i]);
	render_results_free(results, n);
	assert_int_equal(render_link(&h->root), 0);
}

struct made {
	struct host h;
	struct check_view v;
	struct verdict *verdicts;
	struct redactor *redactor;
	json_t *doc;
};

static void made_free(struct made *m)
{
	json_decref(m->doc);
	verdicts_free(m->verdicts, checks_count());
	free(m->verdicts);
	redact_free(&m->redactor);
	host_free(&m->h);
}

/* `say`: what a check has found. */
static void make(struct made *m, const struct fixture *f, const char *conf, const char *say)
{
	struct report_source src = { .taken = 1700000000 };

	*m = (struct made){ 0 };
	host_make(&m->h, f, conf);
	render_all(&m->h);
	m->v = (struct check_view){ .privileged = 1, .parts = m->h.view,
				    .findings = m->h.findings };
	m->v.parts.settings = &m->h.settings;
	m->v.parts.root = &m->h.root;
	parts_judge(&m->v.parts, m->v.findings);
	m->verdicts = xcalloc(checks_count(), sizeof(*m->verdicts));
	checks_run(&m->v, m->verdicts);
	verdict_found(&m->verdicts[0], "%s", say);
	verdict_cause(&m->verdicts[0], "%s", say);
	verdicts_clean(m->verdicts);
	assert_int_equal(redact_load(&m->h.root, &m->h.settings, &m->redactor), 0);
	src.view = &m->v;
	src.verdicts = m->verdicts;
	src.redactor = m->redactor;
	m->doc = report_build(&src);
}

#define _cleanup_made_ _cleanup_(made_free)

static void (*const prints[])(const json_t *, struct strbuf *) = { report_json, report_md,
								    report_html };

static void no_secret_is_in_any_print(void **state)
{
	const struct fixture *f = *state;
	_cleanup_made_ struct made m;

	_cleanup_free_ char *say = NULL;
	char digest[SHA512_HEX + 1];

	put_secrets(f);
	sha512_hex(ADMIN_TOKEN, strlen(ADMIN_TOKEN), digest);
	say = xasprintf("said Bearer " VMM_TOKEN " to https://x:" RPC_PASSWORD "@h/ and %s", digest);
	make(&m, f, SECRET_CONF, say);
	for (size_t p = 0; p < ARRAY_SIZE(prints); p++) {
		_cleanup_strbuf_ struct strbuf out = { 0 };

		prints[p](m.doc, &out);
		/* The files were there to be shown. */
		assert_non_null(strstr(out.data, "cid_pool_size"));
		assert_non_null(strstr(out.data, "/etc/dstack/secrets/vmm-token"));
		assert_non_null(strstr(out.data, "old.example.org"));
		for (size_t i = 0; i < ARRAY_SIZE(canaries); i++) {
			char hex[SHA512_HEX + 1];

			if (strstr(out.data, canaries[i]))
				fail_msg("print %zu shows %s", p, canaries[i]);
			sha256_hex(canaries[i], strlen(canaries[i]), hex);
			assert_null(strstr(out.data, hex));
			sha512_hex(canaries[i], strlen(canaries[i]), hex);
			assert_null(strstr(out.data, hex));
		}
		assert_null(strstr(out.data, "BEGIN PRIVATE"));
	}
}

static void an_operators_file_shows_harmless_keys_alone(void **state)
{
	const struct fixture *f = *state;
	_cleanup_made_ struct made m;
	_cleanup_strbuf_ struct strbuf out = { 0 };

	put_text(f, "/etc/dstack/vmm.toml",
		 "workers = 7 # " OPERATOR_TOKEN "\nwebhook = \"" OPERATOR_TOKEN "\"\n"
		 "[auth]\ntokens = [\n  \"" OPERATOR_TOKEN "\",\n]\n[cvm]\ncid_start = 2000\n");
	make(&m, f, FULL_CONF, "");
	report_json(m.doc, &out);
	assert_null(strstr(out.data, OPERATOR_TOKEN));
	assert_non_null(strstr(out.data, "\"workers\": 7"));
	assert_non_null(strstr(out.data, "\"cid_start\": 2000"));
	assert_non_null(strstr(out.data, "\"by\": \"operator\""));
}

static void keys_are_those_of_the_reference(void **state)
{
	const struct fixture *f = *state;
	_cleanup_made_ struct made m;
	json_t *reference = json_load_file("tests/data/reference-host.json", 0, NULL), *v;
	const char *key;

	assert_non_null(reference);
	make(&m, f, FULL_CONF, "");
	json_object_foreach(reference, key, v) {
		const json_t *own = json_object_get(m.doc, key);

		if (strcmp(key, "note") == 0 || strcmp(key, "faults") == 0)
			assert_null(own);
		else if (!own || (json_typeof(own) != json_typeof(v) && !json_is_null(own)))
			fail_msg("%s is not there, or of another type", key);
	}
	json_decref(reference);
}

static int names_a_check(const char *word, void *arg)
{
	_cleanup_free_ char *wanted = xcalloc(checks_count(), 1);

	if (check_find(word) < 0 && !checks_select(word, wanted))
		fail_msg("%s is proved by %s, which is no check", (const char *)arg, word);
	return 0;
}

static void what_the_reference_asks_is_answered_by_checks(void **state _unused_)
{
	const struct {
		const char *key;
		const struct report_proof *table;
	} all_of[] = { { "verification", report_commands }, { "checklist", report_boxes },
		       { "known_issues", report_issues } };
	json_t *reference = json_load_file("tests/data/reference-host.json", 0, NULL);

	for (size_t t = 0; t < ARRAY_SIZE(all_of); t++) {
		json_t *list = json_object_get(reference, all_of[t].key), *item;
		size_t i;

		json_array_foreach(list, i, item) {
			const struct report_proof *p = &all_of[t].table[i];

			assert_string_equal(p->id, json_string_value(json_object_get(item, "id")));
			for_each_word(p->checks, names_a_check, (void *)(uintptr_t)p->id);
		}
		assert_null(all_of[t].table[i].id);
	}
	json_decref(reference);
}

#define NASTY "</td><script>alert(1)</script>\"'&amp; | `x` **b** [a](b) \\"

static void html_takes_nothing_for_markup(void **state)
{
	const struct fixture *f = *state;
	_cleanup_made_ struct made m;
	_cleanup_strbuf_ struct strbuf out = { 0 };

	make(&m, f, FULL_CONF, NASTY);
	report_html(m.doc, &out);
	assert_null(strstr(out.data, "<script"));
	assert_non_null(strstr(out.data, "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;"
					 "&amp;amp; | `x`"));
	/* Nothing is loaded from anywhere. */
	assert_null(strstr(out.data, "src="));
	assert_null(strstr(out.data, "href=\"http"));
	assert_null(strstr(out.data, "url("));
	assert_null(strstr(out.data, "@import"));
}

static void markdown_takes_nothing_for_markup(void **state)
{
	const struct fixture *f = *state;
	_cleanup_made_ struct made m;
	_cleanup_strbuf_ struct strbuf out = { 0 };

	make(&m, f, FULL_CONF, NASTY);
	report_md(m.doc, &out);
	assert_null(strstr(out.data, "<script"));
	assert_non_null(strstr(out.data, "&amp;amp; \\| \\`x\\` \\*\\*b\\*\\* \\[a\\](b) \\\\ |"));
}

static void control_characters_are_not_passed_on(void **state)
{
	const struct fixture *f = *state;
	_cleanup_made_ struct made m;

	make(&m, f, FULL_CONF, "");
	put_text(f, "/etc/os-release", "PRETTY_NAME=\"a\033[31m\xff\"\n");
	json_decref(m.doc);
	m.doc = report_build(&(struct report_source){ .view = &m.v, .verdicts = m.verdicts,
						      .redactor = m.redactor });
	assert_string_equal(json_string_value(json_object_get(
				    json_object_get(m.doc, "system"), "os")),
			    "a?[31m?");
}

#define HEX64 "7e86300bda4a4832d5cdffb63d9c5e716f1756d078d49728e33aaa9a148fe93e"

static void redaction(void **state)
{
	static const char *const cases[][2] = {
		{ "x secret-one y", "x (1) y" },
		{ "secret-one-and-more", "(2)" }, /* the longest first */
		{ "https://u:p@h/", "https://(not shown)@h/" },
		{ "https://h/a@b", "https://h/a@b" },
		{ "Authorization: Bearer abc def", "Authorization: Bearer (not shown) def" },
		{ "?subscription-key=abc&x=1", "?subscription-key=(not shown)&x=1" },
		{ "-----BEGIN EC PRIVATE KEY-----\nMII\n-----END EC PRIVATE KEY-----\nz",
		  "(private key not shown)\nz" },
		{ "-----BEGIN PRIVATE KEY-----\nMII", "(private key not shown)" },
		{ "1 -----BEGIN PGP PRIVATE KEY BLOCK-----\n2 lQ\n3 -----END PGP PRIVATE KEY BLOCK-----\nz",
		  "1 (private key not shown)\nz" },
		{ "{\"k\": \"-----BEGIN PRIVATE KEY-----\\nMII\\n-----END PRIVATE KEY-----\\n\"}",
		  "{\"k\": \"(private key not shown)\\n\"}" },
		/* twice is once */
		{ "Authorization: Bearer (not shown) x", "Authorization: Bearer (not shown) x" },
		{ "token=(not shown)&x", "token=(not shown)&x" },
		{ "https://(not shown)@h/", "https://(not shown)@h/" },
		{ "https://u:p@q@h/x", "https://(not shown)@h/x" },
		{ "https://h/?a=1&key=s3cr3t&b=2", "https://h/?a=1&key=(not shown)&b=2" },
		{ "https://h/?sig=s3cr3t", "https://h/?sig=(not shown)" },
		{ "https://h/?authority=x&encrypted_ppid=00", "https://h/?authority=x&encrypted_ppid=00" },
		{ "Authorization: Basic dTpw", "Authorization: Basic (not shown)" },
		{ "proxy-authorization: dTpw x\ny", "proxy-authorization: (not shown)\ny" },
		{ "Cookie: a=b; c=d\nx", "Cookie: (not shown)\nx" },
		{ "a \"X-Api-Key: abc\"", "a \"X-Api-Key: abc\"" },
		{ "a \"X-Api-Key: 0123456789abcdef\"", "a \"X-Api-Key: (not shown)\"" },
		{ "{\"ApiKey\" : \"s3cr3t\"}", "{\"ApiKey\" : \"(not shown)\"}" },
		{ "{\\\"token\\\":\\\"s3cr3t\\\"}", "{\\\"token\\\":\\\"(not shown)\\\"}" },
		{ "tokens = [\"s3cr3t\"]", "tokens = [\"(not shown)\"]" },
		{ "tokens = [\"(secret x)\"]", "tokens = [\"(secret x)\"]" },
		{ "--token s3cr3t --x", "--token (not shown) --x" },
		{ "--password --x", "--password --x" },
		{ "acl bearer req.hdr(authorization) -m", "acl bearer req.hdr(authorization) -m" },
		{ "\"ApiKey\": \"secret-one\"", "\"ApiKey\": \"(1)\"" },
		{ "\"ApiKey\": \"secret-one-too\"", "\"ApiKey\": \"(not shown)\"" },
		{ "curl -u joe:s3cr3t x", "curl -u (not shown) x" },
		{ "ssh -u joe x", "ssh -u joe x" },
		{ "DB_PASSWORD=s3cr3t", "DB_PASSWORD=(not shown)" },
		{ "password: s3cr3t", "password: (not shown)" },
		{ "API_KEY=s3cr3t", "API_KEY=(not shown)" },
		{ "key=/etc/x.pem", "key=/etc/x.pem" },
		{ "the API key: refused", "the API key: refused" },
		{ "KEY_PROVIDER_IMAGE=k", "KEY_PROVIDER_IMAGE=k" },
		{ "/run/dstack/front/tokens.map", "/run/dstack/front/tokens.map" },
		{ "req.hdr(authorization) -m found", "req.hdr(authorization) -m found" },
		{ "root key 0x" HEX64 ".", "root key (not shown)" },
		{ "seed " HEX64, "seed (not shown)" },
		{ "secret: " HEX64, "secret: (not shown)" },
		{ "public_key: " HEX64, "public_key: " HEX64 },
		{ "key sha256:" HEX64, "key sha256:" HEX64 },
		{ "digest " HEX64, "digest " HEX64 },
		{ "x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln y", "x (not shown) y" },
		{ "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n",
		  "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n" },
	};
	const struct fixture *f = *state;
	_cleanup_redactor_ struct redactor *r = NULL;
	_cleanup_settings_ struct settings s = { 0 };

	put_text(f, "/etc/dstack/host.conf", "DOMAIN=example.org\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_int_equal(redact_load(&f->root, &s, &r), 0);
	redact_add(r, "secret-one", "(1)");
	redact_add(r, "secret-one-and-more", "(2)");
	redact_add(r, "a", "(too short)");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *got = redact_text(r, cases[i][0]);

		assert_string_equal(got, cases[i][1]);
	}
}

/* Somebody else's unit in the place of ours. */
static void an_operators_unit_is_shown_without_its_environment(void **state)
{
	static const char unit[] =
		"[Service]\n# token s3cr3t-a\\\nEnvironment=A=s3cr3t-b \\\n# x\n  B=s3cr3t-c\n"
		" Environment = C=s3cr3t-d\nSetCredential=x:s3cr3t-e\nEnvironmentFile=/etc/x\n"
		"ExecStart=/usr/bin/vmm --auth-token s3cr3t-f -c /etc/x";
	_cleanup_made_ struct made m;
	json_t *item, *text = NULL;
	size_t i;

	put_text(*state, "/etc/systemd/system/dstack-vmm.service", unit);
	make(&m, *state, FULL_CONF, "");
	json_array_foreach(json_object_get(m.doc, "configuration"), i, item)
		if (strcmp(json_string_value(json_object_get(item, "format")), "unit") == 0)
			text = json_object_get(item, "text");
	assert_string_equal(must(json_string_value(text)),
			    "[Service]\nEnvironment=(not shown)\nEnvironment=(not shown)\n"
			    "SetCredential=(not shown)\nEnvironmentFile=/etc/x\n"
			    "ExecStart=/usr/bin/vmm --auth-token (not shown) -c /etc/x");
}

static int all(const char *path _unused_)
{
	return 1;
}

static void values_of_toml(void **state _unused_)
{
	json_t *doc = report_toml("a = 1\n[b.c]\nd = [{ e = \"x\", f = true }]\n", all);
	char *text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);

	assert_string_equal(text, "{\"a\":1,\"b\":{\"c\":{\"d\":[{\"e\":\"x\",\"f\":true}]}}}");
	free(text);
	json_decref(doc);
	assert_null(report_toml("a = = 1\n", all));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(no_secret_is_in_any_print),
		with_root(an_operators_file_shows_harmless_keys_alone),
		with_root(keys_are_those_of_the_reference),
		cmocka_unit_test(what_the_reference_asks_is_answered_by_checks),
		with_root(html_takes_nothing_for_markup),
		with_root(markdown_takes_nothing_for_markup),
		with_root(control_characters_are_not_passed_on),
		with_root(redaction),
		with_root(an_operators_unit_is_shown_without_its_environment),
		cmocka_unit_test(values_of_toml),
	};

	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
