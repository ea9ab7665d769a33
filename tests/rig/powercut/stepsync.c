// SPDX-License-Identifier: Apache-2.0
/*
 * stepsync DIRECTORY EVERY COMMAND...: runs a command and lets the file system of DIRECTORY
 * commit (syncfs) after every EVERY-th system call that changes a file.
 *
 * A journal commits when it likes: on a timer, or because an unrelated program calls fsync.
 * Without this the few milliseconds of a command see no commit but its own, and writing in
 * place looks atomic.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS                                                                              \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |                  \
	 PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)

static unsigned long every, changes;
static int dir_fd;

static int changes_a_file(long nr)
{
	switch (nr) {
	case SYS_open:
	case SYS_openat:
	case SYS_openat2:
	case SYS_creat:
	case SYS_write:
	case SYS_writev:
	case SYS_pwrite64:
	case SYS_truncate:
	case SYS_ftruncate:
	case SYS_rename:
	case SYS_renameat:
	case SYS_renameat2:
	case SYS_unlink:
	case SYS_unlinkat:
	case SYS_link:
	case SYS_linkat:
	case SYS_symlink:
	case SYS_symlinkat:
	case SYS_mkdir:
	case SYS_mkdirat:
	case SYS_rmdir:
	case SYS_chmod:
	case SYS_fchmod:
	case SYS_fchmodat:
	case SYS_chown:
	case SYS_fchown:
	case SYS_fchownat:
		return 1;
	default:
		return 0;
	}
}

/* A stop comes before and after each call; the kernel says which by op. */
static void at_syscall(pid_t pid)
{
	struct __ptrace_syscall_info info;
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0 ||
	    info.op != PTRACE_SYSCALL_INFO_EXIT || info.exit.is_error)
		return;
	if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0 &&
	    changes_a_file((long)regs.orig_rax) && ++changes % every == 0)
		syncfs(dir_fd);
}

static int supervise(pid_t first)
{
	int status, code = 1;
	pid_t pid;

	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		int sig = 0;

		if (!WIFSTOPPED(status)) {
			if (pid == first)
				code = WIFEXITED(status) ? WEXITSTATUS(status) :
							   128 + WTERMSIG(status);
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			at_syscall(pid);
		else if (status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP &&
			 WSTOPSIG(status) != SIGSTOP)
			sig = WSTOPSIG(status);
		ptrace(PTRACE_SYSCALL, pid, NULL, sig);
	}
	return code;
}

int main(int argc, char *argv[])
{
	pid_t pid;
	int status;

	if (argc < 4 || !(every = strtoul(argv[2], NULL, 10))) {
		fputs("usage: stepsync DIRECTORY EVERY COMMAND...\n", stderr);
		return 2;
	}
	dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0) {
		perror(argv[1]);
		return 1;
	}
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		execvp(argv[3], argv + 3);
		perror(argv[3]);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, OPTIONS) < 0) {
		perror("stepsync");
		return 1;
	}
	ptrace(PTRACE_SYSCALL, pid, NULL, 0);
	return supervise(pid);
}
