// SPDX-License-Identifier: Apache-2.0
/*
 * LD_PRELOAD library for the torture rig. Counts from the start of main() and lets fail
 *   FAULT_ALLOC=N        the N-th allocation (and no other)
 *   FAULT_SHORT_READ=N   the N-th read(2): one byte only; 0 means every one
 *   FAULT_SHORT_WRITE=N  the N-th write(2), likewise
 *   FAULT_CLOSE=N        the N-th close(2): it closes, and says EIO
 * FAULT_REPORT=FILE takes one line "ALLOCATIONS READS WRITES CLOSES STRUCK" at exit.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern int __libc_start_main(int (*)(int, char **, char **), int, char **, void (*)(void),
			     void (*)(void), void (*)(void), void *);
ssize_t __read(int, void *, size_t);
ssize_t __write(int, const void *, size_t);
int __close(int);

struct counter {
	const char *name;
	long at, n; /* at -1: never */
};

static struct counter allocs = { "FAULT_ALLOC", -1, 0 };
static struct counter reads = { "FAULT_SHORT_READ", -1, 0 };
static struct counter writes = { "FAULT_SHORT_WRITE", -1, 0 };
static struct counter closes = { "FAULT_CLOSE", -1, 0 };
static int counting, struck;
static const char *report_path;
static int (*real_main)(int, char **, char **);

static int strikes(struct counter *c)
{
	if (!counting)
		return 0;
	c->n++;
	if (c->at != c->n && c->at != 0)
		return 0;
	struck = 1;
	return 1;
}

static int out_of_memory(void)
{
	if (!strikes(&allocs))
		return 0;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t n)
{
	return out_of_memory() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return out_of_memory() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return out_of_memory() ? NULL : __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(n, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	return out_of_memory() ? NULL : __libc_realloc(p, total);
}

void *aligned_alloc(size_t align, size_t n)
{
	return out_of_memory() ? NULL : __libc_memalign(align, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
	if (out_of_memory())
		return ENOMEM;
	*p = __libc_memalign(align, n);
	return *p ? 0 : ENOMEM;
}

ssize_t read(int fd, void *buf, size_t n)
{
	return __read(fd, buf, n > 1 && strikes(&reads) ? 1 : n);
}

ssize_t write(int fd, const void *buf, size_t n)
{
	return __write(fd, buf, n > 1 && strikes(&writes) ? 1 : n);
}

int close(int fd)
{
	int r = __close(fd);

	if (!strikes(&closes))
		return r;
	errno = EIO;
	return -1;
}

static void report(void)
{
	char line[96];
	int fd, n;

	counting = 0;
	if (!report_path)
		return;
	n = snprintf(line, sizeof(line), "%ld %ld %ld %ld %d\n", allocs.n, reads.n,
		     writes.n, closes.n, struck);
	fd = open(report_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0 && __write(fd, line, (size_t)n) != n)
		abort();
	if (fd >= 0)
		__close(fd);
}

/* out_of_memory() of the program under test ends it here, past every exit handler. */
void _exit(int code)
{
	report();
	_Exit(code);
}

static int counted_main(int argc, char **argv, char **envp)
{
	int code;

	counting = 1;
	code = real_main(argc, argv, envp);
	report();
	return code;
}

static void take_limit(struct counter *c)
{
	const char *value = getenv(c->name);

	if (value)
		c->at = strtol(value, NULL, 10);
}

int __libc_start_main(int (*main_fn)(int, char **, char **), int argc, char **argv,
		      void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
		      void *stack_end)
{
	int (*next)(int (*)(int, char **, char **), int, char **, void (*)(void),
		    void (*)(void), void (*)(void), void *) =
		(int (*)(int (*)(int, char **, char **), int, char **, void (*)(void),
			 void (*)(void), void (*)(void), void *))dlsym(RTLD_NEXT,
								       "__libc_start_main");

	take_limit(&allocs);
	take_limit(&reads);
	take_limit(&writes);
	take_limit(&closes);
	report_path = getenv("FAULT_REPORT");
	real_main = main_fn;
	return next(counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}
