// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a package: what it unpacks is files, directories and links that stay inside. */
#include "fuzz.h"

#include <sys/mman.h>

#include "host/measure/deb.h"

static int dir, memory, null;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	_cleanup_free_ char *path = NULL;

	(void)argc;
	(void)argv;
	fuzz_root_make();
	require(deb_load() == 0);
	fuzz_put("/above", "x", 1);
	path = xasprintf("%s/in", fuzz_root.path);
	require(mkdir(path, 0700) == 0);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memory = memfd_create("package", MFD_CLOEXEC);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	require(dir >= 0 && memory >= 0 && null >= 0);
	return 0;
}

static int look_and_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char target[4096], real[8192];
	ssize_t n;

	(void)type;
	require(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) || S_ISLNK(st->st_mode));
	require(!(st->st_mode & (S_ISUID | S_ISGID)) || S_ISDIR(st->st_mode));
	if (S_ISLNK(st->st_mode)) {
		int depth = ftw->level - 1;

		n = readlink(path, target, sizeof(target) - 1);
		require(n > 0 && target[0] != '/');
		target[n] = '\0';
		snprintf(real, sizeof(real), "%s", target);
		for (char *save = NULL, *part = strtok_r(real, "/", &save); part;
		     part = strtok_r(NULL, "/", &save)) {
			depth += strcmp(part, "..") == 0 ? -1 : strcmp(part, ".") != 0;
			require(depth >= 0);
		}
	}
	return ftw->level ? remove(path) : 0;
}

static int nothing_else(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level == 1)
		require(strcmp(path + ftw->base, "above") == 0 || strcmp(path + ftw->base, "in") == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *path = xasprintf("%s/in", fuzz_root.path);
	int r;

	require(ftruncate(memory, 0) == 0 && pwrite(memory, data, size, 0) == (ssize_t)size);
	require(lseek(memory, 0, SEEK_SET) == 0);
	r = deb_unpack(memory, dir, null);
	require(r == 0 || r == -EBADMSG);
	nftw(path, look_and_remove, 16, FTW_DEPTH | FTW_PHYS);
	nftw(fuzz_root.path, nothing_else, 16, FTW_PHYS);
	return 0;
}
