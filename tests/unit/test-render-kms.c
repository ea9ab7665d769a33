// SPDX-License-Identifier: Apache-2.0
/* The next KMS's files: the reference layout's shape, upstream's parts, what they wait for. */
#include "test.h"

#include "base/alloc.h"
#include "host/render/render.h"

#define CONF "/etc/dstack/host.conf"
#define DIGEST "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CONTRACT "0xe6c23bfE4686E28DcDA15A1996B1c0C549656E26"
#define ALL                                                                              \
	"DOMAIN=hosted.dstack.info\nKMS_IMAGE=registry.hosted.dstack.info/dstack-kms" DIGEST  \
	"\nKMS_CONTRACT=" CONTRACT "\nAPP_AUTH_IMPLEMENTATION=" CONTRACT                        \
	"\nETH_RPC_URLS=https://a.example.org/x https://b.example.org\n"

/* BUILD_OK with the text, or what it waits for. */
static int build(const struct fixture *f, const char *conf,
		 int (*builder)(const struct render_ctx *, struct strbuf *, const char **),
		 char **text, const char **why)
{
	_cleanup_settings_ struct settings s = { 0 };
	struct render_ctx rc = { &f->root, &s, 0 };
	struct strbuf out = { 0 };
	int r;

	put_text(f, CONF, conf);
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_int_equal(s.diag.n, 0);
	*why = NULL;
	r = builder(&rc, &out, why);
	*text = sb_steal(&out);
	return r;
}

/* Upstream's recorded file, with the image by digest and auth-eth.env put over the image's own. */
static void reference_layout(void **state)
{
	static const char want[] = "services:\n"
				   "  kms:\n"
				   "    image: registry.hosted.dstack.info/dstack-kms" DIGEST "\n"
				   "    ports:\n"
				   "      - \"9100:9100\"\n"
				   "    volumes:\n"
				   "      - /var/run/dstack.sock:/var/run/dstack.sock\n"
				   "      - kms-certs:/etc/kms/certs\n"
				   "    environment:\n"
				   "      - RUST_LOG=info\n"
				   "      - KMS_DOMAIN=kms.hosted.dstack.info\n"
				   "    configs:\n"
				   "      - source: auth-eth-env\n"
				   "        target: /etc/kms/auth-eth.env\n"
				   "    restart: unless-stopped\n"
				   "volumes:\n"
				   "  kms-certs:\n"
				   "configs:\n"
				   "  auth-eth-env:\n"
				   "    content: |\n"
				   "      HOST=127.0.0.1\n"
				   "      PORT=9200\n"
				   "      ETH_RPC_URL=https://a.example.org/x\n"
				   "      KMS_CONTRACT_ADDR=" CONTRACT "\n";
	_cleanup_free_ char *text = NULL;
	const char *why;

	assert_int_equal(build(*state, ALL, build_kms_compose, &text, &why), BUILD_OK);
	assert_string_equal(text, want);
}

static void upstream_layout(void **state)
{
	static const char *const present[] = {
		"  auth-api:\n    image: a/auth" DIGEST "\n",
		"      - \"8000:8000\"\n",
		"      port = 8000\n",
		"      url = \"http://auth-api:8000\"\n",
		"volumes:\n  kms-volume:\n",
	};
	_cleanup_free_ char *text = NULL, *none = NULL;
	const char *why;

	assert_int_equal(build(*state, ALL "KMS_LAYOUT=upstream\n", build_kms_compose, &none, &why),
			 BUILD_WAITS);
	assert_string_equal(why, "KMS_AUTH_IMAGE");
	assert_int_equal(build(*state, ALL "KMS_LAYOUT=upstream\nKMS_AUTH_IMAGE=a/auth" DIGEST "\n",
			       build_kms_compose, &text, &why),
			 BUILD_OK);
	for (size_t i = 0; i < ARRAY_SIZE(present); i++)
		if (!strstr(text, present[i]))
			fail_msg("missing: %s", present[i]);
}

static void waits_for_each_setting(void **state)
{
	static const struct {
		const char *conf, *why;
	} cases[] = {
		{ "", "DOMAIN" },
		{ "DOMAIN=a.example\n", "KMS_IMAGE" },
		{ "DOMAIN=a.example\nKMS_IMAGE=k" DIGEST "\n", "KMS_CONTRACT" },
		{ "DOMAIN=a.example\nKMS_IMAGE=k" DIGEST "\nKMS_CONTRACT=" CONTRACT "\n",
		  "APP_AUTH_IMPLEMENTATION" },
		{ "DOMAIN=a.example\nKMS_IMAGE=k" DIGEST "\nKMS_CONTRACT=" CONTRACT
		  "\nAPP_AUTH_IMPLEMENTATION=" CONTRACT "\n",
		  "ETH_RPC_URLS" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = NULL;
		const char *why;

		assert_int_equal(build(*state, cases[i].conf, build_kms_app_compose, &text, &why),
				 BUILD_WAITS);
		assert_string_equal(why, cases[i].why);
	}
}

/* What the image's loader would choke on (fault 24) cannot be there. */
static void env_file_is_plain(void **state)
{
	_cleanup_free_ char *text = NULL;
	const char *why;

	assert_int_equal(build(*state, ALL, build_kms_env, &text, &why), BUILD_OK);
	assert_string_equal(text, "HOST=127.0.0.1\nPORT=9200\nETH_RPC_URL=https://a.example.org/x\n"
				  "KMS_CONTRACT_ADDR=" CONTRACT "\n");
	assert_null(strpbrk(text, "#'\" \t"));
}

/* secure_time is written, and false: left out it would be true (K2). */
static void app_compose_is_local_and_without_secure_time(void **state)
{
	_cleanup_free_ char *text = NULL;
	const char *why;

	assert_int_equal(build(*state, ALL, build_kms_app_compose, &text, &why), BUILD_OK);
	assert_non_null(strstr(text, "\"local_key_provider_enabled\": true"));
	assert_non_null(strstr(text, "\"secure_time\": false"));
	assert_non_null(strstr(text, "\"name\": \"kms\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(reference_layout),
		with_root(upstream_layout),
		with_root(waits_for_each_setting),
		with_root(env_file_is_plain),
		with_root(app_compose_is_local_and_without_secure_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
