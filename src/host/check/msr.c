// SPDX-License-Identifier: Apache-2.0
/* The device takes the register's number for the offset, at which eight bytes are read. */
#include "host/check/msr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"

#define DEVICE "/dev/cpu/0/msr"

/* Registers overlap as offsets of a regular file, so each has one of its own. */
static int from_file(const struct root *root, enum msr number, uint64_t *ret)
{
	_cleanup_free_ char *path = xasprintf(DEVICE ".d/0x%x", (unsigned)number);
	_cleanup_free_ char *text = NULL;
	char *end;
	int r = file_read(root, path, 64, &text, NULL);

	if (r < 0)
		return r;
	errno = 0;
	*ret = strtoull(text, &end, 0);
	return errno || end == text ? -EBADMSG : 0;
}

int msr_read(const struct root *root, enum msr number, uint64_t *ret)
{
	_cleanup_close_ int fd = root_openat(root, DEVICE, O_RDONLY | O_CLOEXEC, 0);
	struct stat st;
	ssize_t n;

	if (fd == -ENOENT)
		return from_file(root, number, ret);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode))
		return -ENOTTY;
	n = pread(fd, ret, sizeof(*ret), (off_t)number);
	if (n < 0)
		return -errno;
	return n == sizeof(*ret) ? 0 : -EIO;
}
