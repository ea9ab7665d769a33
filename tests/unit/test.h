// SPDX-License-Identifier: Apache-2.0
/* What the unit tests share: cmocka and a fake root that is removed afterwards. */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/root.h"

struct fixture {
	char dir[64];
	struct root root;
};

static inline int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	umask(077); /* as main() does */
	strcpy(f->dir, "/tmp/dstack-test-XXXXXX");
	if (!mkdtemp(f->dir) || root_open(f->dir, &f->root) < 0)
		return -1;
	*state = f;
	return 0;
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type,
				     struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	root_close(&f->root);
	nftw(f->dir, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

/* Writes a file below the fake root without the code under test. */
static inline void put(const struct fixture *f, const char *path, const char *text, size_t len)
{
	char full[512];
	FILE *fp;

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	for (char *p = full + strlen(f->dir) + 1; *p; p++)
		if (*p == '/') {
			*p = '\0';
			mkdir(full, 0755);
			*p = '/';
		}
	fp = fopen(full, "w");
	assert_non_null(fp);
	assert_int_equal(fwrite(text, 1, len, fp), len);
	assert_int_equal(fclose(fp), 0);
}

/* Contents of a file below the fake root, in a static buffer; NULL when it is absent. */
static inline const char *get(const struct fixture *f, const char *path)
{
	static char buffer[65536];
	char full[512];
	FILE *fp;
	size_t n;

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	fp = fopen(full, "r");
	if (!fp)
		return NULL;
	n = fread(buffer, 1, sizeof(buffer) - 1, fp);
	fclose(fp);
	buffer[n] = '\0';
	return buffer;
}

/* A pointer that is one, or the end of the test; the compiler knows it, too. */
#define must(pointer)                                                                    \
	({                                                                               \
		__typeof__(pointer) pointer_ = (pointer);                                \
                                                                                         \
		if (!pointer_) {                                                         \
			fail_msg("%s is NULL", #pointer);                                \
			abort();                                                         \
		}                                                                        \
		pointer_;                                                                \
	})

#define put_text(f, path, text) put(f, path, text, strlen(text))
#define with_root(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
