// SPDX-License-Identifier: Apache-2.0
/* artifacts.json: the package's own, what operators add, what is wrong in it. */
#include "test.h"

#include <errno.h>

#include "host/image/image-manifest.h"

#define HEX "0b327bcd642788b0517de3ff46d31ebd3847b6c64ea40bacde268bb9f1c8ec83"
#define ITEM(version, more)                                                              \
	"{\"name\":\"dstack\",\"version\":\"" version "\",\"kind\":\"image\","           \
	"\"state\":\"supported\"," more "\"inside\":{\"digest\":\"" HEX "\"},"           \
	"\"urls\":[\"https://example.org/dstack-" version ".tar.gz\"]}"
#define LIST(items) "{\"artifacts\":[" items "]}"

static void reads_the_package_s_own(void **state _unused_)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	const struct artifact *a;
	char text[8192];
	FILE *fp = fopen("conf/artifacts.json", "r");
	size_t n;

	assert_non_null(fp);
	n = fread(text, 1, sizeof(text), fp);
	fclose(fp);
	manifest_read(&m, "conf/artifacts.json", text, n);
	assert_int_equal(m.diag.n, 0);
	a = must(manifest_find(&m, "0.5.5"));
	assert_ptr_equal(a, manifest_find(&m, "dstack-0.5.5"));
	assert_ptr_equal(a, manifest_find_file(&m, "dstack-0.5.5.tar.gz"));
	assert_string_equal(a->digest, HEX);
	assert_string_equal(artifact_state_name(a->state), "reference");
}

static void operators_add_and_win(void **state)
{
	struct fixture *f = *state;
	_cleanup_manifest_ struct manifest m = { 0 };

	assert_int_equal(manifest_load(&f->root, &m), 0);
	assert_int_equal(m.n, 0);
	put_text(f, ARTIFACTS_FILE, LIST(ITEM("0.5.5", "\"size\":7,") "," ITEM("0.5.6", "")));
	put_text(f, ARTIFACTS_DIR "/b.json", LIST(ITEM("0.5.5", "\"size\":9,")));
	put_text(f, ARTIFACTS_DIR "/a.json", LIST(ITEM("0.5.5", "\"size\":8,")));
	put_text(f, ARTIFACTS_DIR "/.b.json", "not read");
	put_text(f, ARTIFACTS_DIR "/c.json~", "not read");
	assert_int_equal(manifest_load(&f->root, &m), 0);
	assert_int_equal(m.diag.n, 0);
	assert_int_equal(m.n, 2);
	assert_int_equal(must(manifest_find(&m, "0.5.5"))->size, 9);
	assert_null(manifest_find(&m, "0.5.7"));
}

static void wrong(const char *text, const char *why)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	_cleanup_free_ char *said = NULL;

	manifest_read(&m, "x.json", text, strlen(text));
	assert_int_equal(m.n, 0);
	assert_int_equal(m.diag.n, 1);
	said = diag_format(&m.diag.items[0]);
	if (!strstr(said, why))
		fail_msg("%s does not say %s", said, why);
}

static void says_what_is_wrong(void **state _unused_)
{
	wrong("", "list \"artifacts\"");
	wrong("[]", "list \"artifacts\"");
	wrong(LIST("7"), "\"name\" is no name");
	wrong(LIST("{\"name\":\"../x\"}"), "\"name\" is no name");
	wrong(LIST("{\"name\":\"x\",\"version\":\"../y\"}"), "\"version\" is no version");
	wrong(LIST(ITEM("1.0", "\"size\":-1,")), "\"size\" is no number");
	wrong(LIST(ITEM("1.0", "\"size\":\"7\",")), "\"size\" is no number");
	wrong(LIST(ITEM("1.0", "\"unpacked\":99999999999999,")), "\"unpacked\" is no number");
	wrong(LIST(ITEM("1.0", "\"sha256\":\"" HEX "0\",")), "\"sha256\" is no SHA-256");
	wrong(LIST("{\"name\":\"x\",\"version\":\"1.0\",\"kind\":\"image\",\"state\":\"supported\"}"),
	      "\"digest\" is not there");
	wrong(LIST("{\"name\":\"x\",\"version\":\"1.0\",\"kind\":\"deb\",\"state\":\"supported\"}"),
	      "\"sha256\" is not there");
	wrong(LIST("{\"name\":\"x\",\"version\":\"1.0\",\"kind\":\"cat\"}"), "\"kind\" is none of");
	wrong(LIST("{\"name\":\"x\",\"version\":\"1.0\",\"kind\":\"deb\",\"state\":\"good\"}"),
	      "\"state\" is none of");
	wrong(LIST("{\"name\":\"x\",\"version\":\"1.0\",\"kind\":\"deb\",\"state\":\"supported\","
		   "\"sha256\":\"" HEX "\",\"urls\":[\"ftp://x/\"]}"), "\"urls\" has what is no");
}

static void what_was_verified_is_recorded(void **state)
{
	struct fixture *f = *state;
	_cleanup_manifest_ struct manifest m = { 0 }, again = { 0 };
	struct artifact *a;

	manifest_read(&m, "x", LIST(ITEM("1.0", "\"sha256\":\"" HEX "\",\"size\":7,\"unpacked\":9,")),
		      strlen(LIST(ITEM("1.0", "\"sha256\":\"" HEX "\",\"size\":7,\"unpacked\":9,"))));
	assert_int_equal(m.n, 1);
	a = &m.items[0];
	assert_int_equal(manifest_record(&f->root, a), 0);
	assert_int_equal(manifest_load(&f->root, &again), 0);
	assert_int_equal(again.diag.n, 0);
	assert_int_equal(again.n, 1);
	assert_string_equal(again.items[0].full, a->full);
	assert_string_equal(again.items[0].sha256, a->sha256);
	assert_string_equal(again.items[0].digest, a->digest);
	assert_string_equal(again.items[0].urls[0], a->urls[0]);
	assert_int_equal(again.items[0].size, 7);
	assert_int_equal(again.items[0].unpacked, 9);
	assert_int_equal(again.items[0].state, ARTIFACT_SUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_package_s_own),
		with_root(operators_add_and_win),
		cmocka_unit_test(says_what_is_wrong),
		with_root(what_was_verified_is_recorded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
