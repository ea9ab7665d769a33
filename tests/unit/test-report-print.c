// SPDX-License-Identifier: Apache-2.0
/* The two prints of the report, of a document of the test's own, and what is taken out of it before. */
#include "test.h"

#include <errno.h>
#include <math.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/compose.h"
#include "host/json.h"
#include "host/kms/kms.h"
#include "host/pyjson.h"
#include "host/report/redact.h"
#include "host/report/report-walk.h"
#include "host/report/report.h"
#include "host/conf/secrets.h"

#define NASTY "a\\u00e9_b _c_ d_ <&>\\\"'`*[]|~\\\\ x\\ty\\rz\\nw"

static const char document[] =
	"{\"network\":{\"domain\":\"" NASTY "\",\"text\":5,\"empty\":{}},\"simulated\":true,"
	"\"complete\":true,\"taken\":\"now\","
	"\"checks\":[{\"id\":\"c1\",\"status\":\"fail\",\"cause\":\"because\"},"
	"{\"id\":\"c2\",\"status\":\"fail\",\"fix\":\"do <it>\"},{\"id\":\"c3\",\"status\":\"warn\"},"
	"{\"id\":\"c4\",\"status\":1}],"
	"\"configuration\":[{\"path\":\"/p<\",\"text\":\"x\\n```` y\\n```\\n\"},"
	"{\"values\":{\"k\":1},\"file\":\"/f\",\"text\":\"no end\"}],"
	"\"system\":{\"i\":1,\"r\":1.5,\"yes\":true,\"no\":false,\"none\":null,\"lines\":\"p\\nq\","
	"\"list\":[1,[2,[3,[4,[5,[6,[7,[8]]]]]]]],"
	"\"o\":{\"o\":{\"o\":{\"o\":{\"o\":{\"o\":{\"o\":{\"deep\":\"d\\ne\"}}}}}}}},"
	"\"services\":[],\"contracts\":[{\"a\":1}],\"registry\":null}";

static const char partial[] = "{\"complete\":false,\"simulated\":false}";

static char *printed(void (*print)(const json_t *, struct strbuf *), const char *text)
{
	struct strbuf out = { 0 };
	json_t *doc = json_loads(text, 0, NULL);

	assert_non_null(doc);
	print(doc, &out);
	json_decref(doc);
	return sb_steal(&out);
}

static void markdown(void **state _unused_)
{
	_cleanup_free_ char *text = printed(report_md, document), *little = printed(report_md, "{}"),
			    *part = printed(report_md, partial);

	assert_non_null(strstr(text, "# dstack host a\xc3\xa9_b \\_c\\_ d\\_ &lt;&amp;&gt;\"'\\`\\*\\[\\]\\|\\~"
				     "\\\\ x y z w\n"));
	assert_non_null(strstr(text, "**Simulated**"));
	assert_null(strstr(text, "Not made as root"));
	assert_non_null(strstr(text, "Checks: 0 ok, 1 warned, 2 failed, 0 skipped."));
	assert_non_null(strstr(text, "\n`````\nx\n```` y\n```\n`````\n"));
	assert_non_null(strstr(text, "\n/f:\n\n```\nno end\n```\n"));
	assert_non_null(strstr(text, "| list | 1, 2, 3, 4, 5, 6, ,  |\n"));
	assert_non_null(strstr(text, "| r | 1.5 |\n| yes | yes |\n| no | no |\n| none | - |\n"));
	assert_non_null(strstr(text, "\nNone.\n"));
	/* Nothing is known of its columns. */
	assert_non_null(strstr(text, "Contracts\n\n## "));
	assert_non_null(strstr(little, "# dstack host without a domain\n"));
	assert_non_null(strstr(little, "Not made as root"));
	assert_non_null(strstr(part, "Not made as root"));
	assert_null(strstr(part, "**Simulated**"));
	assert_null(strstr(part, "<b>Simulated"));
}

static void html(void **state _unused_)
{
	_cleanup_free_ char *text = printed(report_html, document), *little = printed(report_html, "{}"),
			    *part = printed(report_html, partial);

	assert_non_null(strstr(text, "a\xc3\xa9_b _c_ d_ &lt;&amp;&gt;&quot;&#39;`*[]|~\\ x"));
	assert_non_null(strstr(text, "<li><span class=\"v fail\">fail</span> <b>c1</b> because</li>"));
	assert_non_null(strstr(text, "<b>c2</b> -<br><code>do &lt;it&gt;</code></li>"));
	assert_non_null(strstr(text, "<li class=\"w\"><span class=\"v warn\">warn</span> <b>c3</b> -</li>"));
	assert_non_null(strstr(text, "<summary>/f</summary>\n<pre>\nno end</pre>"));
	assert_non_null(strstr(text, "<b>Simulated</b>"));
	assert_null(strstr(text, "Not made as root"));
	assert_non_null(strstr(little, "without a domain"));
	assert_non_null(strstr(little, "Not made as root"));
	assert_non_null(strstr(part, "Not made as root"));
	assert_null(strstr(part, "**Simulated**"));
	assert_null(strstr(part, "<b>Simulated"));
}

static int all(const char *path _unused_)
{
	return 1;
}

/* JSON has fewer numbers than TOML, and a key may hold what ends a line. */
static void what_json_has_no_number_for_is_text(void **state _unused_)
{
	static const char text[] = "a = inf\nb = [nan, -inf, 1.5]\n\"c\\rd\\u001b\" = 07:32:00\ne = 'x'\n";
	json_t *doc = report_toml(text, all);
	char *got = json_dumps(doc, JSON_COMPACT);

	assert_string_equal(got, "{\"a\":\"inf\",\"b\":[\"nan\",\"-inf\",1.5],\"c?d?\":\"07:32:00\",\"e\":\"x\"}");
	free(got);
	json_decref(doc);
}

/* --- redaction --- */

static void keys_in_urls_are_known_again(void **state)
{
	static const char conf[] =
		"DOMAIN=example.org\nETH_RPC_URLS=https://justkey0123456@rpc.example.org/ "
		"https://rpc.example.org/v2/abcdefabcdef0123?x=y&token=0123456789abcdef\n"
		"PROXY=joe:proxypassword@proxy.example.org\n";
	const struct fixture *f = *state;
	_cleanup_redactor_ struct redactor *r = NULL;
	_cleanup_settings_ struct settings s = { 0 };
	json_t *doc = json_loads("{\"a\": [\"x justkey0123456\", 1, \"none\"], \"n\": null}", 0, NULL);
	_cleanup_free_ char *text = NULL, *tokens = NULL, *proxy = NULL, *dumped = NULL, *pem = NULL;

	put_text(f, "/etc/dstack/host.conf", conf);
	put_text(f, KMS_DIR "/auth-eth.env", "PORT=1\nETH_RPC_URL=https://old.example.org/oldoldoldold\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_int_equal(redact_load(&f->root, &s, &r), 0);
	text = redact_text(r, "asked justkey0123456 and abcdefabcdef0123");
	assert_string_equal(text, "asked (credentials) and ...");
	tokens = redact_text(r, "0123456789abcdef, oldoldoldold");
	assert_string_equal(tokens, "..., ...");
	proxy = redact_text(r, "by proxypassword");
	assert_string_equal(proxy, "by (credentials)");
	pem = redact_text(r, "-----BEGIN X\n-----BEGIN PRIVATE KEY-----, -----BEGIN ://a:b x");
	assert_string_equal(pem, "-----BEGIN X\n(private key not shown)");
	redact_json(r, doc);
	dumped = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(dumped, "{\"a\":[\"x (credentials)\",1,\"none\"],\"n\":null}");
	json_decref(doc);
}

/* Without what must not be shown nothing is shown; but who may not read a secret has not got it. */
static void what_cannot_be_read_is_not_passed_over(void **state)
{
	const struct fixture *f = *state;
	_cleanup_redactor_ struct redactor *r = NULL;
	_cleanup_settings_ struct settings s = { 0 };
	char full[512];

	put_text(f, "/etc/dstack/host.conf", "DOMAIN=example.org\n");
	put_text(f, KMS_DIR "/auth-eth.env", "");
	assert_int_equal(settings_load(&f->root, &s), 0);
	snprintf(full, sizeof(full), "%s" SECRETS_DIR, f->dir);
	assert_int_equal(mkdir(full, 0), 0);
	snprintf(full, sizeof(full), "%s" KMS_DIR, f->dir);
	assert_int_equal(chmod(full, 0), 0);
	assert_int_equal(chmod(f->dir, 0755), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	assert_int_equal(redact_load(&f->root, &s, &r), 0);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(full, 0700), 0);
	redact_free(&r);
	put_text(f, KMS_DIR "/docker-compose.yaml/x", "");
	assert_int_equal(redact_load(&f->root, &s, &r), -EISDIR);
	snprintf(full, sizeof(full), "%s" SECRETS_DIR, f->dir);
	assert_int_equal(chmod(full, 0700), 0);
	put_text(f, SECRETS_DIR "/vmm-token/x", "");
	assert_int_equal(redact_load(&f->root, &s, &r), -EISDIR);
	assert_null(r);
}

/* --- Python's JSON --- */

static void what_is_no_text_is_refused(void **state _unused_)
{
	static char bad[] = "\xff", good[] = "x";
	struct app_compose app = { .name = bad, .docker_compose = "" };
	struct create_vm vm = { .name = "n", .image = "i", .compose_text = "c", .host_address = bad };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	const char *what;
	char *text;

	assert_string_equal(app_compose_unfit(&app, &what), "is not UTF-8 text");
	assert_string_equal(what, "name");
	app.name = good;
	app.key_provider_id = bad;
	assert_string_equal(app_compose_unfit(&app, &what), "is not UTF-8 text");
	assert_string_equal(what, "key-provider-id");
	app.docker_compose = "\0";
	app.docker_compose_len = 1;
	assert_string_equal(app_compose_unfit(&app, &what), "holds a NUL byte");
	assert_int_equal(app_compose_text(&app, &text), -EINVAL);
	assert_int_equal(create_vm_body(&vm, &text), -EINVAL);
	/* It is asked before; what it gets all the same ends the string, which stays one. */
	pyjson_string(&out, "a\xff" "b", 3, 1);
	assert_string_equal(out.data, "\"a\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(markdown),
		cmocka_unit_test(html),
		cmocka_unit_test(what_json_has_no_number_for_is_text),
		with_root(keys_in_urls_are_known_again),
		with_root(what_cannot_be_read_is_not_passed_over),
		cmocka_unit_test(what_is_no_text_is_refused),
	};

	return cmocka_run_group_tests_name("report-print", tests, NULL, NULL);
}
