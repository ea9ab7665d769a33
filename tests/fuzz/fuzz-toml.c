// SPDX-License-Identifier: Apache-2.0
/* An operator's vmm.toml: what is read and printed reads as the same again. */
#include "fuzz.h"

#include "host/tomlread.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void print(const struct toml *t, struct strbuf *out)
{
	toml_print(t, out);
	/* Bounded, or a small file would print as a large one. */
	require(out->len < 64 << 20);
}

static void read_again(const char *printed)
{
	_cleanup_free_ char *text = xasprintf("x = %s", printed);
	_cleanup_strbuf_ struct strbuf again = { 0 };
	_cleanup_toml_ struct toml *t = NULL;
	struct toml_error error;

	if (toml_parse(text, strlen(text), &t, &error) < 0) {
		/* In brackets alone the same values are nested deeper, escaped they are longer, and
		 * the tables of headers count again. */
		require(strstr(error.text, "too ") != NULL);
		return;
	}
	print(toml_find(t, "x"), &again);
	require(strcmp(again.data, printed) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	_cleanup_strbuf_ struct strbuf printed = { 0 };
	_cleanup_toml_ struct toml *t = NULL;
	struct toml_error error;
	int r = toml_parse(text, size, &t, &error);

	require((r == 0) == (t != NULL));
	require((r == 0) == (error.text == NULL));
	if (r < 0) {
		require(error.line > 0 && error.line <= size + 1);
		return 0;
	}
	print(t, &printed);
	read_again(printed.data);
	return 0;
}
