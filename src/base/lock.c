// SPDX-License-Identifier: Apache-2.0
/* An open-file-description lock with a time limit. */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t expired;

static void on_alarm(int sig _unused_)
{
	expired = 1;
}

int lock_take(const struct root *root, unsigned seconds, int *ret_fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct sigaction sa = { .sa_handler = on_alarm }, old;
	int fd, r;

	r = root_mkdirs(root, "/run/dstack", 0755);
	if (r < 0)
		return r;
	fd = root_openat(root, "/run/dstack/.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	/* No SA_RESTART: the alarm is what ends the wait. */
	expired = 0;
	sigaction(SIGALRM, &sa, &old);
	alarm(seconds);
	do
		r = fcntl(fd, F_OFD_SETLKW, &fl) < 0 ? -errno : 0;
	while (r == -EINTR && !expired);
	alarm(0);
	sigaction(SIGALRM, &old, NULL);
	if (r < 0) {
		close(fd);
		return r == -EINTR ? -EAGAIN : r;
	}
	*ret_fd = fd;
	return 0;
}
