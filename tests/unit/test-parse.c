// SPDX-License-Identifier: Apache-2.0
/* Every type of value: what is taken and what is refused. */
#include "test.h"

#include "base/parse.h"
#include "host/keys.h"

struct sample {
	const char *(*check)(const char *);
	const char *good[10];
	const char *bad[20];
};

static const struct sample samples[] = {
	{ check_domain,
	  { "example.org", "a.b", "xn--bcher-kva.example", "h-1.EXAMPLE.org" },
	  { "", "localhost", "has space.org", "-a.org", "a-.org", "a..b", ".a.b", "a.b.", "a_b.org",
	    "1.2.3.4", "*.a.org", "a/b.org",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.org" } },
	{ check_ip, { "192.0.2.7", "::1" }, { "", "256.1.1.1", "1.2.3", "host", "1.2.3.4:5" } },
	{ check_port, { "1", "65535" }, { "", "0", "65536", "70000", "080", "+1", "1e3", " 1", "-1" } },
	{ check_hostport,
	  { "127.0.0.1:9080", "[::1]:9080" },
	  { "", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "host:1", "::1:80", "[::1]", ":80" } },
	{ check_path,
	  { "/var/lib/dstack/vm", "/a" },
	  { "", "/", "relative", "/a/../b", "/a/..", "//a", "/a b", "/a\nb" } },
	{ check_vsock_cid,
	  { "vsock:2", "vsock:0xffffffff" },
	  { "", "vsock:", "vsock:x", "vsock:2:4050", "vsock:4294967296", "2" } },
	{ check_qgs_address,
	  { "vsock:2:4050", "unix:/run/qgs.socket" },
	  { "", "vsock:2", "vsock:2:0", "unix:relative", "tcp:1:2" } },
	{ check_port_ranges,
	  { "tcp:9101-9999", "tcp:1-2 udp:9200-9299", "tcp:5-5", "udp:7" },
	  { "", " ", "tcp:9-1", "sctp:1-2", "tcp:0-5", "tcp:1-70000", "tcp:1-", "9101-9999" } },
	{ check_url,
	  { "https://localhost:8081/sgx/certification/v4/", "http://10.0.2.2", "https://[::1]:8/x",
	    "https://user:pw@host.example/" },
	  { "", "htp://x.org", "file:///etc/passwd", "https://", "https://a b.org", "https://x.org:0",
	    "https://x.org#f", "https://exa_mple.org" } },
	{ check_https_list,
	  { "", "https://kms.example.org:443", "https://a.example.org https://b.example.org:1" },
	  { "http://kms.example.org", "https://127.0.0.1:9103", "https://localhost" } },
	{ check_eth_address,
	  { "0xe6c23bfE4686E28DcDA15A1996B1c0C549656E26" },
	  { "", "0xe6c23bfE4686E28DcDA15A1996B1c0C549656E2", "e6c23bfE4686E28DcDA15A1996B1c0C549656E26",
	    "0xe6c23bfE4686E28DcDA15A1996B1c0C549656E2g",
	    "0x0000000000000000000000000000000000000000" } },
	{ check_version, { "0.5.5", "0.6.0-dev" }, { "", "v0.5.5", "0..5", "0.5/5", "../x" } },
	{ check_name, { "kms", "kms-fixed2", "a_b" }, { "", "a b", "a.b", "a/b" } },
	{ check_image_digest_ref,
	  { "r.example.org/kms@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
	  { "", "r.example.org/kms:latest", "kms@sha256:0123", "a b@sha256:00" } },
};

static void samples_hold(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		for (size_t j = 0; j < 10 && samples[i].good[j]; j++)
			if (samples[i].check(samples[i].good[j]))
				fail_msg("refused: \"%s\": %s", samples[i].good[j],
					 samples[i].check(samples[i].good[j]));
		for (size_t j = 0; j < 20 && samples[i].bad[j]; j++)
			if (!samples[i].check(samples[i].bad[j]))
				fail_msg("taken: \"%s\"", samples[i].bad[j]);
	}
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

static void nearest_name(void **state)
{
	(void)state;
	assert_string_equal(key_nearest("DOMAN"), "DOMAIN");
	assert_string_equal(key_nearest("pccs_prt"), "PCCS_PORT");
	assert_string_equal(key_nearest("KMS_CONTRAKT"), "KMS_CONTRACT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_hold),
		cmocka_unit_test(url_parts),
		cmocka_unit_test(no_key_takes_metacharacters),
		cmocka_unit_test(fallbacks_are_good),
		cmocka_unit_test(nearest_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
