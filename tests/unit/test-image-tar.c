// SPDX-License-Identifier: Apache-2.0
/* The reader of image archives: in one go, byte by byte, from a copy; what it refuses. */
#include "test.h"

#include <errno.h>

#include "base/strbuf.h"
#include "host/image/image-tar.h"

struct got {
	struct strbuf text; /* "NAME SIZE:DATA;" */
	int fail;
};

static int on_file(void *arg, const char *name, uint64_t size)
{
	struct got *g = arg;

	sb_addf(&g->text, ";%s %llu:", name, (unsigned long long)size);
	return g->fail;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct got *g = arg;

	sb_addn(&g->text, data, len);
	return 0;
}

static void put_octal(char *at, size_t len, unsigned long v)
{
	for (size_t i = len - 1; i-- > 0; v >>= 3)
		at[i] = (char)('0' + (v & 7));
}

static void seal(char block[TAR_BLOCK])
{
	unsigned sum = 0;

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char)block[i];
	put_octal(block + 148, 7, sum);
	block[154] = '\0';
}

static void add(struct strbuf *out, const char *name, int type, const char *data)
{
	char block[TAR_BLOCK] = { 0 };
	size_t len = strlen(data);

	snprintf(block, 100, "%s", name);
	put_octal(block + 100, 8, 0644);
	put_octal(block + 124, 12, len);
	block[156] = (char)type;
	memcpy(block + 257, "ustar\00000", 8);
	seal(block);
	sb_addn(out, block, sizeof(block));
	sb_addn(out, data, len);
	memset(block, 0, sizeof(block));
	sb_addn(out, block, (TAR_BLOCK - len % TAR_BLOCK) % TAR_BLOCK);
}

static void add_end(struct strbuf *out)
{
	static const char none[2 * TAR_BLOCK];

	sb_addn(out, none, sizeof(none));
}

static int feed(struct tar_reader *t, struct got *g, const struct strbuf *in, size_t step)
{
	const struct tar_sink sink = { on_file, on_data, g };

	for (size_t at = 0; at < in->len; at += step) {
		size_t n = in->len - at < step ? in->len - at : step;
		struct tar_reader copy = *t;
		int r = tar_feed(&copy, &sink, in->data + at, n);

		/* It goes on from a copy, wherever that was made. */
		*t = copy;
		if (r < 0)
			return r;
	}
	return tar_end(t);
}

static void reads_the_same_in_any_pieces(void **state _unused_)
{
	static const size_t steps[] = { 1, 7, 511, 512, 513, 1 << 20 };
	_cleanup_strbuf_ struct strbuf in = { 0 };

	add(&in, "top/", '5', "");
	add(&in, "top/a", 'x', "18 mtime=1234.567\n");
	add(&in, "top/a", '0', "hello");
	add(&in, "./top/empty", 0, "");
	add(&in, "b-1.0_x", '0', "world");
	add_end(&in);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct got g = { 0 };
		struct tar_reader t;

		tar_init(&t, "top", 100);
		assert_int_equal(feed(&t, &g, &in, steps[i]), 0);
		assert_string_equal(g.text.data, ";a 5:hello;empty 0:;b-1.0_x 5:world");
		sb_free(&g.text);
	}
}

static void refused(const char *name, int type, const char *data, const char *why)
{
	_cleanup_strbuf_ struct strbuf in = { 0 };
	struct got g = { 0 };
	struct tar_reader t;

	add(&in, name, type, data);
	add_end(&in);
	tar_init(&t, "top", 100);
	assert_int_equal(feed(&t, &g, &in, 512), -EBADMSG);
	assert_non_null(strstr(t.error, why));
	assert_null(g.text.data);
	sb_free(&g.text);
}

static void refuses_what_is_no_file(void **state _unused_)
{
	refused("top/../a", '0', "x", "leads out");
	refused("/a", '0', "x", "leads out");
	refused("a/b", '0', "x", "no file of top");
	refused("top", '0', "x", "no file of top");
	refused("top/", '0', "x", "no file of top");
	refused("topa/b", '0', "x", "no file of top");
	refused(".a", '0', "x", "no file of top");
	refused("a b", '0', "x", "no file of top");
	refused("a\033[2J", '0', "x", "a?[2J");
	refused("a", '1', "", "a link");
	refused("a", '2', "", "a link");
	refused("a", '3', "", "a device");
	refused("a", '6', "", "a pipe");
	refused("a", 'S', "", "with holes");
	refused("a", 'g', "", "no kind");
	refused("d/", '5', "", "a directory");
	refused("a", 'x', "11 path=bc\n", "changes what");
	refused("a", 'x', "99 mtime=1\n", "changes what");
	refused("a", 'x', "9 mtime=\n9", "changes what");
	refused("a", 'x', "mtime=1\n", "changes what");
}

static void refuses_too_much(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf in = { 0 };
	struct got g = { 0 };
	struct tar_reader t;
	char block[TAR_BLOCK] = "a";

	/* Its header says so; nothing is written for it. */
	put_octal(block + 100, 8, 0644);
	put_octal(block + 124, 12, 101);
	seal(block);
	sb_addn(&in, block, sizeof(block));
	tar_init(&t, "top", 100);
	assert_int_equal(feed(&t, &g, &in, 512), -EBADMSG);
	assert_non_null(strstr(t.error, "larger than"));
	assert_null(g.text.data);
	/* Setuid. */
	put_octal(block + 100, 8, 04755);
	put_octal(block + 124, 12, 1);
	seal(block);
	memcpy(in.data, block, sizeof(block));
	tar_init(&t, "top", 100);
	assert_int_equal(feed(&t, &g, &in, 512), -EBADMSG);
	assert_non_null(strstr(t.error, "rights"));
	/* A sum that does not fit. */
	block[0] = 'b';
	memcpy(in.data, block, sizeof(block));
	tar_init(&t, "top", 100);
	assert_int_equal(feed(&t, &g, &in, 512), -EBADMSG);
	assert_non_null(strstr(t.error, "damaged"));
}

static void sees_its_end(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf in = { 0 };
	struct got g = { 0 };
	struct tar_reader t;

	add(&in, "a", '0', "x");
	tar_init(&t, "top", 100);
	assert_int_equal(feed(&t, &g, &in, 512), -EBADMSG);
	assert_non_null(strstr(t.error, "cut off"));
	add_end(&in);
	add(&in, "b", '0', "x");
	tar_init(&t, "top", 100);
	assert_int_equal(feed(&t, &g, &in, 512), -EBADMSG);
	assert_non_null(strstr(t.error, "follows its end"));
	sb_free(&g.text);
}

static void passes_on_what_the_sink_says(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf in = { 0 };
	struct got g = { .fail = -ENOSPC };
	struct tar_reader t;

	add(&in, "a", '0', "x");
	tar_init(&t, "top", 100);
	assert_int_equal(feed(&t, &g, &in, 512), -ENOSPC);
	sb_free(&g.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_same_in_any_pieces),
		cmocka_unit_test(refuses_what_is_no_file),
		cmocka_unit_test(refuses_too_much),
		cmocka_unit_test(sees_its_end),
		cmocka_unit_test(passes_on_what_the_sink_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
