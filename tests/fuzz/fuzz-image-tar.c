// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as an image's archive: what comes out are files with names of an image, each once,
 * of the size that was told and within the limit; and the same in whatever pieces it comes.
 */
#include "fuzz.h"

#include <strings.h>

#include "host/image/image-tar.h"

#define LIMIT (UINT64_C(1) << 20)

struct seen {
	struct strbuf text; /* all of it, to be compared */
	char names[TAR_FILES_MAX][TAR_NAME_MAX + 1];
	size_t n;
	uint64_t left, total;
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

/* Written without the code under test. */
static void require_name(const char *name)
{
	require(*name && *name != '.' && strlen(name) <= TAR_NAME_MAX);
	for (const char *p = name; *p; p++)
		require((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			(*p >= '0' && *p <= '9') || strchr("._-", *p));
}

static int on_file(void *arg, const char *name, uint64_t size)
{
	struct seen *s = arg;

	require(s->left == 0);
	require_name(name);
	require(s->n < TAR_FILES_MAX);
	for (size_t i = 0; i < s->n; i++)
		require(strcasecmp(s->names[i], name) != 0);
	snprintf(s->names[s->n++], sizeof(s->names[0]), "%s", name);
	require(size <= LIMIT - s->total);
	s->total += size;
	s->left = size;
	sb_addf(&s->text, "\n%s %llu\n", name, (unsigned long long)size);
	return 0;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct seen *s = arg;

	require(len <= s->left);
	s->left -= len;
	sb_addn(&s->text, data, len);
	return 0;
}

static int run(const uint8_t *data, size_t size, size_t step, struct seen *s)
{
	const struct tar_sink sink = { on_file, on_data, s };
	struct tar_reader t;
	int r = 0;

	tar_init(&t, "dstack-1.0", LIMIT);
	for (size_t at = 0; r == 0 && at < size; at += step) {
		size_t n = size - at < step ? size - at : step;
		/* Its own allocation: one byte further is caught. */
		_cleanup_free_ uint8_t *piece = xmalloc(n);

		memcpy(piece, data + at, n);
		r = tar_feed(&t, &sink, piece, n);
	}
	if (r == 0)
		r = tar_end(&t);
	require(r == 0 || (r == -EBADMSG && *t.error));
	require(r < 0 || s->left == 0);
	sb_addf(&s->text, "\n%d %s", r, t.error);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen *whole = xcalloc(1, sizeof(*whole)), *pieces = xcalloc(1, sizeof(*pieces));
	size_t step = size ? data[size - 1] * 3 + 1u : 1;

	require(run(data, size, size + 1, whole) == run(data, size, step, pieces));
	require(strcmp(whole->text.data, pieces->text.data) == 0);
	sb_free(&whole->text);
	sb_free(&pieces->text);
	free(whole);
	free(pieces);
	return 0;
}
