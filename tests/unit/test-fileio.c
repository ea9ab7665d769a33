// SPDX-License-Identifier: Apache-2.0
/* The writer of files: atomic, durable, silent when nothing differs. */
#include "test.h"

#include <errno.h>

#include "base/fileio.h"

#define SPEC(text, m)                                                                    \
	((struct file_spec){ .data = (text), .len = strlen(text), .mode = (m),           \
			     .uid = (uid_t)-1, .gid = (gid_t)-1 })

static struct stat stat_of(const struct fixture *f, const char *path)
{
	char full[512];
	struct stat st;

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(lstat(full, &st), 0);
	return st;
}

static void write_then_unchanged(void **state)
{
	struct fixture *f = *state;
	struct file_spec spec = SPEC("one\n", 0640);
	struct stat a, b;

	assert_int_equal(file_replace(&f->root, "/x", &spec), 0);
	assert_string_equal(get(f, "/x"), "one\n");
	a = stat_of(f, "/x");
	assert_int_equal(a.st_mode & 07777, 0640);
	assert_int_equal(file_replace(&f->root, "/x", &spec), FILE_UNCHANGED);
	b = stat_of(f, "/x");
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
}

static void mode_alone_is_a_change(void **state)
{
	struct fixture *f = *state;
	struct file_spec wide = SPEC("secret", 0644), narrow = SPEC("secret", 0600);

	assert_int_equal(file_replace(&f->root, "/x", &wide), 0);
	assert_int_equal(file_replace(&f->root, "/x", &narrow), 0);
	assert_int_equal(stat_of(f, "/x").st_mode & 07777, 0600);
}

static void link_is_replaced_not_followed(void **state)
{
	struct fixture *f = *state;
	struct file_spec spec = SPEC("new", 0600);
	char full[512];

	put_text(f, "/victim", "old");
	snprintf(full, sizeof(full), "%s/x", f->dir);
	assert_int_equal(symlink("victim", full), 0);
	assert_int_equal(file_replace(&f->root, "/x", &spec), 0);
	assert_string_equal(get(f, "/victim"), "old");
	assert_true(S_ISREG(stat_of(f, "/x").st_mode));
}

static void stale_temporary_goes(void **state)
{
	struct fixture *f = *state;
	struct file_spec spec = SPEC("new", 0600);

	put_text(f, "/.x.dstack-new", "half");
	assert_int_equal(file_replace(&f->root, "/x", &spec), 0);
	assert_null(get(f, "/.x.dstack-new"));
}

static void root_is_not_left(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *text = NULL;
	char full[512];

	put_text(f, "/etc/hostname", "inside");
	snprintf(full, sizeof(full), "%s/link", f->dir);
	assert_int_equal(symlink("/etc/hostname", full), 0);
	assert_int_equal(file_read(&f->root, "/link", 100, &text, NULL), 0);
	assert_string_equal(text, "inside");
	assert_int_equal(root_exists(&f->root, "/../../../etc/passwd"), 0);
}

static void reads_are_bounded(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *text = NULL;
	char full[512];

	put_text(f, "/x", "12345");
	assert_int_equal(file_read(&f->root, "/x", 4, &text, NULL), -EFBIG);
	assert_int_equal(file_read(&f->root, "/x", 5, &text, NULL), 0);
	snprintf(full, sizeof(full), "%s/fifo", f->dir);
	assert_int_equal(mkfifo(full, 0600), 0);
	free(text);
	text = NULL;
	assert_int_equal(file_read(&f->root, "/fifo", 5, &text, NULL), -EINVAL);
}

static void directories_get_the_mode_asked_for(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(root_mkdirs(&f->root, "/a/b", 0755), 0);
	assert_int_equal(stat_of(f, "/a").st_mode & 07777, 0755);
	assert_int_equal(stat_of(f, "/a/b").st_mode & 07777, 0755);
	assert_int_equal(root_mkdirs(&f->root, "/a/b", 0700), 0);
	assert_int_equal(stat_of(f, "/a/b").st_mode & 07777, 0755);
}

static void remove_is_idempotent(void **state)
{
	struct fixture *f = *state;

	put_text(f, "/x", "1");
	assert_int_equal(file_remove(&f->root, "/x"), 0);
	assert_int_equal(file_remove(&f->root, "/x"), FILE_UNCHANGED);
	assert_int_equal(file_remove(&f->root, "/no/such/dir"), FILE_UNCHANGED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(write_then_unchanged), with_root(mode_alone_is_a_change),
		with_root(link_is_replaced_not_followed), with_root(stale_temporary_goes),
		with_root(root_is_not_left), with_root(reads_are_bounded),
		with_root(remove_is_idempotent),
		with_root(directories_get_the_mode_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
