// SPDX-License-Identifier: Apache-2.0
/* The control group of dstackcvm.slice: the kernel's own list of what the supervisor runs. */
#include "host/vmm/slice.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "host/guard.h"

#define LIST_MAX (16 << 20)
#define MAX_DEPTH 16
/* What is killed is gone at once, unless the kernel itself hangs in a device. */
#define KILL_MS 5000
#define ROUNDS 8

static void add(struct slice_processes *list, const struct root *root, pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/comm", pid);
	char *name = NULL;

	if (file_read(root, path, 256, &name, NULL) < 0)
		name = xstrdup("?");
	name[strcspn(name, "\n")] = '\0';
	for (char *p = name; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	list->items = xrealloc(list->items, (list->n + 1) * sizeof(*list->items));
	list->items[list->n++] = (struct slice_process){ pid, name };
}

static int read_procs(const struct root *root, const char *dir, struct slice_processes *list)
{
	_cleanup_free_ char *path = xasprintf("%s/cgroup.procs", dir), *text = NULL;
	char *line, *rest;
	uint64_t pid;
	int r = file_read(root, path, LIST_MAX, &text, NULL);

	if (r < 0)
		return r == -ENOENT || r == -ENODEV ? 0 : r; /* the group went away */
	rest = text;
	while ((line = strsep(&rest, "\n")))
		/* 0: one of another PID namespace, which is not ours to see or to end. */
		if (*line && !parse_uint(line, 1, 1u << 30, &pid) && (pid_t)pid != getpid())
			add(list, root, (pid_t)pid);
	return 0;
}

static int walk(const struct root *root, const char *dir, unsigned depth,
		struct slice_processes *list)
{
	const struct dirent *e;
	int r = read_procs(root, dir, list);
	_cleanup_closedir_ DIR *d = NULL;

	if (r < 0)
		return r;
	d = depth < MAX_DEPTH ? root_opendir(root, dir) : NULL;
	if (!d)
		return depth < MAX_DEPTH && errno != ENOENT ? -errno : 0;
	while (r == 0 && (e = readdir(d))) {
		_cleanup_free_ char *sub = NULL;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		sub = xasprintf("%s/%s", dir, e->d_name);
		r = walk(root, sub, depth + 1, list);
	}
	return r;
}

int slice_list(const struct root *root, struct slice_processes *ret)
{
	static const char *const trees[] = { "/sys/fs/cgroup/" GUARD_SLICE,
					     "/sys/fs/cgroup/unified/" GUARD_SLICE };
	int r = 0;

	*ret = (struct slice_processes){ 0 };
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(trees); i++)
		r = walk(root, trees[i], 0, ret);
	if (r < 0)
		slice_processes_free(ret);
	return r;
}

void slice_processes_free(struct slice_processes *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i].name);
	free(list->items);
	*list = (struct slice_processes){ 0 };
}

char *slice_processes_text(const struct slice_processes *list)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	for (size_t i = 0; i < list->n; i++)
		sb_addf(&sb, "%s%d %s", i ? ", " : "", list->items[i].pid,
			list->items[i].name);
	return sb_steal(&sb);
}

int slice_pidfd(const struct root *root, pid_t pid)
{
	_cleanup_slice_processes_ struct slice_processes list = { 0 };
	_cleanup_close_ int fd = pidfd_open(pid, 0);
	int r;

	if (fd < 0)
		return -errno;
	/* Looked up with the handle in hand: what is in the slice now is what it points to. */
	r = slice_list(root, &list);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.n; i++)
		if (list.items[i].pid == pid)
			return fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return -ESRCH;
}

size_t slice_wait(const int *pidfds, size_t n, uint64_t deadline)
{
	struct pollfd *p = xcalloc(n + 1, sizeof(*p));
	size_t living = n;

	for (size_t i = 0; i < n; i++)
		p[i] = (struct pollfd){ .fd = pidfds[i], .events = POLLIN };
	while (living) {
		int left = clock_left(deadline), r = poll(p, n, left);

		if (r < 0 && errno != EINTR)
			break;
		for (size_t i = 0; r > 0 && i < n; i++)
			if (p[i].fd >= 0 && p[i].revents) {
				p[i].fd = -1;
				living--;
			}
		if (r == 0 && left == 0)
			break;
	}
	free(p);
	return living;
}

/* One signal to all that are there; *left: how many of them are still there at the end. */
static int end_round(const struct root *root, int signo, unsigned ms, size_t *left)
{
	_cleanup_slice_processes_ struct slice_processes list = { 0 };
	int *fds;
	size_t n = 0;
	int r = slice_list(root, &list);

	if (r < 0)
		return r;
	fds = xcalloc(list.n + 1, sizeof(*fds));
	for (size_t i = 0; i < list.n; i++) {
		fds[n] = slice_pidfd(root, list.items[i].pid);
		if (fds[n] < 0)
			continue;
		if (pidfd_send_signal(fds[n], signo, NULL, 0) < 0 && errno == EPERM)
			r = -EPERM;
		n++;
	}
	*left = r < 0 ? n : slice_wait(fds, n, clock_ms() + ms);
	while (n)
		close(fds[--n]);
	free(fds);
	return r;
}

int slice_end_all(const struct root *root, unsigned patience_ms)
{
	_cleanup_slice_processes_ struct slice_processes list = { 0 };
	size_t left;
	int r = end_round(root, SIGTERM, patience_ms, &left);

	/* Again, because one may have started another before it ended. */
	for (unsigned i = 0; r == 0 && i < ROUNDS; i++) {
		slice_processes_free(&list);
		r = slice_list(root, &list);
		if (r < 0 || list.n == 0)
			return r;
		r = end_round(root, SIGKILL, KILL_MS, &left);
	}
	return r < 0 ? r : -EBUSY;
}
