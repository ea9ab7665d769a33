// SPDX-License-Identifier: Apache-2.0
/* Makes a jail, starts the programs in it, ends it. */
#include "host/measure/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "host/measure/jail-root.h"

enum {
	/* The range of systemd's dynamic users: nobody owns a file there. */
	UID_FIRST = 61184,
	UID_COUNT = 4336,
	CANNOT_RUN = 127,
	FILES_MAX = 256,
	THREADS_MAX = 1024,
	STATUS_MAX = 1024,
};

struct entering {
	const struct jail_spec *spec;
	int status;   /* why it failed goes there */
	int go;	      /* a byte comes when the parent has it, its end when he is no more */
	uid_t uid;    /* of the programs */
	gid_t gid;
	int is_root;
};

/* The parent reads it when nothing else came. */
_noreturn_ static void give_up(int status, const char *what, int r)
{
	dprintf(status, "%s: %s", what, strerror(-r));
	_exit(CANNOT_RUN);
}

static int limit(int what, rlim_t most)
{
	struct rlimit rl = { most, most };

	return setrlimit((__rlimit_resource_t)what, &rl) < 0 ? -errno : 0;
}

static int limit_all(const struct entering *e)
{
	const struct jail_spec *s = e->spec;
	int r = limit(RLIMIT_CORE, 0);

	if (r == 0)
		r = limit(RLIMIT_NOFILE, FILES_MAX);
	/* Of a user that has no others; in a user namespace one's own are counted too. */
	if (r == 0 && e->is_root)
		r = limit(RLIMIT_NPROC, THREADS_MAX);
	if (r == 0)
		r = limit(RLIMIT_CPU, s->cpu_seconds);
	if (r == 0)
		r = limit(RLIMIT_MEMLOCK, 0);
	return r;
}

static int drop_ids(uid_t uid, const char *device)
{
	struct stat st;
	size_t n = device && stat(device, &st) == 0 && (st.st_mode & 0060) == 0060;

	for (cap_value_t c = 0; cap_get_bound(c) >= 0; c++)
		if (cap_drop_bound(c) < 0)
			break;
	if (setgroups(n, n ? &st.st_gid : NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

static int drop_privileges(const struct entering *e)
{
	cap_t none = cap_init();
	int r = e->is_root ? drop_ids(e->uid, e->spec->device) : 0;

	if (!none)
		return -ENOMEM;
	if (r == 0 && cap_set_proc(none) < 0)
		r = -errno;
	cap_free(none);
	if (r < 0)
		return r;
	/* After the ids: changing those clears it. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return 0;
}

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Its descriptors are 0 to 5 and no others. */
static int arrange(const struct jail_program *p, int null)
{
	int err = p->err, r = 0;
	int at[3 + JAIL_FDS] = { null, null, err, p->fds[0], p->fds[1], p->fds[2] };

	/* Out of the way of those that are put in place. */
	for (int i = 0; r == 0 && i < 3 + JAIL_FDS; i++) {
		at[i] = at[i] < 0 ? at[i] : fcntl(at[i], F_DUPFD, 16);
		r = i < 3 && at[i] < 0 ? -errno : 0;
	}
	for (int i = 0; r == 0 && i < 3 + JAIL_FDS; i++) {
		close(i);
		if (at[i] >= 0 && dup2(at[i], i) < 0)
			r = -errno;
	}
	if (r == 0 && close_range(3 + JAIL_FDS, ~0u, 0) < 0)
		r = -errno;
	return r;
}

_noreturn_ static void be_program(const struct jail_spec *s, const struct jail_program *p,
				  int null)
{
	_cleanup_free_ char *library_path =
		s->library_path ? xasprintf("LD_LIBRARY_PATH=%s", s->library_path) : NULL;
	char *const environment[] = { library_path, NULL };
	int r = arrange(p, null);

	if (r == 0 && chdir(JAIL_SCRATCH) < 0)
		r = -errno;
	if (r == 0)
		r = limit(RLIMIT_AS, s->address_space);
	if (r == 0)
		r = limit(RLIMIT_DATA, s->data);
	if (r == 0)
		r = jail_restrict(1, s->device != NULL);
	if (r < 0)
		give_up(STDERR_FILENO, "cannot be shut in", r);
	execve(p->argv[0], (char *const *)p->argv, environment);
	give_up(STDERR_FILENO, "cannot be run", -errno);
}

static void close_all(const struct jail_spec *s)
{
	for (size_t i = 0; i < s->n_programs; i++) {
		closep(&(int){ s->programs[i].err });
		for (int j = 0; j < JAIL_FDS; j++)
			closep(&(int){ s->programs[i].fds[j] });
	}
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* What else is open is this program's own business, and another jail's. */
static int keep_only(const struct entering *e, int null, int scratch)
{
	const struct jail_spec *s = e->spec;
	_cleanup_free_ int *keep = 
		xcalloc(4 + s->n_files + (1 + JAIL_FDS) * s->n_programs, sizeof(*keep));
	unsigned from = STDERR_FILENO + 1;
	size_t n = 0;

	keep[n++] = e->status;
	keep[n++] = e->go;
	keep[n++] = null;
	keep[n++] = scratch;
	for (size_t i = 0; i < s->n_files; i++)
		keep[n++] = s->files[i];
	for (size_t i = 0; i < s->n_programs; i++) {
		keep[n++] = s->programs[i].err;
		for (int j = 0; j < JAIL_FDS; j++)
			keep[n++] = s->programs[i].fds[j];
	}
	qsort(keep, n, sizeof(*keep), compare);
	for (size_t i = 0; i < n; i++) {
		unsigned fd = (unsigned)keep[i];

		if (keep[i] < (int)from)
			continue;
		if (fd > from && close_range(from, fd - 1, 0) < 0)
			return -errno;
		from = fd + 1;
	}
	if (close_range(from, ~0u, 0) < 0)
		return -errno;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	return 0;
}

/* The first process inside: all others end with it. */
static void run_programs(const struct entering *e, int null)
{
	const struct jail_spec *s = e->spec;
	struct pollfd parent = { .fd = e->go, .events = POLLIN };

	/* Nobody asks how they ended. */
	signal(SIGCHLD, SIG_IGN);
	for (size_t i = 0; i < s->n_programs; i++) {
		pid_t pid = fork();

		if (pid == 0 && signal(SIGCHLD, SIG_DFL) != SIG_ERR)
			be_program(s, &s->programs[i], null);
		if (pid < 0)
			give_up(e->status, "cannot start a process", -errno);
	}
	/* Whoever listens at their other ends learns when they have ended. */
	close_all(s);
	/* Until this is killed, or who could do so is no more: PR_SET_PDEATHSIG alone comes too
	 * late when he ended just before. */
	while (poll(&parent, 1, -1) < 0 && errno == EINTR)
		;
}

/* In a user namespace of its own: the same ids, all capabilities in there. */
static int map_ids(uid_t uid, gid_t gid)
{
	static const char *const files[] = { "/proc/self/setgroups", "/proc/self/uid_map",
					     "/proc/self/gid_map" };
	char text[64];
	int r = 0;

	/* The files are this process's own only while others may look at it. */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		return -errno;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++) {
		_cleanup_close_ int fd = open(files[i], O_WRONLY | O_CLOEXEC);
		unsigned id = i == 1 ? uid : gid;

		snprintf(text, sizeof(text), i ? "%u %u 1" : "deny", id, id);
		if (fd < 0 || write(fd, text, strlen(text)) < 0)
			r = -errno;
	}
	prctl(PR_SET_DUMPABLE, 0);
	return r;
}

static int enter(const struct entering *e, int *scratch)
{
	struct jail_tree_list trees = { e->spec->root, e->spec->trees, e->spec->device,
					e->spec->space };
	int r = e->is_root ? 0 : map_ids(e->uid, e->gid);

	if (r == 0)
		r = jail_root_make(&trees, e->uid, scratch);
	if (r == 0 && e->spec->furnish)
		r = e->spec->furnish(*scratch, e->spec->arg);
	return r;
}

_noreturn_ static void be_jail(const struct entering *e)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), scratch = -1, r;
	struct pollfd parent = { .fd = e->go, .events = POLLIN };
	char byte;

	reset_signals();
	umask(022);
	if (null < 0)
		give_up(e->status, "/dev/null", -errno);
	if (read(e->go, &byte, 1) != 1)
		_exit(CANNOT_RUN);
	r = enter(e, &scratch);
	if (r < 0)
		give_up(e->status, "cannot furnish a sandbox", r);
	r = limit_all(e);
	if (r == 0)
		r = drop_privileges(e);
	/* The parent may have ended before this process asked to be told. */
	if (r == 0 && poll(&parent, 1, 0) != 0)
		_exit(CANNOT_RUN);
	if (r == 0)
		r = keep_only(e, null, scratch);
	if (r == 0)
		r = jail_restrict(0, e->spec->device != NULL);
	if (r < 0)
		give_up(e->status, "cannot make a sandbox", r);
	if (e->spec->prepare) {
		r = limit(RLIMIT_DATA, e->spec->data);
		if (r == 0)
			r = e->spec->prepare(scratch, e->status, e->spec->arg);
		if (r < 0)
			_exit(CANNOT_RUN);
	}
	close(scratch);
	run_programs(e, null);
	_exit(0);
}

static pid_t clone_into(int is_root)
{
	unsigned long flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
			      CLONE_NEWUTS | CLONE_NEWCGROUP | SIGCHLD;

	if (!is_root)
		flags |= CLONE_NEWUSER;
	return (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
}

/* What is in it is still open, but no longer needed here. */
static int start(const struct jail_spec *spec, struct jail *ret)
{
	struct entering e = { .spec = spec, .is_root = geteuid() == 0, .uid = geteuid(),
			      .gid = getegid() };
	int status[2], go[2], r = jail_root_check(spec->trees);

	if (e.is_root)
		e.uid = e.gid = UID_FIRST + (uid_t)getpid() % UID_COUNT;
	if (r < 0)
		return r;
	if (pipe2(status, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(go, O_CLOEXEC) < 0) {
		r = -errno;
		close(status[0]);
		close(status[1]);
		return r;
	}
	e.status = status[1];
	e.go = go[0];
	ret->pid = clone_into(e.is_root);
	if (ret->pid == 0) {
		close(go[1]);
		close(status[0]);
		be_jail(&e);
	}
	r = ret->pid < 0 ? -errno : 0;
	close(status[1]);
	close(go[0]);
	if (r == 0 && write(go[1], "g", 1) != 1)
		r = -EPIPE;
	ret->alive = go[1];
	ret->status = status[0];
	if (r < 0 && ret->pid < 0)
		ret->pid = 0;
	return r;
}

int jail_start(const struct jail_spec *spec, struct jail *ret)
{
	int r;

	*ret = (struct jail){ .status = -1, .alive = -1 };
	r = start(spec, ret);
	/* In any case: who listens at their other ends would wait for what never starts. */
	close_all(spec);
	if (r < 0)
		free(jail_end(ret));
	return r;
}

char *jail_end(struct jail *jail)
{
	char text[STATUS_MAX], *reason;
	struct strbuf said = { 0 };
	ssize_t n;

	if (jail->pid) {
		kill(jail->pid, SIGKILL);
		while (waitpid(jail->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	jail->pid = 0;
	/* Nobody is left who could write to it. */
	n = jail->status >= 0 ? read(jail->status, text, sizeof(text)) : 0;
	if (n > 0)
		sb_addn(&said, text, (size_t)n);
	closep(&jail->status);
	closep(&jail->alive);
	jail->status = jail->alive = -1;
	reason = sb_steal(&said);
	/* What prepares may have been talked into anything. */
	utf8_clean(reason);
	return reason;
}
