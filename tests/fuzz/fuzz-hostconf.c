// SPDX-License-Identifier: Apache-2.0
/* host.conf: read, edited, read again. A NUL is refused, an edit changes its own key alone. */
#include "fuzz.h"

#include "base/diag.h"
#include "host/conf/hostconf.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_root_make();
	return 0;
}

/* Is there a line NAME=VALUE? Read here by hand. */
static int has_line(const char *text, const char *name, const char *value)
{
	_cleanup_free_ char *line = xasprintf("%s=%s", name, value);
	size_t n = strlen(line);

	for (const char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (strncmp(p, line, n) == 0 && (!p[n] || p[n] == '\n' || p[n] == '\r'))
			return 1;
	return 0;
}

static void values_come_from_lines(const struct hostconf *hc, const char *text)
{
	for (int id = 0; id < KEY_COUNT; id++) {
		if (!hc->value[id])
			continue;
		require(hc->line[id] > 0);
		require(!strchr(hc->value[id], '\n'));
		require(has_line(text, keys[id].name, hc->value[id]));
	}
}

/* What cannot be read whole has no values, and is not written over. */
static void is_refused(struct hostconf *hc, const struct diag *diag, const char *reason)
{
	_cleanup_free_ char *before = NULL, *after = NULL;
	size_t old, new;

	require(diag->n == 1);
	require(strstr(diag->items[0].text, reason));
	for (int id = 0; id < KEY_COUNT; id++)
		require(!hc->value[id]);
	before = fuzz_get(HOSTCONF_PATH, &old);
	hostconf_edit(hc, KEY_DOMAIN, "a.example");
	require(hostconf_save(&fuzz_root, hc) < 0);
	after = fuzz_get(HOSTCONF_PATH, &new);
	require(old == new && memcmp(before, after, old) == 0);
}

/* The text without the lines of one key. */
static char *without(const char *text, const char *name)
{
	struct strbuf out = { 0 };
	size_t len = strlen(name);

	while (*text) {
		size_t n = strcspn(text, "\n");

		if (!(strncmp(text, name, len) == 0 && text[len] == '=')) {
			sb_addn(&out, text, n);
			sb_addc(&out, '\n');
		}
		text += n + (text[n] == '\n');
	}
	return sb_steal(&out);
}

static void edit_changes_one_key(struct hostconf *hc, enum key_id id, const char *value)
{
	_cleanup_free_ char *before = without(hc->text, keys[id].name), *after = NULL;
	struct diag diag = { 0 };
	struct hostconf again;

	hostconf_edit(hc, id, value);
	require(hostconf_save(&fuzz_root, hc) >= 0);
	require(hostconf_load(&fuzz_root, HOSTCONF_PATH, &again, &diag) == 0);
	require(strcmp(again.text, hc->text) == 0);
	after = without(again.text, keys[id].name);
	require(strcmp(before, after) == 0);
	require(!value == !again.value[id]);
	require(!value || strcmp(value, again.value[id]) == 0);
	for (int i = 0; i < KEY_COUNT; i++)
		require(!hc->value[i] == !again.value[i] &&
			(!hc->value[i] || strcmp(hc->value[i], again.value[i]) == 0));
	hostconf_free(&again);
	diag_free(&diag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_diag_ struct diag diag = { 0 };
	_cleanup_hostconf_ struct hostconf hc;
	_cleanup_free_ char *text = fuzz_text(data, size);
	enum key_id id = (enum key_id)(size % KEY_COUNT);

	fuzz_put(HOSTCONF_PATH, data, size);
	require(hostconf_load(&fuzz_root, HOSTCONF_PATH, &hc, &diag) == 0);
	if (size > HOSTCONF_MAX) {
		is_refused(&hc, &diag, "larger");
		return 0;
	}
	if (memchr(data, 0, size)) {
		is_refused(&hc, &diag, "NUL");
		return 0;
	}
	require(strcmp(hc.text, text) == 0);
	values_come_from_lines(&hc, text);
	for (size_t i = 0; i < diag.n; i++) {
		_cleanup_free_ char *line = diag_format(&diag.items[i]);

		require(strlen(line) < 512 + strlen(hc.path));
	}
	edit_changes_one_key(&hc, id, "value");
	edit_changes_one_key(&hc, id, NULL);
	return 0;
}
