// SPDX-License-Identifier: Apache-2.0
/* Every type of value: what is taken and what is refused. */
#include "test.h"

#include "base/keccak.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "host/conf/keys.h"

struct sample {
	const char *(*check)(const char *);
	const char *good[12];
	const char *bad[20];
};

static const struct sample samples[] = {
	{ check_domain,
	  { "example.org", "a.b", "xn--bcher-kva.example", "h-1.EXAMPLE.org", "a.b1", "a.b-1" },
	  { "", "localhost", "has space.org", "-a.org", "a-.org", "a..b", ".a.b", "a.b.", "a_b.org",
	    "1.2.3.4", "*.a.org", "a/b.org",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.org" } },
	{ check_ip, { "192.0.2.7", "::1" }, { "", "256.1.1.1", "1.2.3", "host", "1.2.3.4:5" } },
	{ check_port, { "1", "65535" }, { "", "0", "65536", "70000", "080", "+1", "1e3", " 1", "-1",
			    "99999999999999999999" } },
	{ check_hostport,
	  { "127.0.0.1:9080", "[::1]:9080" },
	  { "", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "host:1", "::1:80", "[::1]", ":80",
	    "[]:80", "[::1x:80", "[127.0.0.1]:80", "1111:2222:3333" } },
	{ check_path,
	  { "/var/lib/dstack/vm", "/a" },
	  { "", "/", "relative", "/a/../b", "/a/..", "//a", "/a b", "/a\nb" } },
	{ check_vsock_cid,
	  { "vsock:2", "vsock:0xffffffff" },
	  { "", "vsock:", "vsock:x", "vsock:2:4050", "vsock:4294967296", "2", "vsock:2x",
	    "vsock:1111111111111111" } },
	{ check_qgs_address,
	  { "vsock:2:4050", "unix:/run/qgs.socket" },
	  { "", "vsock:2", "vsock:2:0", "unix:relative", "tcp:1:2" } },
	{ check_port_ranges,
	  { "tcp:9101-9999", "tcp:1-2 udp:9200-9299", "tcp:5-5", "udp:7" },
	  { "", " ", "tcp:9-1", "sctp:1-2", "tcp:0-5", "tcp:1-70000", "tcp:1-", "9101-9999",
	    "tcp:12345678-9" } },
	{ check_url,
	  { "https://localhost:8081/sgx/certification/v4/", "http://10.0.2.2", "https://[::1]:8/x",
	    "https://user:pw@host.example/", "https://[::1]", "https://[::1]/x" },
	  { "", "htp://x.org", "file:///etc/passwd", "https://", "https://a b.org", "https://x.org:0",
	    "https://x.org#f", "https://exa_mple.org", "https://[::1", "https://[::1]x",
	    "https://[]", "https://x.org:12345678", "https://[x.org]", "https://[127.0.0.1]:1" } },
	{ check_https_list,
	  { "", "https://kms.example.org:443", "https://a.example.org https://b.example.org:1",
	    "https://10.0.0.1", "https://[2001:db8::1]" },
	  { "http://kms.example.org", "https://127.0.0.1:9103", "https://localhost",
	    "https://[::1]", "htp://kms.example.org" } },
	{ check_eth_address,
	  /* of EIP-55 itself */
	  { "0xe6c23bfE4686E28DcDA15A1996B1c0C549656E26",
	    "0x52908400098527886E0F7030069857D2E4169EE7",
	    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
	    "0xde709f2102306220921060314715629080e2fb77",
	    "0x27b1fdb04752bbc536007a920d24acb045561c26",
	    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
	    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
	    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
	    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
	    /* without a checksum */
	    "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
	    "0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED" },
	  { "", "0xe6c23bfE4686E28DcDA15A1996B1c0C549656E2", "e6c23bfE4686E28DcDA15A1996B1c0C549656E26",
	    "0xe6c23bfE4686E28DcDA15A1996B1c0C549656E2g",
	    "0x0000000000000000000000000000000000000000",
	    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
	    "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
	    "0x5aAeb6053F3E94C9b9A09f33669435E8Ef1BeAed" } },
	{ check_version, { "0.5.5", "0.6.0-dev" }, { "", "v0.5.5", "0..5", "0.5/5", "../x" } },
	{ check_name, { "kms", "kms-fixed2", "a_b" }, { "", "a b", "a.b", "a/b" } },
	{ check_image_digest_ref,
	  { "r.example.org/kms@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
	  { "", "r.example.org/kms:latest", "kms@sha256:0123", "a b@sha256:00",
	    "kms@sha256:g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" } },
};

static void samples_hold(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		for (size_t j = 0; j < 12 && samples[i].good[j]; j++)
			if (samples[i].check(samples[i].good[j]))
				fail_msg("refused: \"%s\": %s", samples[i].good[j],
					 samples[i].check(samples[i].good[j]));
		for (size_t j = 0; j < 20 && samples[i].bad[j]; j++)
			if (!samples[i].check(samples[i].bad[j]))
				fail_msg("taken: \"%s\"", samples[i].bad[j]);
	}
}

/* One more than what there is room for, and one less. */
static void long_values_are_refused(void **state _unused_)
{
	static const struct {
		const char *(*check)(const char *);
		const char *before, *repeated, *after;
		size_t most; /* in all */
	} cases[] = {
		{ check_domain, "", "a.", "a", 253 },
		{ check_image_ref, "", "aa", "", 512 },
		{ check_name, "", "aa", "", 64 },
		{ check_version, "0", "1", "", 32 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_strbuf_ struct strbuf sb = { 0 };

		sb_add(&sb, cases[i].before);
		while (sb.len + strlen(cases[i].repeated) + strlen(cases[i].after) <= cases[i].most)
			sb_add(&sb, cases[i].repeated);
		sb_add(&sb, cases[i].after);
		assert_int_equal(sb.len, cases[i].most);
		assert_null(cases[i].check(sb.data));
		sb_addc(&sb, 'a');
		assert_non_null(cases[i].check(sb.data));
	}
}

static void a_host_has_to_fit(void **state _unused_)
{
	char text[400];
	struct hostport hp;
	struct url u;

	memset(text, 'a', sizeof(text));
	memcpy(text, "https://", 8);
	strcpy(text + sizeof(text) - 4, ":80");
	assert_non_null(parse_url(text, &u));
	assert_non_null(parse_hostport(text + 8, &hp));
}

/* Around the sponge's rate of 136 bytes; from another implementation (tests/sim compares the
 * simulated chain's with recordings). */
static void keccak_of_all_lengths(void **state _unused_)
{
	static const struct {
		size_t len;
		const char *hex;
	} cases[] = {
		{ 0, "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470" },
		{ 1, "3ac225168df54212a25c1c01fd35bebfea408fdac2e31ddd6f80a4bbf9a5f1cb" },
		{ 135, "34367dc248bbd832f4e3e69dfaac2f92638bd0bbd18f2912ba4ef454919cf446" },
		{ 136, "a6c4d403279fe3e0af03729caada8374b5ca54d8065329a3ebcaeb4b60aa386e" },
		{ 137, "d869f639c7046b4929fc92a4d988a8b22c55fbadb802c0c66ebcd484f1915f39" },
		{ 272, "cf7fcd4f705ee749930d19ca84561a9bf62516bd90a471545fa2f49fdc7e63c8" },
		{ 500, "459d4d3dec1737165314cd15cafa5da1b779b796156dcb87415ee2ddc1dd417e" },
	};
	char text[512];

	memset(text, 'a', sizeof(text));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned char hash[KECCAK256_LEN];
		char hex[2 * KECCAK256_LEN + 1];

		keccak256(text, cases[i].len, hash);
		for (size_t j = 0; j < KECCAK256_LEN; j++)
			snprintf(hex + 2 * j, 3, "%02x", hash[j]);
		assert_string_equal(hex, cases[i].hex);
	}
}

static void mistyped_digit_is_named(void **state _unused_)
{
	assert_string_equal(check_eth_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"),
			    "checksum of the address is wrong: a digit may be mistyped");
}

static void url_parts(void **state)
{
	struct url u;

	(void)state;
	assert_null(parse_url("https://user:pw@[2001:db8::1]:8443/v2/key", &u));
	assert_string_equal(u.host, "2001:db8::1");
	assert_int_equal(u.port, 8443);
	assert_true(u.has_user);
	assert_string_equal(u.path, "/v2/key");
	assert_null(parse_url("http://a.example", &u));
	assert_int_equal(u.port, 80);
	assert_string_equal(u.path, "");
}

/* No value of any key may carry what a reader of the rendered files could take for more. */
static void no_key_takes_metacharacters(void **state)
{
	static const char *const nasty[] = { "a\nb", "a\"b", "a'b", "a\\b", "a$b", "a`b", "a\tb",
					     "caf\xc3\xa9", " a", "a " };

	(void)state;
	for (int id = 0; id < KEY_COUNT; id++)
		for (size_t i = 0; i < ARRAY_SIZE(nasty); i++)
			if (!key_check((enum key_id)id, nasty[i]))
				fail_msg("%s takes \"%s\"", keys[id].name, nasty[i]);
}

static void fallbacks_are_good(void **state)
{
	(void)state;
	for (int id = 0; id < KEY_COUNT; id++)
		if (keys[id].fallback && key_check((enum key_id)id, keys[id].fallback))
			fail_msg("%s: %s", keys[id].name, keys[id].fallback);
}

static void hints_at_a_near_name(void **state)
{
	static const char *const cases[][2] = {
		{ "DOMAN", "did you mean DOMAIN?" },
		{ "pccs_prt", "did you mean PCCS_PORT?" },
		{ "KMS_CONTRAKT", "did you mean KMS_CONTRACT?" },
		{ "FOO", "`dstack-host config list` shows all that there are" },
		{ "", "`dstack-host config list` shows all that there are" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *hint = key_hint(cases[i][0]);

		assert_string_equal(hint, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_hold),
		cmocka_unit_test(long_values_are_refused),
		cmocka_unit_test(a_host_has_to_fit),
		cmocka_unit_test(keccak_of_all_lengths),
		cmocka_unit_test(mistyped_digit_is_named),
		cmocka_unit_test(url_parts),
		cmocka_unit_test(no_key_takes_metacharacters),
		cmocka_unit_test(fallbacks_are_good),
		cmocka_unit_test(hints_at_a_near_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
