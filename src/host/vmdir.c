// SPDX-License-Identifier: Apache-2.0
/* What the VMM and the kernel keep about virtual machines, read without asking either. */
#include "host/vmdir.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"

#define JSON_MAX (8 << 20)

/* The document, or NULL with *error set; absent is no error. */
static json_t *load(const struct root *root, const char *path, int *error)
{
	_cleanup_free_ char *text = NULL;
	json_t *doc;
	size_t len;
	int r = file_read(root, path, JSON_MAX, &text, &len);

	*error = r == -ENOENT ? 0 : r;
	if (r < 0)
		return NULL;
	doc = json_loadb(text, len, 0, NULL);
	if (!doc)
		*error = -EBADMSG;
	return doc;
}

/* 1, 0, or -errno when the file says nothing sensible. */
static int flag(const struct root *root, const char *path, const char *name)
{
	int error, r;
	json_t *doc = load(root, path, &error);

	if (!doc)
		return error;
	r = json_is_true(json_object_get(doc, name));
	json_decref(doc);
	return r;
}

static int one_needs(const struct root *root, const char *dir, const char *id)
{
	_cleanup_free_ char *state = xasprintf("%s/%s/vm-state.json", dir, id);
	_cleanup_free_ char *compose =
		xasprintf("%s/%s/shared/app-compose.json", dir, id);

	if (flag(root, state, "started") == 0)
		return 0;
	return flag(root, compose, "local_key_provider_enabled") != 0;
}

static DIR *open_dir(const struct root *root, const char *path)
{
	int fd = root_openat(root, path, O_RDONLY | O_DIRECTORY, 0);
	DIR *d;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	d = fdopendir(fd);
	if (!d)
		close(fd);
	return d;
}

int vmdir_needs_key_provider(const struct root *root, const char *dir)
{
	DIR *d = open_dir(root, dir);
	const struct dirent *e;
	int found = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!found && (e = readdir(d)))
		if (e->d_name[0] != '.' && e->d_type != DT_REG)
			found = one_needs(root, dir, e->d_name);
	closedir(d);
	return found;
}

char *vmdir_name(const struct root *root, const char *dir, const char *id)
{
	_cleanup_free_ char *path = xasprintf("%s/%s/vm-manifest.json", dir, id);
	int error;
	json_t *doc = load(root, path, &error);
	const char *name = json_string_value(json_object_get(doc, "name"));
	char *copy = name ? xstrdup(name) : NULL;

	json_decref(doc);
	return copy;
}

/* As the kernel names the directory: VM_DIR may be a link to where the space is. */
static char *real_path(const struct root *root, const char *dir)
{
	_cleanup_close_ int fd = -1;
	char self[32], path[PATH_MAX];
	ssize_t n;

	fd = root_is_host(root) ? root_openat(root, dir, O_PATH | O_DIRECTORY, 0) : -1;
	if (fd < 0)
		return xstrdup(dir);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, path, sizeof(path) - 1);
	return n < 0 ? xstrdup(dir) : xstrndup(path, (size_t)n);
}

/* The machine in whose directory the process lives; NULL when in none. */
static char *machine_of(int proc, const char *pid, const char *dir, int *denied)
{
	_cleanup_free_ char *link = xasprintf("%s/cwd", pid);
	char cwd[PATH_MAX];
	size_t len = strlen(dir);
	ssize_t n = readlinkat(proc, link, cwd, sizeof(cwd) - 1);

	if (n < 0) {
		*denied |= errno == EACCES || errno == EPERM;
		return NULL;
	}
	cwd[n] = '\0';
	if (strncmp(cwd, dir, len) != 0 || cwd[len] != '/' || !cwd[len + 1])
		return NULL;
	return xstrndup(cwd + len + 1, strcspn(cwd + len + 1, "/ "));
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

void vmdir_processes(const struct root *root, const char *dir, struct vm_processes *ret)
{
	_cleanup_free_ char *real = real_path(root, dir);
	DIR *d = open_dir(root, "/proc");
	const struct dirent *e;

	*ret = (struct vm_processes){ 0 };
	while (d && (e = readdir(d))) {
		char *id;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		id = machine_of(dirfd(d), e->d_name, real, &ret->denied);
		if (!id)
			continue;
		ret->items = xrealloc(ret->items, (ret->n + 1) * sizeof(*ret->items));
		ret->items[ret->n++] = (struct vm_process){
			.pid = (pid_t)strtol(e->d_name, NULL, 10),
			.parent = parent_of(root, e->d_name),
			.id = id,
		};
	}
	if (d)
		closedir(d);
}

int vm_process_lives(const struct root *root, const char *dir,
		     const struct vm_process *process)
{
	_cleanup_free_ char *real = real_path(root, dir), *pid = NULL, *id = NULL;
	_cleanup_close_ int proc = root_openat(root, "/proc", O_RDONLY | O_DIRECTORY, 0);
	int denied = 0;

	if (proc < 0)
		return 0;
	pid = xasprintf("%d", process->pid);
	id = machine_of(proc, pid, real, &denied);
	return id && strcmp(id, process->id) == 0;
}

void vm_processes_free(struct vm_processes *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i].id);
	free(list->items);
	*list = (struct vm_processes){ 0 };
}
