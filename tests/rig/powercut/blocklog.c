// SPDX-License-Identifier: Apache-2.0
/*
 * blocklog BACKING LOG MOUNTPOINT: a FUSE file system with one file, "disk", whose writes and
 * flushes are recorded in order. A loop device on that file makes it the disk of a real ext4.
 *
 * The kernel gives us writes in the order in which the loop device was asked for them (one
 * worker, page cache written through), and a flush of the block device arrives as fsync.
 * Prints "ready" when it serves; ends when it is unmounted or its parent dies.
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { RECORD_WRITE = 1, RECORD_FLUSH = 2 };

struct record {
	uint64_t offset;
	uint32_t length;
	uint32_t kind;
};

static int disk_fd, log_fd;

static int append(uint32_t kind, off_t offset, const char *data, size_t n)
{
	struct record rec = { (uint64_t)offset, (uint32_t)n, kind };
	struct iovec iov[2] = {
		{ .iov_base = &rec, .iov_len = sizeof(rec) },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = n },
	};

	/* A record that is lost would make the replay lie, so this is the end. */
	if (writev(log_fd, iov, 2) != (ssize_t)(sizeof(rec) + n)) {
		perror("blocklog: writing the log");
		abort();
	}
	return 0;
}

static int is_disk(const char *path)
{
	return strcmp(path, "/disk") == 0;
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	if (is_disk(path))
		return fstat(disk_fd, st) < 0 ? -errno : 0;
	if (strcmp(path, "/") != 0)
		return -ENOENT;
	*st = (struct stat){ .st_mode = S_IFDIR | 0700, .st_nlink = 2 };
	return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
	/* Between two mounts the driver changes the backing file behind our back. */
	fi->keep_cache = 0;
	return is_disk(path) ? 0 : -ENOENT;
}

static int op_read(const char *path, char *buf, size_t n, off_t offset,
		   struct fuse_file_info *fi)
{
	ssize_t got = pread(disk_fd, buf, n, offset);

	(void)path;
	(void)fi;
	return got < 0 ? -errno : (int)got;
}

static int op_write(const char *path, const char *buf, size_t n, off_t offset,
		    struct fuse_file_info *fi)
{
	ssize_t put = pwrite(disk_fd, buf, n, offset);

	(void)path;
	(void)fi;
	if (put < 0)
		return -errno;
	append(RECORD_WRITE, offset, buf, (size_t)put);
	return (int)put;
}

static int op_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	(void)path;
	(void)datasync;
	(void)fi;
	return append(RECORD_FLUSH, 0, NULL, 0);
}

/* Discarding and zeroing by range would bypass the log; the kernel falls back to writes. */
static int op_fallocate(const char *path, int mode, off_t offset, off_t n,
			struct fuse_file_info *fi)
{
	(void)path;
	(void)mode;
	(void)offset;
	(void)n;
	(void)fi;
	return -EOPNOTSUPP;
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	(void)conn;
	config->attr_timeout = 3600;
	config->entry_timeout = 3600;
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		abort();
	return NULL;
}

int main(int argc, char *argv[])
{
	static const struct fuse_operations ops = {
		.init = op_init,
		.getattr = op_getattr,
		.open = op_open,
		.read = op_read,
		.write = op_write,
		.fsync = op_fsync,
		.fallocate = op_fallocate,
	};
	char *args[] = { argv[0], "-f", "-s", "-odefault_permissions,fsname=blocklog", NULL,
			 NULL };

	if (argc != 4) {
		fputs("usage: blocklog BACKING LOG MOUNTPOINT\n", stderr);
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	disk_fd = open(argv[1], O_RDWR | O_CLOEXEC);
	log_fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (disk_fd < 0 || log_fd < 0) {
		perror("blocklog");
		return 1;
	}
	args[4] = argv[3];
	return fuse_main(5, args, &ops, NULL);
}
