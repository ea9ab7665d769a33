// SPDX-License-Identifier: Apache-2.0
/* A strict reader of ustar, GNU's tar and of pax headers that say nothing that matters. */
#include "host/image/image-tar.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"

/* Of a header (POSIX.1-1988): where its fields are. */
enum {
	AT_MODE = 100, AT_SIZE = 124, AT_SUM = 148, AT_TYPE = 156, AT_MAGIC = 257,
	AT_PREFIX = 345,
	LEN_NAME = 100, LEN_MODE = 8, LEN_SIZE = 12, LEN_SUM = 8, LEN_PREFIX = 155,
	SPECIAL_BITS = 07000,
	ENTRIES_MAX = 512, ZEROS_MAX = 4096,
};

void tar_init(struct tar_reader *t, const char *top, uint64_t limit)
{
	memset(t, 0, sizeof(*t));
	snprintf(t->top, sizeof(t->top), "%s", top);
	t->limit = limit;
}

_printf_(2, 3) static int refuse(struct tar_reader *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->error, sizeof(t->error), fmt, ap);
	va_end(ap);
	utf8_clean(t->error);
	return -EBADMSG;
}

int tar_is_name(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789._-";
	size_t len = strlen(name);

	return len && len <= TAR_NAME_MAX && *name != '.' && strspn(name, good) == len;
}

/* Octal digits between blanks; GNU's binary numbers are for what is larger than 8 GiB. */
static int number(const unsigned char *field, size_t len, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0, first;

	while (i < len && field[i] == ' ')
		i++;
	for (first = i; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(field[i] - '0');
	if (i == first)
		return -EBADMSG;
	for (; i < len; i++)
		if (field[i] != ' ' && field[i] != '\0')
			return -EBADMSG;
	*ret = v;
	return 0;
}

static int sum_is_right(const unsigned char *block)
{
	uint64_t said;
	unsigned sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= AT_SUM && i < AT_SUM + LEN_SUM ? ' ' : block[i];
	return number(block + AT_SUM, LEN_SUM, &said) == 0 && said == sum;
}

/* The whole path: POSIX has a second field for its beginning. */
static void path_of(const unsigned char *block, char *ret, size_t size)
{
	const char *b = (const char *)block;

	if (memcmp(b + AT_MAGIC, "ustar", 6) == 0 && b[AT_PREFIX])
		snprintf(ret, size, "%.*s/%.*s", LEN_PREFIX, b + AT_PREFIX, LEN_NAME, b);
	else
		snprintf(ret, size, "%.*s", LEN_NAME, b);
}

/* Below the image's own directory, or below none. */
static const char *inside(const struct tar_reader *t, const char *path)
{
	size_t len = strlen(t->top);

	if (strncmp(path, "./", 2) == 0)
		path += 2;
	if (strncmp(path, t->top, len) == 0 && (path[len] == '/' || !path[len]))
		path += len + (path[len] == '/');
	return strcmp(path, ".") == 0 ? "" : path;
}

static const char *kind_of(int type)
{
	switch (type) {
	case '1':
	case '2':
		return "a link";
	case '3':
	case '4':
		return "a device";
	case '6':
		return "a pipe";
	case 'S':
		return "a file with holes";
	case 'L':
	case 'K':
		return "a name that is longer than any of an image";
	default:
		return "of no kind that an image has";
	}
}

static int begin_file(struct tar_reader *t, const struct tar_sink *sink, const char *path,
		      uint64_t size)
{
	const char *name = inside(t, path);

	if (*path == '/' || strstr(path, ".."))
		return refuse(t, "%.80s leads out of the image", path);
	if (!tar_is_name(name))
		return refuse(t, "%.80s is no file of %s", path, t->top);
	/* On a file system that knows no case they would be one. */
	for (uint32_t i = 0; i < t->n_names; i++)
		if (strcasecmp(t->names[i], name) == 0)
			return refuse(t, "%s is there twice", name);
	if (t->n_names == TAR_FILES_MAX)
		return refuse(t, "it has more than %d files", TAR_FILES_MAX);
	if (size > t->limit - t->total)
		return refuse(t, "%s would make it larger than the %llu MiB that it may have",
			      name, (unsigned long long)(t->limit >> 20));
	snprintf(t->names[t->n_names++], sizeof(t->names[0]), "%s", name);
	t->total += size;
	return sink->file(sink->arg, name, size);
}

static int begin_entry(struct tar_reader *t, const struct tar_sink *sink)
{
	int type = t->block[AT_TYPE] ? t->block[AT_TYPE] : '0', r = 0;
	char path[LEN_PREFIX + LEN_NAME + 2];
	uint64_t mode, size;

	path_of(t->block, path, sizeof(path));
	if (!sum_is_right(t->block))
		return refuse(t, "a header in it is damaged, or it is no tar archive");
	if (number(t->block + AT_SIZE, LEN_SIZE, &size) < 0 ||
	    number(t->block + AT_MODE, LEN_MODE, &mode) < 0)
		return refuse(t, "%.80s has a size or a mode that is no number", path);
	if (++t->entries > ENTRIES_MAX)
		return refuse(t, "it has more than %d entries", ENTRIES_MAX);
	if (mode & SPECIAL_BITS)
		return refuse(t, "%.80s would run with others' rights", path);
	if (type == '5') {
		if (*inside(t, path) || size)
			return refuse(t, "%.80s is a directory in the image", path);
	} else if (type == 'x') {
		if (!size || size > TAR_PAX_MAX)
			return refuse(t, "%.80s has an extended header of %llu bytes", path,
				      (unsigned long long)size);
		t->pax_len = (uint32_t)size;
	} else if (type == '0') {
		r = begin_file(t, sink, path, size);
	} else {
		return refuse(t, "%.80s is %s", path, kind_of(type));
	}
	t->data = size;
	t->left = (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	return r;
}

/* What may change the meaning of the entry that follows is refused: "LEN KEY=VALUE\n"... */
static int pax_is_harmless(const char *data, size_t len)
{
	static const char *const harmless[] = { "mtime=", "atime=", "ctime=", "uid=", "gid=",
						"uname=", "gname=", "comment=", "LIBARCHIVE.",
						"SCHILY." };
	size_t at = 0;

	while (at < len) {
		const char *key;
		char *end;
		size_t n, i;

		/* strtoul() would take blanks, and read on behind the buffer. */
		if (data[at] < '1' || data[at] > '9' || !memchr(data + at, ' ', len - at))
			return 0;
		n = strtoul(data + at, &end, 10);
		if (*end != ' ' || n > len - at || n < (size_t)(end - data) - at + 3 ||
		    data[at + n - 1] != '\n')
			return 0;
		key = end + 1;
		for (i = 0; i < ARRAY_SIZE(harmless); i++)
			if ((size_t)(data + at + n - key) > strlen(harmless[i]) &&
			    memcmp(key, harmless[i], strlen(harmless[i])) == 0)
				break;
		if (i == ARRAY_SIZE(harmless))
			return 0;
		at += n;
	}
	return 1;
}

static int take_block(struct tar_reader *t, const struct tar_sink *sink)
{
	static const unsigned char none[TAR_BLOCK];

	t->have = 0;
	if (memcmp(t->block, none, TAR_BLOCK) == 0) {
		/* tar pads to 10 KiB; a bomb has no end. */
		return ++t->zeros > ZEROS_MAX ? refuse(t, "its end has no end") : 0;
	}
	if (t->zeros)
		return refuse(t, "something follows its end");
	return begin_entry(t, sink);
}

/* Of what is being read; how many bytes were taken, or -errno. */
static ssize_t take_content(struct tar_reader *t, const struct tar_sink *sink,
			    const unsigned char *data, size_t len)
{
	size_t n = len < t->left ? len : (size_t)t->left;
	size_t real = n < t->data ? n : (size_t)t->data;
	int r = 0;

	if (t->pax_len)
		memcpy(t->pax + (t->pax_len - t->data), data, real);
	else if (real)
		r = sink->data(sink->arg, data, real);
	if (r < 0)
		return r;
	t->data -= real;
	t->left -= n;
	if (t->left || !t->pax_len)
		return (ssize_t)n;
	if (!pax_is_harmless(t->pax, t->pax_len))
		return refuse(t, "an extended header in it changes what a file is");
	t->pax_len = 0;
	return (ssize_t)n;
}

int tar_feed(struct tar_reader *t, const struct tar_sink *sink, const void *data, size_t len)
{
	const unsigned char *at = data, *end = at + len;

	while (at < end) {
		size_t n;
		int r;

		if (t->left) {
			ssize_t taken = take_content(t, sink, at, (size_t)(end - at));

			if (taken < 0)
				return (int)taken;
			at += taken;
			continue;
		}
		n = TAR_BLOCK - t->have;
		if (n > (size_t)(end - at))
			n = (size_t)(end - at);
		memcpy(t->block + t->have, at, n);
		t->have += (uint32_t)n;
		at += n;
		r = t->have == TAR_BLOCK ? take_block(t, sink) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int tar_end(struct tar_reader *t)
{
	if (t->zeros >= 2 && !t->have)
		return 0;
	return refuse(t, "it ends before its end: it was cut off");
}
