// SPDX-License-Identifier: Apache-2.0
/*
 * What the fuzz targets share: a claim that ends the program, a fake root in memory, and
 * readers that were written from the formats' specifications and share nothing with the
 * program's writers.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/root.h"
#include "base/strbuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A finding: libFuzzer keeps the input. Said on stdout; stderr, where the program may complain
 * as often as it is run, is closed by the runner. */
#define require(claim)                                                                   \
	do {                                                                             \
		if (!(claim)) {                                                          \
			printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #claim);       \
			fflush(stdout);                                                  \
			abort();                                                         \
		}                                                                        \
	} while (0)

/* --- a root directory; the runner's TMPDIR is in memory and goes with the run --- */

static struct root fuzz_root = { .fd = -1 };

static inline int fuzz_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void fuzz_root_remove(void)
{
	nftw(fuzz_root.path, fuzz_remove, 16, FTW_DEPTH | FTW_PHYS);
	root_close(&fuzz_root);
}

static inline void fuzz_root_make(void)
{
	const char *tmp = getenv("TMPDIR");
	_cleanup_free_ char *dir = xasprintf("%s/dstack-fuzz-XXXXXX", tmp ? tmp : "/tmp");

	umask(077);
	require(mkdtemp(dir));
	require(root_open(dir, &fuzz_root) == 0);
	atexit(fuzz_root_remove);
}

/* Written without the code under test. */
static inline void fuzz_put(const char *path, const void *data, size_t len)
{
	_cleanup_free_ char *full = xasprintf("%s%s", fuzz_root.path, path);
	int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0) {
		for (char *p = full + strlen(fuzz_root.path) + 1; *p; p++)
			if (*p == '/') {
				*p = '\0';
				mkdir(full, 0700);
				*p = '/';
			}
		fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	}
	require(fd >= 0);
	require(write(fd, data, len) == (ssize_t)len);
	close(fd);
}

static inline void fuzz_drop(const char *path)
{
	_cleanup_free_ char *full = xasprintf("%s%s", fuzz_root.path, path);

	unlink(full);
}

/* The file's bytes, the caller's; NULL when it is not there. */
static inline char *fuzz_get(const char *path, size_t *len)
{
	_cleanup_free_ char *full = xasprintf("%s%s", fuzz_root.path, path);
	struct strbuf sb = { 0 };
	char chunk[4096];
	ssize_t n;
	int fd = open(full, O_RDONLY);

	if (fd < 0)
		return NULL;
	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		sb_addn(&sb, chunk, (size_t)n);
	close(fd);
	*len = sb.len;
	return sb_steal(&sb);
}

/* A copy that ends in a NUL, at the end of its allocation: one byte further is caught. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *s = xmalloc(size + 1);

	if (size)
		memcpy(s, data, size);
	s[size] = '\0';
	return s;
}

/* --- TOML 1.0 basic strings, strictly: section "String" of the specification --- */

static inline unsigned toml_hex(const char **p, int digits)
{
	unsigned v = 0;

	while (digits--) {
		char c = *(*p)++;

		require((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'));
		v = v * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
	}
	return v;
}

/* Reads "..." at *p, behind which *p then stands. */
static inline void toml_read(const char **p, struct strbuf *out)
{
	static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";

	require(*(*p)++ == '"');
	while (**p != '"') {
		unsigned char c = (unsigned char)*(*p)++;
		const char *name;

		/* Tab is the one control character that may stand unescaped. */
		require(c >= 0x20 || c == '\t');
		require(c != 0x7f);
		if (c != '\\') {
			sb_addc(out, (char)c);
			continue;
		}
		c = (unsigned char)*(*p)++;
		name = c ? strchr(names, c) : NULL;
		if (name) {
			sb_addc(out, values[name - names]);
			continue;
		}
		require(c == 'u');
		c = (unsigned char)toml_hex(p, 4);
		/* Only control characters need it. */
		require(c && c < 0x80);
		sb_addc(out, (char)c);
	}
	(*p)++;
}
