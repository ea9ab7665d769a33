// SPDX-License-Identifier: Apache-2.0
/* Writing TOML 1.0 values. */
#include "host/tomlwrite.h"

#include "base/parse.h"

void toml_string(struct strbuf *sb, const char *s)
{
	sb_addc(sb, '"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			sb_addf(sb, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			sb_addf(sb, "\\u%04X", c);
		else
			sb_addc(sb, (char)c);
	}
	sb_addc(sb, '"');
}

void toml_set_string(struct strbuf *sb, const char *name, const char *value)
{
	sb_addf(sb, "%s = ", name);
	toml_string(sb, value);
	sb_addc(sb, '\n');
}

struct words {
	struct strbuf *sb;
	int n;
};

static int add_word(const char *word, void *arg)
{
	struct words *w = arg;

	if (w->n++)
		sb_add(w->sb, ", ");
	toml_string(w->sb, word);
	return 0;
}

void toml_set_words(struct strbuf *sb, const char *name, const char *words)
{
	struct words w = { sb, 0 };

	sb_addf(sb, "%s = [", name);
	for_each_word(words, add_word, &w);
	sb_add(sb, "]\n");
}
