// SPDX-License-Identifier: Apache-2.0
/* QEMUs in a jail: what they find there and what they are told. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/measure/deb.h"
#include "host/measure/jail.h"
#include "host/measure/measure-run.h"

#define MIB (UINT64_C(1) << 20)
#define PACKAGE JAIL_SCRATCH "/package"
#define PACKAGE_PROGRAM PACKAGE "/usr/bin/qemu-system-x86_64"

enum {
	/* No setup code is longer; of the rest of a kernel QEMU makes nothing. */
	KERNEL_HEAD = 256 * 512,
	COPY = 64 << 10,
	CPU_SECONDS = 10,
	CPU_SECONDS_BOOTED = 600,
};

/* A file as long as the other, with its first bytes. */
static int copy_head(int from, int dir, const char *name, uint64_t most)
{
	_cleanup_close_ int to = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	char chunk[COPY];
	struct stat st;
	uint64_t at = 0;

	if (to < 0 || fstat(from, &st) < 0)
		return -errno;
	while (at < most) {
		size_t want = most - at < sizeof(chunk) ? (size_t)(most - at) : sizeof(chunk);
		ssize_t n = pread(from, chunk, want, (off_t)at);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if (write(to, chunk, (size_t)n) != n)
			return errno ? -errno : -ENOSPC;
		at += (uint64_t)n;
	}
	return ftruncate(to, st.st_size) < 0 ? -errno : 0;
}

/* QEMU looks for its modules and data beside itself, and asks here where that is. */
static int tell_place(void)
{
	if (mkdir("/proc", 0755) < 0 || mkdir("/proc/self", 0755) < 0 ||
	    symlink(PACKAGE_PROGRAM, "/proc/self/exe") < 0)
		return -errno;
	return 0;
}

static int furnish(int scratch, void *arg)
{
	const struct measure_cell *cell = arg;
	int r = measure_is_package(cell->qemu->path) ? tell_place() : 0;

	for (size_t i = 0; r == 0 && i < cell->n_images; i++) {
		const struct measure_files *f = &cell->images[i];
		char name[32];
		int dir;

		snprintf(name, sizeof(name), "image%zu", i);
		if (mkdirat(scratch, name, 0755) < 0)
			return -errno;
		dir = openat(scratch, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			return -errno;
		/* One that is stopped executes nothing and looks at nothing but this. */
		r = copy_head(f->firmware, dir, "firmware", cell->booted ? UINT64_MAX : 0);
		if (r == 0)
			r = copy_head(f->kernel, dir, "kernel",
				      cell->booted ? UINT64_MAX : KERNEL_HEAD);
		if (r == 0)
			r = copy_head(f->initrd, dir, "initrd", cell->booted ? UINT64_MAX : 0);
		close(dir);
	}
	return r;
}

static int prepare(int scratch, int err, void *arg)
{
	const struct measure_cell *cell = arg;
	int r = 0, dir;

	if (mkdirat(scratch, "package", 0700) < 0)
		return -errno;
	dir = openat(scratch, "package", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; r == 0 && i < cell->n_files; i++)
		r = deb_unpack(cell->files[i], dir, err);
	close(dir);
	return r;
}

/* --- arguments --- */

struct argv {
	char **args;
	size_t n;
};

static void push(struct argv *a, char *arg)
{
	a->args = xrealloc(a->args, (a->n + 2) * sizeof(*a->args));
	a->args[a->n++] = arg;
	a->args[a->n] = NULL;
}

static void push_all(struct argv *a, const char *const *args, size_t n)
{
	for (size_t i = 0; i < n; i++)
		push(a, xstrdup(args[i]));
}

static int has_own_memory(const struct measure_config *c)
{
	for (size_t i = 0; i < c->n_args; i++)
		if (strncmp(c->args[i], "memory-backend-file,", 20) == 0)
			return 1;
	return 0;
}

static void push_machine(struct argv *a, const struct measure_config *c,
			 const struct measure_cell *cell)
{
	int own = has_own_memory(c), console = !cell->booted;

	for (size_t i = 0; i < c->n_args; i++) {
		/* The first serial port is where firmware shows that it has come so far. */
		if (!console && i && strcmp(c->args[i - 1], "-serial") == 0) {
			push(a, xstrdup("chardev:console"));
			console = 1;
			continue;
		}
		/* Memory that takes no more than is touched, and counts for the scratch space. */
		if (i && strcmp(c->args[i - 1], "-machine") == 0)
			push(a, xasprintf("%s%s", cell->td ? c->td_machine : c->args[i],
					  own ? "" : ",memory-backend=ram"));
		else
			push(a, xstrdup(c->args[i]));
	}
	if (cell->td) {
		push(a, xstrdup("-object"));
		push(a, xstrdup(c->td_object));
	}
	if (own)
		return;
	push(a, xstrdup("-object"));
	push(a, xasprintf("memory-backend-file,id=ram,size=%llu,mem-path=" JAIL_SCRATCH
			  ",share=on", (unsigned long long)c->memory));
}

static void push_image(struct argv *a, const struct measure_config *c, size_t image)
{
	static const char *const names[][2] = {
		{ "-bios", "firmware" }, { "-kernel", "kernel" }, { "-initrd", "initrd" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		push(a, xstrdup(names[i][0]));
		push(a, xasprintf(JAIL_SCRATCH "/image%zu/%s", image, names[i][1]));
	}
	push(a, xstrdup("-append"));
	push(a, xstrdup(c->cmdline));
}

static char **arguments(const struct measure_cell *cell, size_t i, const char *program)
{
	/* Stopped: not one instruction of the guest. */
	static const char *const common[] = {
		"-S", "-display", "none", "-nodefaults", "-no-user-config", "-chardev",
		"socket,id=qtest,fd=3", "-qtest", "chardev:qtest", "-qtest-log", "none", "-chardev", "socket,id=qmp,fd=4", "-mon", "chardev=qmp,mode=control",
	};
	/* An Intel processor: with another vendor's QEMU places memory beyond 1 TiB elsewhere. */
	static const char *const without_tdx[] = {
		"-accel", "tcg,thread=single,tb-size=64", "-cpu", "qemu64,vendor=GenuineIntel",
	};
	static const char *const td[] = { "-accel", "kvm", "-cpu", "host" };
	static const char *const booted[] = { "-chardev", "socket,id=console,fd=5" };
	static const char *const package[] = {
		"-L", PACKAGE "/usr/share/qemu", "-L", PACKAGE "/usr/share/seabios",
		"-L", "/usr/share/qemu", "-L", "/usr/share/seabios", "-L", "/usr/lib/ipxe/qemu",
	};
	struct argv a = { 0 };

	push(&a, xstrdup(program));
	push_all(&a, common, ARRAY_SIZE(common));
	if (measure_is_package(cell->qemu->path))
		push_all(&a, package, ARRAY_SIZE(package));
	if (cell->td)
		push_all(&a, td, ARRAY_SIZE(td));
	else
		push_all(&a, without_tdx, ARRAY_SIZE(without_tdx));
	if (cell->booted)
		push_all(&a, booted, ARRAY_SIZE(booted));
	push_machine(&a, cell->configs[i], cell);
	push_image(&a, cell->configs[i], cell->image_of[i]);
	return a.args;
}

/* --- where the program is --- */

/* The path of what is open, the caller's; NULL: there is none. */
static char *path_of(int fd)
{
	_cleanup_free_ char *link = xasprintf("/proc/self/fd/%d", fd);
	char target[PATH_MAX];
	ssize_t n = fd < 0 ? -1 : readlink(link, target, sizeof(target));

	return n > 0 && (size_t)n < sizeof(target) ? xstrndup(target, (size_t)n) : NULL;
}

/* Links resolved, below root. */
static char *resolve(const struct root *root, const char *path)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH | O_CLOEXEC, 0);
	_cleanup_free_ char *target = path_of(fd), *top = path_of(root->fd);
	size_t skip = top ? strlen(top) : 0;

	if (!target || !top)
		return xstrdup(path);
	/* "/" ends in the slash that all others lack. */
	if (skip == 1)
		return steal_ptr(target);
	return xstrdup(strncmp(target, top, skip) == 0 && target[skip] == '/' ? target + skip :
										path);
}

static int is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && path[n] == '/';
}

/* What QEMU looks for near itself: installed below a prefix, or where it was built. */
static const char *const near[] = {
	"qemu-bundle", "pc-bios", "../pc-bios", "../share/qemu", "../lib/qemu",
	"../lib/x86_64-linux-gnu", "../lib64",
};

/* Trees that are seen: programs and libraries, and of where another program lies itself and what
 * is near. Never the directory: it may be somebody's home. They are the caller's. */
static char **trees_for(const char *program)
{
	static const char *const always[] = { "/usr", "/etc/ld.so.cache", "/etc/alternatives" };
	char **trees = xcalloc(ARRAY_SIZE(always) + ARRAY_SIZE(near) + 2, sizeof(*trees));
	size_t n = 0, dir = program ? (size_t)(strrchr(program, '/') - program) : 0;

	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		trees[n++] = xstrdup(always[i]);
	if (!program || is_below(program, "/usr"))
		return trees;
	trees[n++] = xstrdup(program);
	for (size_t i = 0; i < ARRAY_SIZE(near); i++) {
		const char *name = near[i];
		size_t at = dir;

		if (strncmp(name, "../", 3) == 0) {
			while (at && program[--at] != '/')
				;
			name += 3;
			/* Directly below /, where the jail has its own. */
			if (!at && !strchr(name, '/'))
				continue;
		}
		trees[n++] = xasprintf("%.*s/%s", (int)at, program, name);
	}
	return trees;
}

static uint64_t space_of(const struct measure_cell *cell, int package)
{
	uint64_t space = 128 * MIB + (package ? 1024 * MIB : 0);

	for (size_t i = 0; i < cell->n_images; i++) {
		const int fds[] = { cell->images[i].firmware, cell->images[i].kernel,
				    cell->images[i].initrd };
		struct stat st;

		for (size_t j = 0; cell->booted && j < ARRAY_SIZE(fds); j++)
			if (fstat(fds[j], &st) == 0)
				space += (uint64_t)st.st_size;
	}
	/* What the guest's firmware touches, and the kernel that it loads. */
	return space + (cell->booted ? 1024 * MIB * cell->n_programs : 0);
}

static uint64_t largest_memory(const struct measure_cell *cell)
{
	uint64_t most = 0;

	for (size_t i = 0; i < cell->n_programs; i++)
		if (cell->configs[i]->memory > most)
			most = cell->configs[i]->memory;
	return most;
}

static void free_all(char **words)
{
	for (char **word = words; *word; word++)
		free(*word);
	free(words);
}

int measure_jail_start(struct measure_cell *cell, struct jail *ret)
{
	int package = measure_is_package(cell->qemu->path), r;
	_cleanup_free_ char *found = resolve(cell->root, cell->qemu->path);
	char **trees = trees_for(package ? NULL : found);
	struct jail_spec spec = {
		.root = cell->root->path, .trees = (const char *const *)trees,
		.space = space_of(cell, package),
		/* The guest's memory is mapped whole, and its own beside it. */
		.address_space = largest_memory(cell) + 6144 * MIB, .data = 1024 * MIB,
		.device = cell->td ? "/dev/kvm" : NULL, .cpu_seconds = cell->booted ? CPU_SECONDS_BOOTED : CPU_SECONDS,
		.library_path = package ? PACKAGE "/usr/lib/x86_64-linux-gnu:" PACKAGE
					  "/lib/x86_64-linux-gnu:" PACKAGE "/usr/lib" : NULL,
		.furnish = furnish, .prepare = package ? prepare : NULL, .arg = cell,
		.files = cell->files, .n_files = package ? cell->n_files : 0,
		.programs = cell->programs, .n_programs = cell->n_programs,
	};
	char ***all = xcalloc(cell->n_programs, sizeof(*all));

	for (size_t i = 0; i < cell->n_programs; i++) {
		all[i] = arguments(cell, i, package ? PACKAGE_PROGRAM : found);
		cell->programs[i].argv = (const char *const *)all[i];
	}
	r = jail_start(&spec, ret);
	for (size_t i = 0; i < cell->n_programs; i++)
		free_all(all[i]);
	free(all);
	free_all(trees);
	return r;
}
