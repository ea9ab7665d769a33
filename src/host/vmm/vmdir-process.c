// SPDX-License-Identifier: Apache-2.0
/*
 * What the kernel knows of processes in the machines' directories. A directory is told by
 * device and inode: the same path in a container is another one.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/vmm/vmdir.h"

/* Above the working directory: as deep as a machine's own directory goes. */
enum { LEVELS = 4 };

struct place {
	dev_t dev;
	ino_t ino;
};

struct machine {
	struct place at;
	char *id;
};

struct machines {
	struct place top; /* VM_DIR */
	struct machine *items;
	size_t n;
};

static int same(const struct place *a, const struct place *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

static int place_of(int fd, const char *name, int flags, struct place *ret)
{
	struct stat st;

	if (fstatat(fd, name, &st, flags) < 0)
		return -errno;
	*ret = (struct place){ st.st_dev, st.st_ino };
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static void list_machines(const struct root *root, const char *dir, struct machines *ret)
{
	_cleanup_closedir_ DIR *d = root_opendir(root, dir);
	const struct dirent *e;
	struct place at;

	*ret = (struct machines){ 0 };
	if (!d || place_of(dirfd(d), "", AT_EMPTY_PATH, &ret->top) < 0)
		return;
	while ((e = readdir(d))) {
		/* A link too: a machine may have been moved to where the space is. */
		if (e->d_name[0] == '.' || e->d_type == DT_REG ||
		    place_of(dirfd(d), e->d_name, 0, &at) < 0)
			continue;
		ret->items = xrealloc(ret->items, (ret->n + 1) * sizeof(*ret->items));
		ret->items[ret->n++] = (struct machine){ at, xstrdup(e->d_name) };
	}
}

static void machines_free(struct machines *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->items[i].id);
	free(m->items);
}

static const char *id_at(const struct machines *m, const struct place *at)
{
	for (size_t i = 0; i < m->n; i++)
		if (same(&m->items[i].at, at))
			return m->items[i].id;
	return NULL;
}

/* One that was deleted under its process is in no list; the kernel still knows its name. */
static char *deleted_id(int proc, const char *link)
{
	static const char mark[] = " (deleted)";
	char path[PATH_MAX];
	ssize_t n = readlinkat(proc, link, path, sizeof(path) - 1);
	char *slash;

	if (n < (ssize_t)strlen(mark))
		return NULL;
	path[n] = '\0';
	if (strcmp(path + n - strlen(mark), mark) != 0)
		return NULL;
	path[n - (ssize_t)strlen(mark)] = '\0';
	slash = strrchr(path, '/');
	return slash && slash[1] ? xstrdup(slash + 1) : NULL;
}

/* /proc/PID/cwd; a descriptor or -errno. */
static int open_cwd(int proc, const char *link)
{
	int fd = openat(proc, link, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* The directory above: *fd is replaced. 0: there is none. */
static int climb(int *fd, const struct place *from, struct place *ret)
{
	int up = openat(*fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

	close(*fd);
	*fd = up;
	return up >= 0 && place_of(up, "", AT_EMPTY_PATH, ret) == 0 && !same(from, ret);
}

/* The machine in whose directory the process lives, and which that is; NULL when in none. */
static char *machine_of(int proc, const char *pid, const struct machines *m,
			struct place *ret, int *denied)
{
	_cleanup_free_ char *link = xasprintf("%s/cwd", pid);
	_cleanup_close_ int fd = open_cwd(proc, link);
	struct place at, up = { 0 };

	*denied |= fd == -EACCES || fd == -EPERM;
	if (fd < 0 || place_of(fd, "", AT_EMPTY_PATH, &at) < 0)
		return NULL;
	for (unsigned level = 0; level < LEVELS; level++) {
		const char *id = id_at(m, &at);

		*ret = at;
		if (id)
			return xstrdup(id);
		if (!climb(&fd, &at, &up))
			return NULL;
		if (level == 0 && same(&up, &m->top))
			return deleted_id(proc, link);
		at = up;
	}
	return NULL;
}

/* Field 4 of /proc/PID/stat, behind a name that may hold anything, brackets too. */
static pid_t parent_of(const struct root *root, const char *pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/stat", pid), *text = NULL;
	const char *p;
	int parent;

	if (file_read(root, path, 65536, &text, NULL) < 0)
		return 0;
	p = strrchr(text, ')');
	return p && sscanf(p, ") %*c %d", &parent) == 1 ? parent : 0;
}

static void add(struct vm_processes *list, const struct root *root, const char *pid, char *id,
		const struct place *at)
{
	list->items = xrealloc(list->items, (list->n + 1) * sizeof(*list->items));
	list->items[list->n++] = (struct vm_process){
		.pid = (pid_t)strtol(pid, NULL, 10),
		.parent = parent_of(root, pid),
		.id = id,
		.dev = at->dev,
		.ino = at->ino,
	};
}

void vmdir_processes(const struct root *root, const char *dir, struct vm_processes *ret)
{
	_cleanup_closedir_ DIR *d = root_opendir(root, "/proc");
	const struct dirent *e;
	struct machines m;

	*ret = (struct vm_processes){ 0 };
	list_machines(root, dir, &m);
	while (d && (e = readdir(d))) {
		struct place at;
		char *id = isdigit((unsigned char)e->d_name[0]) ?
				   machine_of(dirfd(d), e->d_name, &m, &at, &ret->denied) :
				   NULL;

		if (id)
			add(ret, root, e->d_name, id, &at);
	}
	machines_free(&m);
}

int vm_process_lives(const struct root *root, const struct vm_process *process)
{
	_cleanup_close_ int proc = root_openat(root, "/proc", O_RDONLY | O_DIRECTORY, 0);
	struct machine here = { { process->dev, process->ino }, process->id };
	struct machines only = { .items = &here, .n = 1 };
	_cleanup_free_ char *pid = xasprintf("%d", process->pid), *id = NULL;
	struct place at;
	int denied = 0;

	id = proc < 0 ? NULL : machine_of(proc, pid, &only, &at, &denied);
	return id != NULL;
}

void vm_processes_free(struct vm_processes *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i].id);
	free(list->items);
	*list = (struct vm_processes){ 0 };
}
