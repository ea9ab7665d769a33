// SPDX-License-Identifier: Apache-2.0
/* Changes to host.conf that cannot be made: what is said, and what stays. */
#include "test.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/strbuf.h"
#include "host/conf/import.h"
#include "host/kms/kms.h"
#include "host/conf/settings.h"

#define CONF "/etc/dstack/host.conf"

static void make_dir(const struct fixture *f, const char *path)
{
	_cleanup_free_ char *inside = xasprintf("%s/x", path);

	put_text(f, inside, "");
}

/* From here on no settings can be resolved: a layer is no file. */
static void break_layers(const struct fixture *f)
{
	make_dir(f, "/usr/share/dstack-host/defaults.d/90-x.conf");
}

static void begin(const struct fixture *f, struct import *im)
{
	assert_int_equal(import_begin(&f->root, im), 0);
}

/* Every complaint, a line each; the caller's. */
static char *complaints(const struct import *im)
{
	struct strbuf sb = { 0 };

	for (size_t i = 0; i < im->diag.n; i++) {
		_cleanup_free_ char *line = diag_format(&im->diag.items[i]);

		sb_addf(&sb, "%s\n", line);
	}
	return sb_steal(&sb);
}

static void wrong_words_are_named(void **state)
{
	static const struct {
		const char *words[2], *says;
	} cases[] = {
		{ { "DOMAIN=a.example", "DOMAIN=b.example" }, "DOMAIN: given twice\n" },
		{ { "ETH_RPC_URLS=htp://u:secret@h" }, "ETH_RPC_URLS: not a URL (http:// or https://)\n" },
		{ { "KMS_LAYOUT=mine" }, "KMS_LAYOUT: not one of: reference upstream: \"mine\"\n" },
		{ { "KMS_LAYOUT=" }, "KMS_LAYOUT: empty; unset the key instead: \"\"\n" },
		{ { "DOMAIN=x" }, "DOMAIN: not a full domain name (like example.org): \"x\"\n" },
		{ { "=x" }, "not KEY=VALUE, without blanks around the sign: \"=x\"\n" },
		{ { "x" }, "not KEY=VALUE, without blanks around the sign: \"x\"\n" },
		{ { "X=x" }, NULL },
	};
	const struct fixture *f = *state;
	struct import im;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *said = NULL;

		begin(f, &im);
		for (size_t w = 0; w < 2 && cases[i].words[w]; w++)
			import_word(&im, cases[i].words[w]);
		said = complaints(&im);
		if (cases[i].says)
			assert_string_equal(said, cases[i].says);
		else
			assert_non_null(strstr(said, "unknown key"));
		assert_int_equal(import_commit_all(&f->root, &im), -EINVAL);
		import_free(&im);
	}
	begin(f, &im);
	import_unset(&im, "NOPE");
	assert_int_equal(im.diag.n, 1);
	import_free(&im);
	assert_null(get(f, CONF));
}

static void what_a_disk_is_sealed_to_stays(void **state)
{
	static const struct {
		const char *word; /* or what is unset */
		int says;
	} cases[] = {
		{ "PCCS_PORT=8082", 0 },
		{ "KMS_NAME=other", -EINVAL },
		{ "KMS_GUEST_PORT=9101", -EINVAL }, /* was not set */
		{ "KMS_NAME", -EINVAL },
		{ "KMS_GUEST_PORT", FILE_UNCHANGED }, /* was not set */
		{ "KMS_NAME=kms1", FILE_UNCHANGED },
	};
	const struct fixture *f = *state;

	put_text(f, CONF, "KMS_NAME=kms1\n");
	put_text(f, KMS_RECORD, "{}");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct import im;

		begin(f, &im);
		if (strchr(cases[i].word, '='))
			import_word(&im, cases[i].word);
		else
			import_unset(&im, cases[i].word);
		assert_int_equal(import_commit_all(&f->root, &im), cases[i].says);
		import_free(&im);
	}
	assert_string_equal(get(f, CONF), "KMS_NAME=kms1\nPCCS_PORT=8082\n");
}

/* Reasons are kept until somebody deals with what they are about. */
static void reasons_go_when_they_are_dealt_with(void **state)
{
	const struct fixture *f = *state;
	static const char answers[] = "kms-name=a b\0kms-name=a b\0pccs-port=1 ";
	struct import im;

	put_text(f, REJECTED_PATH, "DOMAIN: old\nPCCS_PORT: old\nvmm-token: old\n"
				   "pccs-user-token: old\nunknown answer \"x\"");
	begin(f, &im);
	assert_int_equal(import_secret(&f->root, &im, SECRET_PCCS_USER_TOKEN, "0123456789abcdef"), 0);
	import_word(&im, "DOMAIN=a.example");
	assert_int_equal(import_commit_all(&f->root, &im), 0);
	import_free(&im);
	assert_string_equal(get(f, REJECTED_PATH), "PCCS_PORT: old\nvmm-token: old\n");
	/* One that is there already is not added. */
	begin(f, &im);
	assert_int_equal(import_answers(&f->root, &im, answers, sizeof(answers) - 1), 0);
	import_free(&im);
	assert_string_equal(get(f, REJECTED_PATH),
			    "PCCS_PORT: old\nvmm-token: old\n"
			    "KMS_NAME: not a name (letters, digits, - and _, at most 64): \"a b\"\n"
			    "PCCS_PORT: has a blank at its beginning or end: \"1 \"\n");
	/* An answer of no name is none; a domain that was not set cannot be seen to be empty. */
	begin(f, &im);
	import_unset(&im, "KMS_NAME");
	import_unset(&im, "PUBLIC_ADDRESS");
	assert_int_equal(import_answers(&f->root, &im, "=x", 2), 0);
	import_free(&im);
}

static void a_domain_that_never_was_is_not_taken_for_an_answer(void **state)
{
	const struct fixture *f = *state;
	struct import im;

	put_text(f, CONF, "KMS_NAME=kms1\n");
	begin(f, &im);
	import_unset(&im, "DOMAIN");
	assert_int_equal(import_answers(&f->root, &im, "kms-name=", 9), 0);
	import_free(&im);
	assert_string_equal(get(f, CONF), "");
}

/* What is preseeded without a question of its own loses against the file, key by key. */
static void the_file_wins_over_a_preseed(void **state)
{
	static const char answers[] = "settings=KMS_NAME=other CHAIN_ID=17000 PCCS_PORT NOPE=1";
	const struct fixture *f = *state;
	_cleanup_free_ char *said = NULL;
	struct import im;

	put_text(f, CONF, "KMS_NAME=kms1\nPCCS_PORT=8082\n");
	begin(f, &im);
	assert_int_equal(import_answers(&f->root, &im, answers, sizeof(answers) - 1), 0);
	said = complaints(&im);
	/* No complaint: whoever preseeds a host again knows less than its file. */
	assert_null(strstr(said, "KMS_NAME"));
	assert_non_null(strstr(said, "NOPE"));
	import_free(&im);
	assert_string_equal(get(f, CONF), "KMS_NAME=kms1\nPCCS_PORT=8082\nCHAIN_ID=17000\n");
}

static void what_cannot_be_read_is_said(void **state)
{
	const struct fixture *f = *state;
	struct import im;

	make_dir(f, CONF);
	assert_int_equal(import_begin(&f->root, &im), -EISDIR);
	import_free(&im);
}

static void what_breaks_meanwhile_is_said(void **state)
{
	const struct fixture *f = *state;
	struct import im, answers, failing;

	begin(f, &im);
	begin(f, &answers);
	begin(f, &failing);
	import_word(&im, "DOMAIN=a.example");
	break_layers(f);
	assert_int_equal(import_commit_all(&f->root, &im), -EISDIR);
	assert_int_equal(import_answers(&f->root, &answers, "domain=a.example", 16), -EISDIR);
	put_text(f, "/etc/dstack/secrets", "no directory");
	assert_int_equal(import_answers(&f->root, &failing, "pccs-user-token=0123456789abcdef", 32),
			 -ENOTDIR);
	import_free(&im);
	import_free(&answers);
	import_free(&failing);
	assert_int_equal(import_begin(&f->root, &im), -EISDIR);
	import_free(&im);
	assert_null(get(f, CONF));
}

static void what_cannot_be_written_is_said(void **state)
{
	const struct fixture *f = *state;
	struct import im;

	/* No place for a secret that is generated, */
	put(f, "/etc/dstack/secrets/vmm-token/x", "", 0);
	begin(f, &im);
	import_word(&im, "DOMAIN=a.example");
	assert_int_equal(import_commit_all(&f->root, &im), -EISDIR);
	import_free(&im);
	/* and none for reasons. */
	put_text(f, "/var/lib", "no directory");
	begin(f, &im);
	assert_int_equal(import_secret(&f->root, &im, SECRET_PCCS_USER_TOKEN, "short"), 0);
	assert_int_equal(im.diag.n, 1);
	assert_int_equal(import_answers(&f->root, &im, "", 0), -EISDIR);
	import_free(&im);
}

static void reasons_need_their_place(void **state)
{
	const struct fixture *f = *state;
	struct import im;

	put_text(f, "/var/lib", "no directory");
	begin(f, &im);
	assert_int_equal(import_answers(&f->root, &im, "domain=a b", 10), -ENOTDIR);
	import_free(&im);
	begin(f, &im);
	import_word(&im, "DOMAIN=a.example");
	assert_int_equal(import_commit_all(&f->root, &im), -ENOTDIR);
	import_free(&im);
}

static void a_file_in_the_place_of_its_directory(void **state)
{
	const struct fixture *f = *state;
	struct import im;

	begin(f, &im);
	import_word(&im, "DOMAIN=a.example");
	put_text(f, REJECTED_PATH, "DOMAIN: old\n");
	put_text(f, "/etc/dstack", "no directory");
	assert_int_equal(import_commit_all(&f->root, &im), -ENOTDIR);
	import_free(&im);
	assert_string_equal(get(f, REJECTED_PATH), "DOMAIN: old\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(wrong_words_are_named),
		with_root(what_a_disk_is_sealed_to_stays),
		with_root(reasons_go_when_they_are_dealt_with),
		with_root(a_domain_that_never_was_is_not_taken_for_an_answer),
		with_root(the_file_wins_over_a_preseed),
		with_root(what_cannot_be_read_is_said),
		with_root(what_breaks_meanwhile_is_said),
		with_root(what_cannot_be_written_is_said),
		with_root(reasons_need_their_place),
		with_root(a_file_in_the_place_of_its_directory),
	};

	return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
