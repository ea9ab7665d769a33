// SPDX-License-Identifier: Apache-2.0
/*
 * measure FD COMMAND...: runs the command and writes one line to FD: nanoseconds of wall clock,
 * microseconds of user and of system time, peak resident KiB of the largest among it and those
 * it waited for, its wait status. A program of its own, because the peak that wait4(2) tells begins with what the
 * parent had when it forked: under Python that would be Python's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static long long us(const struct timeval *t)
{
	return t->tv_sec * 1000000ll + t->tv_usec;
}

int main(int argc, char *argv[])
{
	int fd = argc > 2 ? atoi(argv[1]) : -1, status = 0;
	long long start = now_ns();
	struct rusage usage;
	pid_t pid;

	if (fd < 0)
		return 2;
	pid = fork();
	if (pid < 0)
		return 2;
	if (pid == 0) {
		close(fd);
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (wait4(pid, &status, 0, &usage) != pid)
		return 2;
	dprintf(fd, "%lld %lld %lld %ld %d\n", now_ns() - start, us(&usage.ru_utime),
		us(&usage.ru_stime), usage.ru_maxrss, status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
