// SPDX-License-Identifier: Apache-2.0
/* Looking at sizes. */
#include "host/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"

int disk_look(const struct root *root, const char *path, struct disk *ret)
{
	_cleanup_close_ int fd = root_openat(root, path, O_RDONLY | O_DIRECTORY, 0);
	struct statvfs vfs;

	*ret = (struct disk){ 0 };
	if (fd < 0)
		return fd;
	if (fstatvfs(fd, &vfs) < 0)
		return -errno;
	ret->size = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	ret->available = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	return 0;
}

uint64_t disk_files(const struct root *root, const char *path)
{
	_cleanup_closedir_ DIR *d = root_opendir(root, path);
	const struct dirent *e;
	uint64_t sum = 0;
	struct stat st;

	while (d && (e = readdir(d)))
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	return sum;
}

char *disk_size_text(uint64_t bytes)
{
	static const char units[] = "BKMGTP";
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && units[unit + 1]) {
		value /= 1024;
		unit++;
	}
	return xasprintf(value < 10 && unit ? "%.1f%c" : "%.0f%c", value, units[unit]);
}
