// SPDX-License-Identifier: Apache-2.0
/*
 * Builders of files, called with what the checks of settings would have refused, and with files
 * that cannot be read: nothing is then written, or only what is safe.
 */
#include "test.h"

#include <errno.h>

#include "base/alloc.h"
#include "host/cert.h"
#include "host/render/render.h"
#include "host/conf/secrets.h"

#define CONF "/etc/dstack/host.conf"
#define DIGEST "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KMS_CONF                                                                         \
	"DOMAIN=example.org\nKMS_IMAGE=r/kms" DIGEST "\nAPP_AUTH_IMPLEMENTATION="          \
	"0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed\nKMS_CONTRACT="                      \
	"0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed\n"

typedef int builder(const struct render_ctx *ctx, struct strbuf *out, const char **why);

/* What it says; its text is the caller's. */
static int build(const struct fixture *f, const char *conf, builder *b, char **text)
{
	_cleanup_settings_ struct settings s = { 0 };
	struct render_ctx rc = { .root = &f->root, .settings = &s };
	struct strbuf out = { 0 };
	const char *why = NULL;
	int r;

	put_text(f, CONF, conf);
	assert_int_equal(settings_load(&f->root, &s), 0);
	r = b(&rc, &out, &why);
	*text = sb_steal(&out);
	return r;
}

static void assert_says(const struct fixture *f, const char *conf, builder *b, int says)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(build(f, conf, b, &text), says);
}

static void assert_has(const struct fixture *f, const char *conf, builder *b, const char *part,
		       int there)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(build(f, conf, b, &text), BUILD_OK);
	if ((strstr(text, part) != NULL) != there)
		fail_msg("%s: \"%s\" in\n%s", there ? "no" : "unexpected", part, text);
}

static void a_secret_that_cannot_be_read_is_said(void **state)
{
	static const struct {
		const char *file;
		builder *builds[3];
	} cases[] = {
		{ SECRETS_DIR "/vmm-token/x", { build_front_tokens } },
		{ SECRETS_DIR "/vmm-internal-token/x", { build_front, build_vmm_toml } },
		{ SECRETS_DIR "/pccs-admin-token/x", { build_pccs_json } },
		{ SECRETS_DIR "/pccs-user-token/x", { build_pccs_json } },
		{ SECRETS_DIR "/pccs-api-key/x", { build_pccs_json } },
		{ CERT_CA_KEY "/x", { build_front_cert, build_pccs_cert } },
		{ "/etc/resolv.conf/x", { build_guard } },
	};
	const struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_text(f, cases[i].file, "");
		for (int b = 0; cases[i].builds[b]; b++)
			assert_says(f, "DOMAIN=example.org\n", cases[i].builds[b], -EISDIR);
	}
}

static void without_a_token_nobody_gets_in(void **state)
{
	assert_has(*state, "", build_front_tokens, "admin", 0);
	assert_has(*state, "", build_front, "set-header Authorization", 0);
	assert_has(*state, "", build_pccs_json, "TokenHash", 0);
}

static void addresses_that_are_none_are_left_out(void **state)
{
	const struct fixture *f = *state;
	static const char kp[] = "AESMD_IMAGE=a\nKEY_PROVIDER_IMAGE=b\nKEY_PROVIDER_ADDRESS=x\n";

	assert_says(f, "VMM_ADDRESS=x\n", build_front, -EINVAL);
	assert_has(f, "DOMAIN=example.org\nREGISTRY_LISTEN=x\n", build_front, "frontend registry", 0);
	assert_has(f, "DOMAIN=example.org\nREGISTRY_LISTEN=x\n", build_guard, "443", 0);
	assert_has(f, "KEY_PROVIDER_ADDRESS=x\n", build_vmm_toml, "[key_provider]", 0);
	assert_has(f, "VMM_PORT_RANGES=x\n", build_vmm_toml, "range", 0);
	assert_has(f, "GUEST_PCCS_URL=x\n", build_guard, "8081", 0);
	assert_has(f, "ETH_RPC_URLS=x\n", build_guard, "dport 80 ", 0);
	assert_says(f, kp, build_key_provider, BUILD_WAITS);
	assert_says(f, "AESMD_IMAGE=a\n", build_key_provider, BUILD_WAITS);
	assert_says(f, "KEY_PROVIDER_IMAGE=b\n", build_key_provider, BUILD_WAITS);
}

static void addresses_of_ipv6_are_in_brackets(void **state)
{
	static const char kp[] = "AESMD_IMAGE=a\nKEY_PROVIDER_IMAGE=b\nKEY_PROVIDER_ADDRESS=[::1]:3443\n";
	const struct fixture *f = *state;

	assert_has(f, "VMM_ADDRESS=[::1]:80\n", build_front, "bind [::1]:80 proto h1", 1);
	assert_has(f, "VMM_ADDRESS=[::1]:80\n", build_front, " [::1]:80 [::1]\n", 1);
	assert_has(f, "DOMAIN=example.org\nREGISTRY_LISTEN=[::1]:5000\n", build_front,
		   "bind [::1]:5000 ssl", 1);
	assert_has(f, "DOMAIN=example.org\nREGISTRY_LISTEN=[2001:db8::1]:5000\n", build_guard,
		   "\t\tip6 daddr 2001:db8::1 tcp dport 5000 accept\n", 1);
	assert_has(f, "DOMAIN=example.org\nREGISTRY_LISTEN=[::]:5000\n", build_guard,
		   "\t\ttcp dport 5000 accept\n", 1);
	assert_has(f, "DOMAIN=example.org\nREGISTRY_LISTEN=0.0.0.0:5000\n", build_guard,
		   "\t\ttcp dport 5000 accept\n", 1);
	assert_has(f, kp, build_key_provider, "\"[::1]:3443:3443\"", 1);
	assert_has(f, kp, build_vmm_toml, "address = \"::1\"\nport = 3443\n", 1);
}

static void a_chain_on_this_host_is_let_through(void **state)
{
	const struct fixture *f = *state;

	assert_has(f, "ETH_RPC_URLS=http://10.0.2.2:8545\n", build_guard,
		   "ip6 daddr ::1 tcp dport 8545 accept\n", 1);
	assert_has(f, "ETH_RPC_URLS=http://localhost:8545\n", build_guard,
		   "ip daddr 127.0.0.0/8 tcp dport 8545 accept\n", 1);
	assert_has(f, "ETH_RPC_URLS=http://rpc.example.org:8545\n", build_guard, "8545", 0);
}

static void what_the_guard_finds_on_the_system(void **state)
{
	const struct fixture *f = *state;
	_cleanup_strbuf_ struct strbuf many = { 0 };

	put_text(f, "/sys/fs/cgroup/unified/cgroup.controllers", "");
	assert_has(f, "", build_guard, "level 1 \"unified/", 1);
	put_text(f, "/sys/fs/cgroup/cgroup.controllers", "");
	assert_has(f, "", build_guard, "unified/", 0);
	put_text(f, "/sys/class/net/eth0/x", "");
	assert_has(f, "", build_guard, "oifname \"br-*\" goto refuse\n", 1);
	put_text(f, "/sys/class/net/br-0123456789abc/x", ""); /* one digit too many */
	put_text(f, "/sys/class/net/br-0123456789abz/x", "");
	put_text(f, "/sys/class/net/br-a\"b/x", "");
	put_text(f, "/sys/class/net/br-ex/x", "");
	assert_has(f, "", build_guard, "oifname != { \"br-0123456789abc\", \"br-0123456789abz\", \"br-ex\" } goto refuse\n", 1);
	sb_add(&many, "nameserver\nnameserverx 192.0.2.99\n");
	for (int i = 1; i <= 17; i++)
		sb_addf(&many, "nameserver 192.0.2.%d\n", i);
	put(f, "/etc/resolv.conf", many.data, many.len);
	assert_has(f, "", build_guard, "192.0.2.16 ", 1);
	assert_has(f, "", build_guard, "192.0.2.17 ", 0);
	assert_has(f, "", build_guard, "192.0.2.99 ", 0);
}

static void what_would_end_a_loader_is_refused(void **state)
{
	const struct fixture *f = *state;

	assert_says(f, KMS_CONF "ETH_RPC_URLS=https://rpc.example.org/#x\n", build_kms_env, -EINVAL);
	assert_says(f, KMS_CONF "ETH_RPC_URLS=https://rpc.example.org/x\n", build_kms_env, BUILD_OK);
	assert_says(f, KMS_CONF "ETH_RPC_URLS=https://rpc.example.org/\nKMS_NAME=\xff\n",
		    build_kms_app_compose, -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(a_secret_that_cannot_be_read_is_said),
		with_root(without_a_token_nobody_gets_in),
		with_root(addresses_that_are_none_are_left_out),
		with_root(addresses_of_ipv6_are_in_brackets),
		with_root(a_chain_on_this_host_is_let_through),
		with_root(what_the_guard_finds_on_the_system),
		with_root(what_would_end_a_loader_is_refused),
	};

	return cmocka_run_group_tests_name("render-odd", tests, NULL, NULL);
}
