// SPDX-License-Identifier: Apache-2.0
/*
 * debconf's answers over a host.conf: whatever they say, no setting becomes bad that was not,
 * no line gets in that is no setting, and no secret that its own check would refuse.
 * The first byte chooses what was there before.
 */
#include "fuzz.h"

#include "base/utf8.h"
#include "host/conf/import.h"
#include "host/conf/settings.h"

static const char *const befores[] = {
	NULL,
	"# by hand\nDOMAIN=old.example.org\nPCCS_PORT=8082\n",
	"KMS_PORT=70000\nVMM_NETWORKING=bridge\n",
	"VMM_ADDRESS=127.0.0.1:9000\nKMS_PORT=9000\nnot a setting\nDOMAIN=a.example\nDOMAIN=b.example\n",
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_root_make();
	return 0;
}

static void begin_with(const char *before)
{
	for (int id = 0; id < SECRET_COUNT; id++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", SECRETS_DIR, secrets[id].name);

		if (!secrets[id].generated)
			fuzz_drop(path);
	}
	fuzz_drop(REJECTED_PATH);
	if (before)
		fuzz_put(HOSTCONF_PATH, before, strlen(before));
	else
		fuzz_drop(HOSTCONF_PATH);
}

static int was_there(const struct diag *before, const struct diag_item *item)
{
	for (size_t i = 0; i < before->n; i++)
		if (strcmp(before->items[i].text, item->text) == 0 &&
		    strcmp(before->items[i].key ? before->items[i].key : "",
			   item->key ? item->key : "") == 0)
			return 1;
	return 0;
}

/* As many lines that are no setting as before: an answer is never a line of its own. */
static size_t other_lines(const char *text)
{
	size_t n = 0;

	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "\n"), name = strcspn(p, "=\n");
		_cleanup_free_ char *key = xstrndup(p, name);

		n += p[name] != '=' || key_find(key) < 0;
		p += len + (p[len] == '\n');
	}
	return n;
}

static void secrets_are_good(void)
{
	for (int id = 0; id < SECRET_COUNT; id++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", SECRETS_DIR, secrets[id].name);
		_cleanup_free_ char *value = NULL;
		size_t len;

		value = fuzz_get(path, &len);
		require(!value || (strlen(value) == len && !secrets[id].check(value)));
	}
}

static void nothing_bad_was_stored(const char *before)
{
	_cleanup_settings_ struct settings old = { 0 }, new = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t len;

	require(settings_load(&fuzz_root, &new) == 0);
	text = fuzz_get(HOSTCONF_PATH, &len);
	require(text && strlen(text) == len);
	require(other_lines(text) == other_lines(before ? before : ""));
	begin_with(before);
	require(settings_load(&fuzz_root, &old) == 0);
	for (size_t i = 0; i < new.diag.n; i++)
		require(was_there(&old.diag, &new.diag.items[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *before = size ? befores[data[0] % ARRAY_SIZE(befores)] : NULL;
	_cleanup_free_ char *text = fuzz_text(data + (size != 0), size - (size != 0));
	_cleanup_(import_free) struct import im = { 0 };

	if (size > IMPORT_MAX)
		return 0;
	begin_with(before);
	require(import_begin(&fuzz_root, &im) == 0);
	require(import_answers(&fuzz_root, &im, text, size - (size != 0)) == 0);
	for (size_t i = 0; i < im.diag.n; i++) {
		_cleanup_free_ char *line = diag_format(&im.diag.items[i]);

		require(strlen(line) < 1024);
	}
	secrets_are_good();
	nothing_bad_was_stored(before);
	return 0;
}
