// SPDX-License-Identifier: Apache-2.0
/* The TOML reader by the specification's own examples, and beside Python's tomllib. */
#include "test.h"

#include <errno.h>
#include <math.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "host/tomlread.h"

/* What it reads as; NULL: it must be refused. */
static const struct {
	const char *text, *printed;
} cases[] = {
	{ "", "{  }" },
	{ "# a comment\n\n", "{  }" },
	{ "a = 1\nb = \"x\"\n", "{ \"a\" = 1, \"b\" = \"x\" }" },
	{ "a = 1\r\nb = 'C:\\x'\r\n", "{ \"a\" = 1, \"b\" = \"C:\\\\x\" }" },
	{ "a.b.c = true", "{ \"a\" = { \"b\" = { \"c\" = true } } }" },
	{ "[a]\nb = 1\n[a.c]\nd = 2\n", "{ \"a\" = { \"b\" = 1, \"c\" = { \"d\" = 2 } } }" },
	{ "[[p]]\nn = 1\n[[p]]\nn = 2\n[p.q]\nr = 3\n",
	  "{ \"p\" = [{ \"n\" = 1 }, { \"n\" = 2, \"q\" = { \"r\" = 3 } }] }" },
	{ "a = [1, 2, # c\n 3,\n]\n", "{ \"a\" = [1, 2, 3] }" },
	{ "a = { b = 1, c.d = \"e\" }", "{ \"a\" = { \"b\" = 1, \"c\" = { \"d\" = \"e\" } } }" },
	{ "a = 0xdead_beef\nb = 0o17\nc = 0b101\nd = -1_000\ne = +0\n",
	  "{ \"a\" = 3735928559, \"b\" = 15, \"c\" = 5, \"d\" = -1000, \"e\" = 0 }" },
	/* Floats stay floats: an integer there is another value to the VMM. */
	{ "a = -0e3\nb = 3.0\n", "{ \"a\" = -0.0, \"b\" = 3.0 }" },
	{ "a = 1e3\nb = -0.5\nc = 1_0.2_5E-1\nd = inf\n",
	  "{ \"a\" = 1000.0, \"b\" = -0.5, \"c\" = 1.0249999999999999, \"d\" = inf }" },
	{ "a = 1979-05-27T07:32:00.5-07:00\nb = 07:32:00\nc = 2024-02-29\n",
	  "{ \"a\" = 1979-05-27T07:32:00.5-07:00, \"b\" = 07:32:00, \"c\" = 2024-02-29 }" },
	{ "a = \"\\u00e9\\U0001F600\\t\"", "{ \"a\" = \"\xc3\xa9\xf0\x9f\x98\x80\\u0009\" }" },
	{ "a = \"\"\"\none\\\n   two\"\"\"\"\n", "{ \"a\" = \"onetwo\\\"\" }" },
	{ "a = '''\n'x'''\n", "{ \"a\" = \"'x\" }" },
	{ "a = 'x\ty' # \t", "{ \"a\" = \"x\\u0009y\" }" },
	{ "\"a b\".'c' = 1", "{ \"a b\" = { \"c\" = 1 } }" },
	{ "a = \"\"\"x\"\"\"\"\"", "{ \"a\" = \"x\\\"\\\"\" }" },
	{ "a = \"\"\"x\\ \t\n\t y\"\"\"", "{ \"a\" = \"xy\" }" },
	{ "a = 2000-02-29\nb = 2023-02-28 07:32:00z\nc = 1996-02-29t00:00:00Z\nd = 00:00:00\n",
	  "{ \"a\" = 2000-02-29, \"b\" = 2023-02-28 07:32:00z, \"c\" = 1996-02-29t00:00:00Z, "
	  "\"d\" = 00:00:00 }" },
	{ "a = 1e+5\nb = 1e-1", "{ \"a\" = 100000.0, \"b\" = 0.10000000000000001 }" },
	{ "a = { b.c = 1, b.d = 2 }", "{ \"a\" = { \"b\" = { \"c\" = 1, \"d\" = 2 } } }" },
	{ "a = 1\na = 2\n" },
	{ "[a]\n[a]\n" },
	{ "a.b = 1\n[a]\n" },
	{ "[a.b]\n[a]\nb.c = 1\n" },
	{ "a = 1\n[a.b]\n" },
	{ "a = [1]\n[[a]]\n" },
	{ "a = {}\na.b = 1\n" },
	{ "a = { b = 1, }" },
	{ "a = { b = 1\n}" },
	{ "a = 01" },
	{ "a = 1__0" },
	{ "a = 1." },
	{ "a = .5" },
	{ "a = 9223372036854775808" },
	{ "a = \"x\ny\"" },
	{ "a = \"\\x\"" },
	{ "a = \"\\ud800\"" },
	{ "a = \"\\u0000\"" },
	{ "a = 'x" },
	{ "a = 2023-02-29" },
	{ "a = 1 b = 2" },
	{ "a =" },
	{ "= 1" },
	{ "[a" },
	{ "[[a]" },
	{ "a = \xff" },
	{ "a = 1\rb = 2" },
	{ "# \x01" },
	{ "a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]" },
};

static void reads_as_the_specification_says(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_toml_ struct toml *t = NULL;
		_cleanup_strbuf_ struct strbuf out = { 0 };
		struct toml_error error;
		int r = toml_parse(cases[i].text, strlen(cases[i].text), &t, &error);

		if ((r == 0) != (cases[i].printed != NULL))
			fail_msg("%s\nis %s: %s", cases[i].text, r ? "refused" : "taken",
				 error.text);
		if (r < 0) {
			assert_null(t);
			assert_non_null(error.text);
			assert_true(error.line > 0);
			continue;
		}
		toml_print(t, &out);
		assert_string_equal(out.data, cases[i].printed);
	}
}

/* More that must be refused; apart, because too many of them would leave few mutants that are read. */
static const char *const refused[] = {
	"a = 1 # \x01",
	"a = 1 # \x7f",
	"a = { b = 1, b = 2 }",
	"a = \"\x7f\"",
	"a = [ # \x01\n1]",
	"a = [1 # \x01\n]",
	"a = \"\"\"x\\ y\"\"\"",
	"a = \"\"\"x\\",
	"a = 07:32:00.x",
	"a = 24:00:00",
	"a = 1979-00-01",
	"a = 1979-13-01",
	"a = 1900-02-29",
	"a = 0000-01-01",
	"a = 1979-05-27T07:32:00+24:00",
	"a = 1979-05-27T07:32:00+00:60",
	"a = 1979-05-27T07:32:00-00.00",
	"a = 1_",
	"a = 1_ ",
	"a = 1e",
	"a = { b = 1, b.c = 2 }",
	"a = { b = {}, b.c = 1 }",
	"a = [1]\na.b = 2",
};

static void what_is_no_value_is_refused(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct toml_error error = { 0 };
		struct toml *doc;

		if (toml_parse(refused[i], strlen(refused[i]), &doc, &error) == 0)
			fail_msg("taken: %s", refused[i]);
		assert_non_null(error.text);
		assert_null(doc);
	}
}

/* Of the bytes, of the parts of a key, of the tables: one more than there may be. */
static void what_is_too_large_is_refused(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf key = { 0 }, tables = { 0 }, bytes = { 0 };
	struct toml_error error;
	struct toml *doc;

	sb_add(&key, "a");
	for (int i = 1; i < 32; i++)
		sb_add(&key, ".a");
	sb_add(&key, " = 1\n");
	assert_int_equal(toml_parse(key.data, key.len, &doc, &error), 0);
	toml_free(&doc);
	key.len = 0;
	for (int i = 0; i < 33; i++)
		sb_add(&key, "a.");
	sb_add(&key, "a = 1\n");
	assert_int_equal(toml_parse(key.data, key.len, &doc, &error), -EBADMSG);
	assert_string_equal(error.text, "a key of too many parts");
	for (int i = 0; i < 4097; i++)
		sb_addf(&tables, "[t%d]\n", i);
	assert_int_equal(toml_parse(tables.data, tables.len, &doc, &error), -EBADMSG);
	assert_string_equal(error.text, "too many values");
	while (bytes.len <= 1 << 20)
		sb_add(&bytes, "# a line of a comment\n");
	assert_int_equal(toml_parse(bytes.data, bytes.len, &doc, &error), -EBADMSG);
	assert_string_equal(error.text, "too long");
	assert_int_equal(toml_parse("a = 1\n\0", 7, &doc, &error), -EBADMSG);
	assert_string_equal(error.text, "not UTF-8 text");
}

static void finds_by_path_and_tells_the_line(void **state _unused_)
{
	static const char text[] = "x = 1\n[cvm.port_mapping]\n\nenabled = true\nbad = = 2\n";
	_cleanup_toml_ struct toml *t = NULL;
	struct toml_error error;

	assert_true(toml_parse(text, strlen(text), &t, &error) < 0);
	assert_int_equal(error.line, 5);
	assert_int_equal(toml_parse(text, strlen(text) - 10, &t, &error), 0);
	assert_int_equal(toml_find(t, "cvm.port_mapping.enabled")->line, 4);
	assert_int_equal(toml_find(t, "cvm.port_mapping.enabled")->type, TOML_BOOL);
	assert_null(toml_find(t, "cvm.port_mapping.range"));
	assert_null(toml_find(t, "x.y"));
}

static void takes_no_more_values_than_it_should(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	_cleanup_toml_ struct toml *t = NULL;
	struct toml_error error;

	sb_add(&sb, "a = [");
	for (int i = 0; i < 200000; i++)
		sb_add(&sb, "1,");
	sb_add(&sb, "]");
	assert_true(toml_parse(sb.data, sb.len, &t, &error) < 0);
	assert_string_equal(error.text, "too many values");
}

/* --- beside tomllib --- */

static const char script[] =
	"import math, sys\n"
	"try:\n"
	"    import tomllib\n"
	"except ImportError:\n"
	"    sys.exit(77)\n"
	"def show(v):\n"
	"    if isinstance(v, bool):\n"
	"        return 'true' if v else 'false'\n"
	"    if isinstance(v, int):\n"
	"        if not -2**63 <= v < 2**63:\n"
	"            raise ValueError\n"
	"        return str(v)\n"
	"    if isinstance(v, float):\n"
	"        return 'nan' if math.isnan(v) else 'f%.17g' % v\n"
	"    if isinstance(v, str):\n"
	"        if '\\0' in v:\n"
	"            raise ValueError\n"
	"        return '\"' + v.encode().hex()\n"
	"    if isinstance(v, list):\n"
	"        return '[' + ','.join(map(show, v)) + ']'\n"
	"    if isinstance(v, dict):\n"
	"        if any('\\0' in k for k in v):\n"
	"            raise ValueError\n"
	"        return '{' + ','.join(k.encode().hex() + '=' + show(v[k]) for k in sorted(v, key=str.encode)) + '}'\n"
	"    return 'time'\n"
	"out = open(sys.argv[2], 'w')\n"
	"for text in open(sys.argv[1], 'rb').read().split(b'\\x1e'):\n"
	"    try:\n"
	"        line = show(tomllib.loads(text.decode()))\n"
	"    except (ValueError, RecursionError):\n"
	"        line = 'error'\n"
	"    out.write(line + '\\n')\n";

static int by_key(const void *a, const void *b)
{
	return strcmp((*(struct toml *const *)a)->key, (*(struct toml *const *)b)->key);
}

static void add_hex(struct strbuf *out, const char *s)
{
	for (; *s; s++)
		sb_addf(out, "%02x", (unsigned char)*s);
}

static void show(const struct toml *v, struct strbuf *out);

static void show_members(const struct toml *v, struct strbuf *out)
{
	struct toml *items[4096];
	size_t n = 0;

	for (struct toml *m = v->first; m; m = m->next)
		items[n++] = m;
	if (v->type == TOML_TABLE)
		qsort(items, n, sizeof(*items), by_key);
	sb_addc(out, v->type == TOML_TABLE ? '{' : '[');
	for (size_t i = 0; i < n; i++) {
		sb_add(out, i ? "," : "");
		if (v->type == TOML_TABLE) {
			add_hex(out, items[i]->key);
			sb_addc(out, '=');
		}
		show(items[i], out);
	}
	sb_addc(out, v->type == TOML_TABLE ? '}' : ']');
}

static void show(const struct toml *v, struct strbuf *out)
{
	switch (v->type) {
	case TOML_TABLE:
	case TOML_ARRAY:
		show_members(v, out);
		break;
	case TOML_STRING:
		sb_addc(out, '"');
		add_hex(out, v->text);
		break;
	case TOML_INTEGER:
		sb_addf(out, "%lld", (long long)v->integer);
		break;
	case TOML_FLOAT:
		if (isnan(v->real))
			sb_add(out, "nan");
		else
			sb_addf(out, "f%.17g", v->real);
		break;
	case TOML_BOOL:
		sb_add(out, v->integer ? "true" : "false");
		break;
	case TOML_TIME:
		sb_add(out, "time");
		break;
	}
}

enum { MUTANTS = 6000, SEPARATOR = 0x1e };

/* Pieces of which a mutant may be made: what decides about a reading. */
static const char *const pieces[] = {
	"[a]\n", "[[a]]\n", "[a.b]\n", "a.b = 1\n", "a = {b = 1}\n", "b = [1, 2]\n", "a = 1\n",
	"\"", "'", "\"\"\"", "'''", "\\", "\n", "#", "=", ".", ",", "[", "]", "{", "}", "0", "_",
	"-", "+", "e5", "inf", "nan", "true", "07:32:00", "1979-05-27", "T", "Z", " ", "\t", "\r\n",
	"\\u00e9", "\\U00110000", "\xc3\xa9", "\x80", "x", "[[a.b]]\n", "a.c.d = 2\n", "b.c = 3\n",
	"[a.c]\n", "\\\n  ", "0x1F", "0b2", "0o7", "1.5", "[b]\n", "c = {}\n", "+07:00", "\x7f",
};

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* A case (not the last, whose limit is ours) or nothing, with pieces put in it or bytes taken out. */
static char *mutant(uint32_t *seed)
{
	struct strbuf sb = { 0 };
	const char *base = next(seed) % 4 ? cases[next(seed) % (ARRAY_SIZE(cases) - 1)].text : "";
	size_t n = strlen(base), changes = 1 + next(seed) % 6;

	sb_add(&sb, base);
	if (!n) {
		for (size_t i = 0; i < changes * 2; i++)
			sb_add(&sb, pieces[next(seed) % ARRAY_SIZE(pieces)]);
		return sb_steal(&sb);
	}
	for (size_t i = 0; i < changes; i++) {
		_cleanup_free_ char *old = sb_steal(&sb);
		size_t len = strlen(old), at = next(seed) % (len + 1);
		size_t cut = next(seed) % 3;

		sb_addn(&sb, old, at);
		if (next(seed) % 3)
			sb_add(&sb, pieces[next(seed) % ARRAY_SIZE(pieces)]);
		sb_add(&sb, old + (at + cut < len ? at + cut : len));
	}
	return sb_steal(&sb);
}

static char *judge_one(const char *text)
{
	_cleanup_toml_ struct toml *t = NULL;
	struct strbuf out = { 0 };
	struct toml_error error;

	if (toml_parse(text, strlen(text), &t, &error) < 0)
		return xstrdup("error");
	show(t, &out);
	return sb_steal(&out);
}

/* Python's verdicts, a line each; NULL: no tomllib here. */
static char *ask_python(const struct fixture *f, const struct strbuf *all)
{
	_cleanup_free_ char *in = xasprintf("%s/in", f->dir), *out = xasprintf("%s/out", f->dir);
	struct strbuf sb = { 0 };
	char chunk[65536];
	size_t n;
	FILE *fp;
	int status = 0;
	pid_t pid;

	put(f, "/in", all->data, all->len);
	pid = fork();
	if (pid == 0) {
		execl("/usr/bin/python3", "python3", "-c", script, in, out, (char *)NULL);
		_exit(77);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		return NULL;
	assert_int_equal(WEXITSTATUS(status), 0);
	fp = fopen(out, "r");
	assert_non_null(fp);
	while ((n = fread(chunk, 1, sizeof(chunk), fp)))
		sb_addn(&sb, chunk, n);
	fclose(fp);
	return sb_steal(&sb);
}

static void reads_as_tomllib_does(void **state)
{
	_cleanup_strbuf_ struct strbuf all = { 0 };
	char **texts = xcalloc(MUTANTS, sizeof(*texts));
	_cleanup_free_ char *said = NULL;
	uint32_t seed = 20251124;
	size_t taken = 0, n = 0;

	for (; n < MUTANTS; n++) {
		texts[n] = n < ARRAY_SIZE(cases) - 1 ? xstrdup(cases[n].text) : mutant(&seed);
		sb_addf(&all, "%s%s", n ? "\x1e" : "", texts[n]);
	}
	said = ask_python(*state, &all);
	for (char *line = said; line && n; n--) {
		const char *text = texts[MUTANTS - n];
		_cleanup_free_ char *own = judge_one(text);
		char *end = strchr(line, '\n');

		assert_non_null(end);
		*end = '\0';
		if (strcmp(own, line) != 0)
			fail_msg("%s\nis read as %s, by tomllib as %s", text, own, line);
		taken += strcmp(line, "error") != 0;
		line = end + 1;
	}
	for (size_t i = 0; i < MUTANTS; i++)
		free(texts[i]);
	free(texts);
	if (!said)
		skip();
	/* Or it would prove nothing. */
	assert_true(taken > MUTANTS / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_as_the_specification_says),
		cmocka_unit_test(what_is_no_value_is_refused),
		cmocka_unit_test(what_is_too_large_is_refused),
		cmocka_unit_test(finds_by_path_and_tells_the_line),
		cmocka_unit_test(takes_no_more_values_than_it_should),
		with_root(reads_as_tomllib_does),
	};

	return cmocka_run_group_tests_name("tomlread", tests, NULL, NULL);
}
