// SPDX-License-Identifier: Apache-2.0
/* host.conf: reading, complaints with file and line, layers, edits, import. */
#include "test.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/conf/import.h"
#include "host/conf/settings.h"

#define CONF "/etc/dstack/host.conf"

/* All complaints about `text`, one a line, in a static buffer. */
static const char *complaints(const struct fixture *f, const char *text, size_t len)
{
	static char all[8192];
	struct settings s;

	put(f, CONF, text, len);
	assert_int_equal(settings_load(&f->root, &s), 0);
	all[0] = '\0';
	for (size_t i = 0; i < s.diag.n; i++) {
		char *line = diag_format(&s.diag.items[i]);

		assert_int_equal(strncmp(line, f->dir, strlen(f->dir)), 0);
		strncat(all, line + strlen(f->dir), sizeof(all) - strlen(all) - 2);
		strcat(all, "\n");
		free(line);
	}
	settings_free(&s);
	return all;
}

static void wrong_input_is_named_with_line(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "DOMAIN=a b\n", CONF ":1: DOMAIN: not a domain name (like example.org): \"a b\"\n" },
		{ "# c\n\nPCCS_PORT=70000", CONF ":3: PCCS_PORT: not a port (1-65535): \"70000\"\n" },
		{ "D\xc3\xa9 =x\n", CONF ":1: D???: unknown key; `dstack-host config list` shows all that there are\n" },
		{ "DOMAN=x\n", CONF ":1: DOMAN: unknown key; did you mean DOMAIN?\n" },
		{ "DOMAIN=a.b\nDOMAIN=c.d\n", CONF ":2: DOMAIN: set twice, first on line 1\n" },
		{ "just text\n", CONF ":1: not KEY=value\n" },
		{ "VMM_CID_START=4294967000\nVMM_CID_POOL_SIZE=1000\n",
		  CONF ":2: VMM_CID_POOL_SIZE: pool ends beyond the last CID: \"1000\"\n" },
		{ "VMM_PORT_RANGES=tcp:8000-9999\n",
		  CONF ":1: VMM_PORT_RANGES: covers port 9080 of this host (VMM_ADDRESS): "
		       "\"tcp:8000-9999\"\n" CONF ":1: VMM_PORT_RANGES: covers port 8081 of this "
		       "host (PCCS_PORT): \"tcp:8000-9999\"\n" CONF ":1: VMM_PORT_RANGES: covers "
		       "port 9100 (node exporter): \"tcp:8000-9999\"\n" },
		{ "KMS_PORT=8443\n",
		  CONF ":1: KMS_PORT: not in a tcp range of VMM_PORT_RANGES: \"8443\"\n" },
		{ "VMM_KMS_URL=https://127.0.0.1:8081\n",
		  CONF ":1: VMM_KMS_URL: that is the PCCS: \"https://127.0.0.1:8081\"\n" },
		{ "VMM_ADDRESS=0.0.0.0:9080\n",
		  CONF ":1: VMM_ADDRESS: must be a loopback address: \"0.0.0.0:9080\"\n" },
		{ "PCCS_PORT=9080\n", CONF ":1: PCCS_PORT: same port as VMM_ADDRESS: \"9080\"\n" },
		{ "PCS_URL=https://sbx.example/sgx/certification/\n",
		  CONF ":1: PCS_URL: does not end in /v4/: "
		       "\"https://sbx.example/sgx/certification/\"\n" },
		{ "PCS_URL=ftp://sbx.example/v4/\n",
		  CONF ":1: PCS_URL: not a URL (http:// or https://): \"ftp://sbx.example/v4/\"\n" },
		{ "KMS_LAYOUT=mine\n",
		  CONF ":1: KMS_LAYOUT: not one of: reference upstream: \"mine\"\n" },
		{ "KMS_CONTRACT=0x123\nPCCS_FILL_MODE=lazy\n",
		  CONF ":1: KMS_CONTRACT: not an Ethereum address (0x and 40 hexadecimal digits): "
		       "\"0x123\"\n" CONF ":2: PCCS_FILL_MODE: not one of: LAZY REQ OFFLINE: "
		       "\"lazy\"\n" },
		/* credentials are never repeated */
		{ "ETH_RPC_URLS=htp://u:secret@x\n",
		  CONF ":1: ETH_RPC_URLS: not a URL (http:// or https://): \"(not shown)\"\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(complaints(*state, cases[i].text, strlen(cases[i].text)),
				    cases[i].says);
}

static void nul_byte_and_size(void **state)
{
	char *big = malloc(10 << 20);

	assert_string_equal(complaints(*state, "A\nDOMAIN=a.b\0.c\n", 16),
			    CONF ":2: holds a NUL byte\n");
	memset(big, '#', 10 << 20);
	assert_string_equal(complaints(*state, big, 10 << 20),
			    CONF ": larger than 256 KiB: not a configuration\n");
	free(big);
}

/* What could not be read whole must not be written over with the part that could. */
static void unreadable_file_is_never_written_over(void **state)
{
	static const char text[] = "DOMAIN=a.example\n\0KMS_NAME=x\n";
	struct fixture *f = *state;
	struct import im;

	put(f, CONF, text, sizeof(text) - 1);
	assert_int_equal(import_begin(&f->root, &im), 0);
	import_word(&im, "PCCS_PORT=8082");
	assert_int_equal(import_commit_all(&f->root, &im), -EINVAL);
	import_free(&im);
	assert_int_equal(import_begin(&f->root, &im), 0);
	assert_int_equal(import_answers(&f->root, &im, "domain=b.example", 16), 0);
	assert_int_equal(im.diag.n, 1);
	import_free(&im);
	assert_memory_equal(get(f, CONF), text, sizeof(text) - 1);
}

/* A secret alone does not make a host configured. */
static void secret_makes_no_host_conf(void **state)
{
	struct fixture *f = *state;
	struct import im;

	assert_int_equal(import_begin(&f->root, &im), 0);
	assert_int_equal(import_secret(&f->root, &im, SECRET_VMM_TOKEN, "0123456789abcdef"), 0);
	assert_true(import_commit_all(&f->root, &im) >= 0);
	import_free(&im);
	assert_null(get(f, CONF));
}

static void empty_secret_is_none(void **state)
{
	struct fixture *f = *state;
	char *value;

	put_text(f, "/etc/dstack/secrets/vmm-token", "\n");
	assert_int_equal(secret_read(&f->root, SECRET_VMM_TOKEN, &value), 0);
	assert_null(value);
	assert_int_equal(secrets_generate(&f->root), 0);
	assert_int_equal(strlen(get(f, "/etc/dstack/secrets/vmm-token")), 64);
}

static void only_readers_of_a_bad_key_are_bad(void **state)
{
	struct fixture *f = *state;
	struct settings s;

	put_text(f, CONF, "KMS_CONTRACT=1\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_int_equal(s.bad, FOR_KMS);
	settings_free(&s);
	put_text(f, CONF, "nonsense\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_true(s.bad & FOR_VMM && s.bad & FOR_PCCS);
	settings_free(&s);
}

static void layers(void **state)
{
	struct fixture *f = *state;
	struct settings s;

	put_text(f, "/usr/share/dstack-host/defaults.d/50-x.conf",
		 "CHAIN_ID=7\nKMS_NAME=supplied\n");
	put_text(f, "/proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n");
	put_text(f, "/proc/meminfo", "MemTotal:       1056964608 kB\n");
	put_text(f, CONF, "DOMAIN=example.org\nCHAIN_ID=1\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_int_equal(s.diag.n, 0);
	assert_string_equal(setting(&s, KEY_CHAIN_ID), "1");
	assert_int_equal(s.v[KEY_CHAIN_ID].source, SOURCE_FILE);
	assert_string_equal(setting(&s, KEY_KMS_NAME), "supplied");
	assert_int_equal(s.v[KEY_KMS_NAME].source, SOURCE_SUPPLIED);
	assert_string_equal(setting(&s, KEY_VMM_MAX_VCPU), "1");
	assert_int_equal(s.v[KEY_VMM_MAX_VCPU].source, SOURCE_DETECTED);
	/* reference host: total less 16 GiB */
	assert_string_equal(setting(&s, KEY_VMM_MAX_MEMORY_MB), "1015808");
	assert_string_equal(setting(&s, KEY_REGISTRY), "registry.example.org");
	assert_string_equal(setting(&s, KEY_GUEST_KMS_URLS), "https://kms.example.org:443");
	assert_false(setting_is_set(&s, KEY_KMS_CONTRACT));
	settings_free(&s);
}

static void small_machine(void **state)
{
	struct fixture *f = *state;
	struct settings s;

	put_text(f, "/proc/meminfo", "MemTotal:       8388608 kB\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	assert_string_equal(setting(&s, KEY_VMM_MAX_MEMORY_MB), "6144");
	settings_free(&s);
}

/* One `config set`: 0, FILE_UNCHANGED or -EINVAL. */
static int set(const struct fixture *f, const char *word)
{
	struct import im;
	int r;

	assert_int_equal(import_begin(&f->root, &im), 0);
	import_word(&im, word);
	r = import_commit_all(&f->root, &im);
	import_free(&im);
	return r;
}

static void edits_keep_comments_and_order(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "# mine\nPCCS_PORT=8082\n\n# domain\nDOMAIN=a.example");
	assert_int_equal(set(f, "PCCS_PORT=8083"), 0);
	assert_string_equal(get(f, CONF),
			    "# mine\nPCCS_PORT=8083\n\n# domain\nDOMAIN=a.example\n");
	assert_int_equal(set(f, "KMS_NAME=kms2"), 0);
	assert_string_equal(get(f, CONF), "# mine\nPCCS_PORT=8083\n\n# domain\nDOMAIN=a.example\n"
					  "KMS_NAME=kms2\n");
	assert_int_equal(set(f, "KMS_NAME=kms2"), FILE_UNCHANGED);
}

static void a_key_that_begins_like_another_is_another(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "DOMAIN\nDOMAINS=x\nDOMAIM=x\n");
	set(f, "DOMAIN=a.example");
	assert_string_equal(get(f, CONF), "DOMAIN\nDOMAINS=x\nDOMAIM=x\nDOMAIN=a.example\n");
}

static void wrong_set_changes_nothing(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "DOMAIN=a.example\n");
	assert_int_equal(set(f, "PCCS_PORT=70000"), -EINVAL);
	assert_int_equal(set(f, "PCCS_PORT=9080"), -EINVAL);
	assert_int_equal(set(f, "VMM_ADDRESS=127.0.0.1:8081"), -EINVAL);
	assert_int_equal(set(f, "NO_SUCH=1"), -EINVAL);
	assert_int_equal(set(f, "DOMAIN=x\ny"), -EINVAL);
	assert_string_equal(get(f, CONF), "DOMAIN=a.example\n");
}

/* Somebody who mends one of two errors must not be stopped by the other. */
static void one_error_can_be_mended_at_a_time(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "PCCS_PORT=0\nKMS_CONTRACT=1\n");
	assert_int_equal(set(f, "PCCS_PORT=8081"), 0);
	assert_string_equal(get(f, CONF), "PCCS_PORT=8081\nKMS_CONTRACT=1\n");
}

static void sealed_settings_stay(void **state)
{
	struct fixture *f = *state;

	put_text(f, CONF, "KMS_VCPU=2\n");
	put_text(f, "/var/lib/dstack/kms/deploy.json", "{}");
	assert_int_equal(set(f, "KMS_VCPU=4"), -EINVAL);
	assert_int_equal(set(f, "KMS_VCPU=2"), FILE_UNCHANGED);
	assert_int_equal(set(f, "PCCS_PORT=8082"), 0);
}

#define ANSWERS(text) answer(f, text, sizeof(text) - 1)

static void answer(const struct fixture *f, const char *text, size_t len)
{
	struct import im;

	assert_int_equal(import_begin(&f->root, &im), 0);
	assert_int_equal(import_answers(&f->root, &im, text, len), 0);
	import_free(&im);
}

static void answers_are_taken_one_by_one(void **state)
{
	struct fixture *f = *state;

	ANSWERS("domain=bad domain\0pccs-url=https://pccs.example.org/x/\0"
		"pccs-api-key=0123456789abcdef0123456789ABCDEF\0settings=CHAIN_ID=5 NOPE=1\0");
	assert_string_equal(get(f, CONF), "PCCS_URL=https://pccs.example.org/x/\nCHAIN_ID=5\n");
	assert_string_equal(get(f, "/etc/dstack/secrets/pccs-api-key"),
			    "0123456789abcdef0123456789ABCDEF");
	assert_non_null(strstr(get(f, REJECTED_PATH), "DOMAIN: "));
	assert_non_null(strstr(get(f, REJECTED_PATH), "unknown key \"NOPE\""));
	/* the reason goes when the key is set */
	assert_int_equal(set(f, "DOMAIN=good.example"), 0);
	assert_null(get(f, REJECTED_PATH));
}

static void line_break_does_not_become_a_setting(void **state)
{
	struct fixture *f = *state;

	ANSWERS("domain=a.example\nKMS_NAME=evil\0pccs-user-token=abc\nDOMAIN=x.example\0");
	assert_string_equal(get(f, CONF), "");
	assert_null(get(f, "/etc/dstack/secrets/pccs-user-token"));
	assert_null(strstr(get(f, REJECTED_PATH), "abc"));
}

static void empty_answer_unsets_but_keeps_secrets(void **state)
{
	struct fixture *f = *state;

	ANSWERS("domain=a.example\0public-address=192.0.2.1\0pccs-user-token=0123456789ab\0");
	ANSWERS("domain=a.example\0public-address=\0pccs-user-token=\0");
	assert_string_equal(get(f, CONF), "DOMAIN=a.example\n");
	assert_string_equal(get(f, "/etc/dstack/secrets/pccs-user-token"), "0123456789ab");
}

/* What debconf's teletype makes of a stdin that is /dev/null. */
static void nothing_but_empty_answers_unset_nothing(void **state)
{
	struct fixture *f = *state;

	ANSWERS("domain=a.example\0public-address=192.0.2.1\0");
	ANSWERS("domain=\0public-address=\0settings=\0");
	assert_non_null(strstr(get(f, CONF), "DOMAIN=a.example\n"));
	assert_non_null(strstr(get(f, CONF), "PUBLIC_ADDRESS=192.0.2.1\n"));
}

static void colliding_answer_goes_back(void **state)
{
	struct fixture *f = *state;

	ANSWERS("settings=PCCS_PORT=8082\0");
	ANSWERS("settings=PCCS_PORT=8082\0");
	ANSWERS("settings=VMM_ADDRESS=127.0.0.1:8082\0");
	assert_string_equal(get(f, CONF), "PCCS_PORT=8082\n");
	assert_non_null(strstr(get(f, REJECTED_PATH), "same port as VMM_ADDRESS"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(wrong_input_is_named_with_line),
		with_root(nul_byte_and_size),
		with_root(unreadable_file_is_never_written_over),
		with_root(secret_makes_no_host_conf),
		with_root(empty_secret_is_none),
		with_root(only_readers_of_a_bad_key_are_bad),
		with_root(layers),
		with_root(small_machine),
		with_root(edits_keep_comments_and_order),
		with_root(a_key_that_begins_like_another_is_another),
		with_root(wrong_set_changes_nothing),
		with_root(one_error_can_be_mended_at_a_time),
		with_root(sealed_settings_stay),
		with_root(answers_are_taken_one_by_one),
		with_root(line_break_does_not_become_a_setting),
		with_root(empty_answer_unsets_but_keeps_secrets),
		with_root(nothing_but_empty_answers_unset_nothing),
		with_root(colliding_answer_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
