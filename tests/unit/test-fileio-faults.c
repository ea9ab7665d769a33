// SPDX-License-Identifier: Apache-2.0
/*
 * The writer of files when a system call fails: what it says, and that readers find the old
 * file or the new one. The calls are this program's own, which go before the C library's.
 */
#include "test.h"

#include <errno.h>
#include <sys/syscall.h>

#include "base/fileio.h"

enum call { NONE, OPENAT, READ, WRITE, FSTAT, FSYNC, FCHOWN, FCHMOD, UNLINKAT, RENAMEAT, SYMLINKAT };

static struct {
	enum call call;
	int nth;   /* of these calls */
	int error; /* 0: it says 0, and has done nothing */
} fault;

/* Is it this one? *ret is then what it returns. */
static int strikes(enum call call, long *ret)
{
	if (fault.call != call || --fault.nth != 0)
		return 0;
	fault.call = NONE;
	errno = fault.error;
	*ret = fault.error ? -1 : 0;
	return 1;
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	long r;
	mode_t mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return strikes(OPENAT, &r) ? (int)r : (int)syscall(SYS_openat, dir, path, flags, mode);
}

ssize_t read(int fd, void *data, size_t n)
{
	long r;

	return strikes(READ, &r) ? r : syscall(SYS_read, fd, data, n);
}

ssize_t write(int fd, const void *data, size_t n)
{
	long r;

	return strikes(WRITE, &r) ? r : syscall(SYS_write, fd, data, n);
}

int fstat(int fd, struct stat *st)
{
	long r;

	return strikes(FSTAT, &r) ? (int)r : fstatat(fd, "", st, AT_EMPTY_PATH);
}

int fsync(int fd)
{
	long r;

	return strikes(FSYNC, &r) ? (int)r : (int)syscall(SYS_fsync, fd);
}

int fchown(int fd, uid_t uid, gid_t gid)
{
	long r;

	return strikes(FCHOWN, &r) ? (int)r : (int)syscall(SYS_fchown, fd, uid, gid);
}

int fchmod(int fd, mode_t mode)
{
	long r;

	return strikes(FCHMOD, &r) ? (int)r : (int)syscall(SYS_fchmod, fd, mode);
}

int unlinkat(int dir, const char *path, int flags)
{
	long r;

	return strikes(UNLINKAT, &r) ? (int)r : (int)syscall(SYS_unlinkat, dir, path, flags);
}

int renameat(int from, const char *old, int to, const char *new)
{
	long r;

	return strikes(RENAMEAT, &r) ? (int)r : (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int symlinkat(const char *target, int dir, const char *path)
{
	long r;

	return strikes(SYMLINKAT, &r) ? (int)r : (int)syscall(SYS_symlinkat, target, dir, path);
}

static void arm(enum call call, int nth, int error)
{
	fault.call = call;
	fault.nth = nth;
	fault.error = error;
}

static struct file_spec spec_of(const char *text)
{
	return (struct file_spec){ .data = text, .len = strlen(text), .mode = 0600,
				   .uid = (uid_t)-1, .gid = (gid_t)-1 };
}

struct fault_case {
	const char *wanted; /* contents; the file was "old" */
	enum call call;
	int nth, error;
	int says;
	const char *left; /* what is there then */
};

/* The sum of what may happen to one call of file_replace(). */
static const struct fault_case replacing[] = {
	{ "new", OPENAT, 1, EACCES, 0, "new" },
	{ "new", OPENAT, 2, EMFILE, -EMFILE, "old" },
	{ "new", FSTAT, 1, EIO, 0, "new" },
	{ "new", READ, 1, EIO, 0, "new" },
	{ "new", READ, 1, EINTR, 0, "new" },
	/* It became shorter while it was read. */
	{ "new", READ, 1, 0, 0, "new" },
	{ "new", UNLINKAT, 1, EACCES, -EACCES, "old" },
	{ "new", FCHOWN, 1, EPERM, -EPERM, "old" },
	{ "new", FCHMOD, 1, EPERM, -EPERM, "old" },
	{ "new", WRITE, 1, ENOSPC, -ENOSPC, "old" },
	{ "new", WRITE, 1, EINTR, 0, "new" },
	{ "new", WRITE, 1, 0, -EIO, "old" },
	{ "new", FSYNC, 1, EIO, -EIO, "old" },
	{ "new", RENAMEAT, 1, EIO, -EIO, "old" },
	/* In place, but perhaps not after a power cut. */
	{ "new", FSYNC, 2, EIO, -EIO, "new" },
	/* What is there already cannot be made durable: it is written again. */
	{ "old", FSYNC, 1, EIO, 0, "old" },
	{ "old", FSYNC, 2, EIO, 0, "old" },
	{ "old", READ, 1, EIO, 0, "old" },
};

static void a_failed_write_leaves_one_of_the_two(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(replacing); i++) {
		const struct fault_case *c = &replacing[i];
		struct file_spec spec = spec_of(c->wanted);
		int r;

		put_text(f, "/x", "old");
		arm(c->call, c->nth, c->error);
		r = file_replace(&f->root, "/x", &spec);
		if (fault.call || r != c->says)
			fail_msg("case %zu: %d, %s", i, r, fault.call ? "no such call" : "struck");
		assert_string_equal(get(f, "/x"), c->left);
		assert_null(get(f, "/.x.dstack-new"));
	}
}

/* Who owns it and how many names it has are part of what is wanted. */
static void an_equal_file_of_another_is_none(void **state)
{
	struct fixture *f = *state;
	struct file_spec spec = spec_of("old");
	char full[512], other[512];

	put_text(f, "/x", "old");
	spec.uid = geteuid();
	spec.gid = getegid();
	assert_int_equal(file_replace(&f->root, "/x", &spec), FILE_UNCHANGED);
	spec.uid = geteuid() + 1;
	arm(FCHOWN, 1, EPERM);
	assert_int_equal(file_replace(&f->root, "/x", &spec), -EPERM);
	spec.uid = geteuid();
	spec.gid = getegid() + 1;
	arm(FCHOWN, 1, EPERM);
	assert_int_equal(file_replace(&f->root, "/x", &spec), -EPERM);
	spec.gid = getegid();
	snprintf(full, sizeof(full), "%s/x", f->dir);
	snprintf(other, sizeof(other), "%s/other", f->dir);
	assert_int_equal(link(full, other), 0);
	assert_int_equal(file_replace(&f->root, "/x", &spec), 0);
	put_text(f, "/other", "changed");
	assert_string_equal(get(f, "/x"), "old");
	/* Nothing is contents too. */
	spec = spec_of("");
	assert_int_equal(file_replace(&f->root, "/x", &spec), 0);
	assert_int_equal(file_replace(&f->root, "/x", &spec), FILE_UNCHANGED);
	assert_int_equal(file_replace(&f->root, "/no/such/x", &spec), -ENOENT);
	/* Nor does a FIFO hold it up. */
	assert_int_equal(unlink(full), 0);
	assert_int_equal(mkfifo(full, 0600), 0);
	assert_int_equal(file_replace(&f->root, "/x", &spec), 0);
	assert_string_equal(get(f, "/x"), "");
}

static void reading_says_what_failed(void **state)
{
	struct fixture *f = *state;
	char *text;

	put_text(f, "/x", "old");
	arm(FSTAT, 1, EIO);
	assert_int_equal(file_read(&f->root, "/x", 100, &text, NULL), -EIO);
	arm(READ, 1, EIO);
	assert_int_equal(file_read(&f->root, "/x", 100, &text, NULL), -EIO);
	arm(READ, 1, EINTR);
	assert_int_equal(file_read(&f->root, "/x", 100, &text, NULL), 0);
	assert_string_equal(text, "old");
	free(text);
	assert_int_equal(file_read(&f->root, "/", 100, &text, NULL), -EISDIR);
}

static void removing_says_what_failed(void **state)
{
	struct fixture *f = *state;

	put_text(f, "/x", "old");
	assert_int_equal(file_remove(&f->root, "/x/y"), -ENOTDIR);
	arm(UNLINKAT, 1, EBUSY);
	assert_int_equal(file_remove(&f->root, "/x"), -EBUSY);
	assert_string_equal(get(f, "/x"), "old");
	arm(FSYNC, 1, EIO);
	assert_int_equal(file_remove(&f->root, "/x"), -EIO);
	/* Gone, but perhaps not after a power cut: the next run asks for that again. */
	arm(FSYNC, 1, EIO);
	assert_int_equal(file_remove(&f->root, "/x"), -EIO);
	assert_int_equal(file_remove(&f->root, "/x"), FILE_UNCHANGED);
}

static const char *target_of(const struct fixture *f, const char *path)
{
	static char target[64];
	char full[512];
	ssize_t n;

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	n = readlink(full, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	return target;
}

static void linking_leaves_one_of_the_two(void **state)
{
	static const struct fault_case cases[] = {
		{ "new", UNLINKAT, 1, EACCES, -EACCES, "old" },
		{ "new", SYMLINKAT, 1, ENOSPC, -ENOSPC, "old" },
		{ "new", RENAMEAT, 1, EIO, -EIO, "old" },
		{ "new", FSYNC, 1, EIO, -EIO, "new" },
		{ "old", FSYNC, 1, EIO, -EIO, "old" },
	};
	struct fixture *f = *state;

	assert_int_equal(file_symlink(&f->root, "old", "/no/such/x"), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(file_symlink(&f->root, "longer", "/x") >= 0);
		assert_int_equal(file_symlink(&f->root, "old", "/x"), 0);
		assert_int_equal(file_symlink(&f->root, "old", "/x"), FILE_UNCHANGED);
		put_text(f, "/.x.dstack-new", "left by a run that was killed");
		arm(cases[i].call, cases[i].nth, cases[i].error);
		assert_int_equal(file_symlink(&f->root, cases[i].wanted, "/x"), cases[i].says);
		assert_int_equal(fault.call, NONE);
		assert_string_equal(target_of(f, "/x"), cases[i].left);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(a_failed_write_leaves_one_of_the_two),
		with_root(an_equal_file_of_another_is_none),
		with_root(reading_says_what_failed),
		with_root(removing_says_what_failed),
		with_root(linking_leaves_one_of_the_two),
	};

	return cmocka_run_group_tests_name("fileio-faults", tests, NULL, NULL);
}
