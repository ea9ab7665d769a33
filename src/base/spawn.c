// SPDX-License-Identifier: Apache-2.0
/* posix_spawn and wait; for strangers fork, with everything given up in between. */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

/* nobody and nogroup; their numbers are the same on every Debian (base-passwd). */
enum { NOBODY = 65534, CANNOT_RUN = 127 };

static int status_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int spawn_wait(const char *const argv[])
{
	pid_t pid;
	int status, r;

	r = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status_of(status);
}

_noreturn_ static void be_stranger(const char *const argv[], int out)
{
	static const struct rlimit no_core = { 0, 0 };
	char *const environment[] = { NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* A group of its own: what it starts is ended with it. */
	setpgid(0, 0);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0u, 0) < 0 ||
	    chdir("/") < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
		_exit(CANNOT_RUN);
	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
			       setresuid(NOBODY, NOBODY, NOBODY) < 0))
		_exit(CANNOT_RUN);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(CANNOT_RUN);
	execve(argv[0], (char *const *)argv, environment);
	_exit(CANNOT_RUN);
}

/* Until it closes its output. 0, -ETIMEDOUT or -errno. */
static int hear(int fd, uint64_t deadline, char *ret, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char lost[4096];
	size_t used = 0;

	for (;;) {
		int ready = poll(&p, 1, clock_left(deadline));
		size_t room = size - 1 - used;
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready < 0 ? -errno : -ETIMEDOUT;
		n = read(fd, room ? ret + used : lost, room ? room : sizeof(lost));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		if (n > 0 && room)
			used += (size_t)n;
		ret[used] = '\0';
		/* One that never stops talking is not listened to for ever. */
		if (clock_left(deadline) == 0)
			return -ETIMEDOUT;
	}
}

/* Until it has ended, or not at all. 0, -ETIMEDOUT or -errno. */
static int await_end(pid_t pid, uint64_t deadline)
{
	struct pollfd p = { .fd = pidfd_open(pid, 0), .events = POLLIN };
	int r;

	if (p.fd < 0)
		return -errno;
	do
		r = poll(&p, 1, clock_left(deadline));
	while (r < 0 && errno == EINTR);
	r = r < 0 ? -errno : r ? 0 : -ETIMEDOUT;
	close(p.fd);
	return r;
}

int spawn_stranger(const char *const argv[], unsigned ms, char *ret, size_t size)
{
	uint64_t deadline = clock_ms() + ms;
	int fds[2], status, r;
	pid_t pid;

	ret[0] = '\0';
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		be_stranger(argv, fds[1]);
	r = pid < 0 ? -errno : 0;
	close(fds[1]);
	if (r == 0) {
		setpgid(pid, pid);
		r = hear(fds[0], deadline, ret, size);
	}
	close(fds[0]);
	if (pid < 0)
		return r;
	if (r == 0)
		r = await_end(pid, deadline);
	/* Whoever it has left behind goes too; it is still there itself, if only to be reaped. */
	kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return r < 0 ? r : status_of(status);
}
