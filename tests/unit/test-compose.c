// SPDX-License-Identifier: Apache-2.0
/* app-compose.json and CreateVm, byte for byte against what upstream's CLI wrote. */
#include "test.h"

#include <errno.h>

#include "base/alloc.h"
#include "host/compose.h"
#include "host/pyjson.h"

#define VECTORS "tests/data/vectors/"

/* A file of the test data, the caller's; the tests run at the top of the source tree. */
static char *load(const char *name)
{
	char path[256];
	char *data = xcalloc(1, 65536);
	FILE *fp;

	snprintf(path, sizeof(path), VECTORS "%s", name);
	fp = fopen(path, "r");
	if (!fp)
		fail_msg("%s is not there: run the tests at the top of the tree", path);
	assert_true(fread(data, 1, 65535, fp) > 0);
	fclose(fp);
	return data;
}

static void the_reference_compose(void **state _unused_)
{
	_cleanup_free_ char *yaml = load("seed-kms-docker-compose.yaml");
	_cleanup_free_ char *want = load("v055-app-compose.json"), *text = NULL;
	const struct app_compose app = { .name = "kms-fixed2", .docker_compose = yaml,
					 .docker_compose_len = strlen(yaml),
					 .local_key_provider = 1 };
	char hash[SHA256_HEX + 1];

	assert_int_equal(app_compose_text(&app, &text), 0);
	assert_string_equal(text, want);
	compose_hash(text, hash);
	assert_string_equal(hash,
			    "e96455a0250e4332ba4265a06d9715875cad24e9b5cecf7ff9e5095ab5ccc208");
}

static void every_flag(void **state _unused_)
{
	static char a[] = "A", b[] = "B", c[] = "C", script[] = "echo \"pr\xc3\xa9\"\n";
	_cleanup_free_ char *yaml = load("dc2.yaml");
	_cleanup_free_ char *want = load("v055-allflags.json"), *text = NULL;
	char *envs[] = { a, b, c };
	const struct app_compose app = {
		.name = "n\"1",
		.docker_compose = yaml,
		.docker_compose_len = strlen(yaml),
		.kms = 1,
		.gateway = 1,
		.local_key_provider = 1,
		.key_provider_id = "00ff",
		.public_logs = 1,
		.public_sysinfo = 1,
		.allowed_envs = envs,
		.n_allowed_envs = 3,
		.no_instance_id = 1,
		.secure_time = 1,
		.prelaunch_script = script,
		.prelaunch_script_len = sizeof(script) - 1,
		.swap_bytes = 4096ull << 20,
	};

	assert_int_equal(app_compose_text(&app, &text), 0);
	assert_string_equal(text, want);
}

/* The text of one string as json.dumps() gives it. */
static void strings_are_pythons(void **state _unused_)
{
	static const struct {
		const char *in, *raw, *ascii;
	} cases[] = {
		{ "", "\"\"", "\"\"" },
		{ "a/b", "\"a/b\"", "\"a/b\"" },
		{ "\"\\", "\"\\\"\\\\\"", "\"\\\"\\\\\"" },
		{ "\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"", "\"\\b\\f\\n\\r\\t\"" },
		/* Lower case, where jansson writes \u001F. */
		{ "\x1f\x01\x1b[0m", "\"\\u001f\\u0001\\u001b[0m\"",
		  "\"\\u001f\\u0001\\u001b[0m\"" },
		/* A backslash before what looks like an escape. */
		{ "\\u001F", "\"\\\\u001F\"", "\"\\\\u001F\"" },
		{ "\x7f", "\"\x7f\"", "\"\\u007f\"" },
		{ "\xc3\xa9\xe4\xb8\xad", "\"\xc3\xa9\xe4\xb8\xad\"", "\"\\u00e9\\u4e2d\"" },
		{ "\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00\"" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_strbuf_ struct strbuf raw = { 0 }, ascii = { 0 };

		pyjson_string(&raw, cases[i].in, strlen(cases[i].in), 0);
		pyjson_string(&ascii, cases[i].in, strlen(cases[i].in), 1);
		assert_string_equal(raw.data, cases[i].raw);
		assert_string_equal(ascii.data, cases[i].ascii);
	}
}

static void unfit_text_is_one_clear_complaint(void **state _unused_)
{
	static const struct {
		const char *yaml;
		size_t len;
		const char *says;
	} cases[] = {
		{ "a\0b", 3, "holds a NUL byte" },    { "a\xff", 2, "is not UTF-8 text" },
		{ "\xc0\xaf", 2, "is not UTF-8 text" }, { "\xed\xa0\x80", 3, "is not UTF-8 text" },
		{ "\xc3", 1, "is not UTF-8 text" },   { "\xf4\x90\x80\x80", 4, "is not UTF-8 text" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct app_compose app = { .name = "n", .docker_compose = cases[i].yaml,
						 .docker_compose_len = cases[i].len };
		const char *what = NULL;
		char *text = NULL;

		assert_string_equal(app_compose_unfit(&app, &what), cases[i].says);
		assert_string_equal(what, "docker-compose");
		assert_int_equal(app_compose_text(&app, &text), -EINVAL);
		assert_null(text);
	}
}

static void createvm_of(const char *want_name, int has_no_tee)
{
	_cleanup_free_ char *compose = load("v055-app-compose.json");
	_cleanup_free_ char *want = load(want_name), *body = NULL;
	const struct create_vm vm = {
		.name = "kms-fixed2",
		.image = "dstack-0.5.5",
		.compose_text = compose,
		.vcpu = 2,
		.memory_mb = 4096,
		.disk_gb = 20,
		.host_address = "127.0.0.1",
		.host_port = 9103,
		.vm_port = 9100,
		.has_no_tee = has_no_tee,
	};

	assert_int_equal(create_vm_body(&vm, &body), 0);
	assert_string_equal(body, want);
}

static void the_createvm_call(void **state _unused_)
{
	createvm_of("v055-createvm.json", 0);
	createvm_of("v0511-createvm.json", 1);
}

static void sizes_are_vmm_clis(void **state _unused_)
{
	static const struct {
		const char *in;
		long long mb; /* -1: refused */
	} cases[] = {
		{ "512", 512 },	 { "4G", 4096 },    { "4g", 4096 }, { "4GB", 4096 },
		{ "1.5G", 1536 }, { "1T", 1 << 20 }, { "0.5T", 1 << 19 }, { "8M", 8 },
		{ "8MB", 8 },	 { "0", 0 },	    { "1.0", 1 },   { "", -1 },
		{ "G", -1 },	 { "4 G", -1 },	    { "4GiB", -1 }, { "4K", -1 },
		{ "-4G", -1 },	 { "4.G", -1 },	    { ".5G", -1 },  { "0x10", -1 },
		{ "1e3", -1 },	 { "4GX", -1 },	    { "4BG", -1 },  { "1.5", -1 },
		{ "nan", -1 },	 { "99999999999999999999T", -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t v = 0;

		if (parse_memory_size(cases[i].in, &v))
			v = (uint64_t)-1;
		if ((long long)v != cases[i].mb)
			print_error("memory %s\n", cases[i].in);
		assert_int_equal(v, (uint64_t)cases[i].mb);
	}
}

static void env_files_give_their_keys(void **state _unused_)
{
	static const char *const want[] = { "A", "B", "D", "" };
	char **keys;
	size_t n;

	env_file_keys("A=1\n# C=3\n  B = two = 2 \r\n\nnothing\nA=again\rD=\x1c\n=e\n", &keys,
		      &n);
	assert_int_equal(n, 4);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(keys[i], want[i]);
		free(keys[i]);
	}
	free(keys);
	env_file_keys("", &keys, &n);
	assert_int_equal(n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_reference_compose),
		cmocka_unit_test(every_flag),
		cmocka_unit_test(strings_are_pythons),
		cmocka_unit_test(unfit_text_is_one_clear_complaint),
		cmocka_unit_test(the_createvm_call),
		cmocka_unit_test(sizes_are_vmm_clis),
		cmocka_unit_test(env_files_give_their_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
