// SPDX-License-Identifier: Apache-2.0
/*
 * Where an image grows: what a next run goes on from, what it does not believe, and one step
 * into sight. fsync(2) is this program's own here, so that it can fail.
 */
#include "test.h"

#include <errno.h>
#include <sys/syscall.h>

#include "base/alloc.h"
#include "host/image/image-stage.h"

#define IMAGES "/images"
#define PULL IMAGES "/.pull/i-1.0"

static int fsyncs_until_failure; /* 0: none fails */

int fsync(int fd)
{
	if (fsyncs_until_failure && --fsyncs_until_failure == 0) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static void begin(const struct fixture *f, struct stage *s)
{
	assert_int_equal(stage_open(&f->root, IMAGES, "i-1.0", s), 0);
}

static struct stage_cut cut_at(uint64_t at)
{
	struct stage_cut cut = { .identity = "i-1.0 x", .at = at, .unpack_len = 3 };

	assert_int_equal(hash_load(), 0);
	cut.unpack = xmalloc(4);
	memcpy(cut.unpack, "abc", 4);
	hash_init(&cut.hash);
	hash_add(&cut.hash, "0123456789", at);
	return cut;
}

/* A run that is killed after a cut: a file of 4 bytes then, of 6 now, and one more. */
static void run_and_die(const struct fixture *f)
{
	struct stage_cut cut = cut_at(7);
	struct stage s;

	begin(f, &s);
	assert_int_equal(stage_begin(&s, "a", 10), 0);
	assert_int_equal(stage_write(&s, "0123", 4), 0);
	assert_int_equal(stage_save(&s, &cut), 0);
	assert_int_equal(stage_saved(&s), 0);
	assert_int_equal(stage_write(&s, "45", 2), 0);
	assert_int_equal(stage_begin(&s, "b", 1), 0);
	stage_cut_free(&cut);
	stage_close(&s);
}

static void goes_on_from_its_cut(void **state)
{
	struct fixture *f = *state;
	struct stage_cut cut;
	unsigned char own[HASH_LEN], wanted[HASH_LEN];
	struct hash h;
	struct stage s;

	run_and_die(f);
	begin(f, &s);
	assert_int_equal(stage_load(&s, "i-1.0 x", &cut), 0);
	assert_int_equal(cut.at, 7);
	assert_int_equal(cut.unpack_len, 3);
	assert_memory_equal(cut.unpack, "abc", 3);
	assert_int_equal(s.n_files, 1);
	assert_string_equal(get(f, PULL "/new/a"), "0123");
	assert_null(get(f, PULL "/new/b"));
	assert_int_equal(stage_write(&s, "xyz", 3), 0);
	assert_string_equal(get(f, PULL "/new/a"), "0123xyz");
	hash_add(&cut.hash, "789", 3);
	hash_end(&cut.hash, own);
	hash_init(&h);
	hash_add(&h, "0123456789", 10);
	hash_end(&h, wanted);
	assert_memory_equal(own, wanted, HASH_LEN);
	stage_cut_free(&cut);
	stage_close(&s);
}

static void nothing_to_go_on_from(const struct fixture *f, const char *identity)
{
	struct stage_cut cut;
	struct stage s;

	begin(f, &s);
	assert_int_equal(stage_load(&s, identity, &cut), STAGE_NONE);
	assert_int_equal(cut.at, 0);
	assert_int_equal(s.n_files, 0);
	assert_null(get(f, PULL "/new/a"));
	assert_null(get(f, PULL "/state"));
	stage_close(&s);
}

static void believes_no_other_state(void **state)
{
	struct fixture *f = *state;
	char path[200];
	int fd;

	nothing_to_go_on_from(f, "i-1.0 x");
	/* Of another digest. */
	run_and_die(f);
	nothing_to_go_on_from(f, "i-1.0 y");
	/* One byte of it. */
	run_and_die(f);
	snprintf(path, sizeof(path), "%s" PULL "/state", f->dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "z", 1, 300), 1);
	close(fd);
	nothing_to_go_on_from(f, "i-1.0 x");
	/* A file that is shorter than it was. */
	run_and_die(f);
	snprintf(path, sizeof(path), "%s" PULL "/new/a", f->dir);
	assert_int_equal(truncate(path, 3), 0);
	nothing_to_go_on_from(f, "i-1.0 x");
	/* A link where a file was. */
	run_and_die(f);
	assert_int_equal(unlink(path), 0);
	put_text(f, "/outside", "0123");
	assert_int_equal(symlink("../../../../outside", path), 0);
	nothing_to_go_on_from(f, "i-1.0 x");
	assert_string_equal(get(f, "/outside"), "0123");
}

static void a_failed_fsync_is_no_cut(void **state)
{
	struct fixture *f = *state;
	struct stage_cut cut = cut_at(7);
	struct stage s;

	begin(f, &s);
	assert_int_equal(stage_begin(&s, "a", 10), 0);
	assert_int_equal(stage_write(&s, "0123", 4), 0);
	fsyncs_until_failure = 1;
	assert_int_equal(stage_save(&s, &cut), 0);
	fsyncs_until_failure = 0;
	assert_int_equal(stage_saved(&s), -EIO);
	assert_null(get(f, PULL "/state"));
	fsyncs_until_failure = 2;
	assert_int_equal(stage_sync(&s), -EIO);
	/* The state itself. */
	fsyncs_until_failure = 3;
	assert_int_equal(stage_save(&s, &cut), 0);
	fsyncs_until_failure = 0;
	assert_int_equal(stage_saved(&s), -ENOSPC);
	assert_null(get(f, PULL "/state"));
	assert_int_equal(stage_clear(&s), 0);
	stage_cut_free(&cut);
	stage_close(&s);
	assert_false(root_exists(&f->root, IMAGES "/.pull"));
}

static void one_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct stage s, other;

	begin(f, &s);
	assert_int_equal(stage_open(&f->root, IMAGES, "i-1.0", &other), -EAGAIN);
	/* Which leaves alone what is there. */
	assert_int_equal(stage_begin(&s, "a", 1), 0);
	assert_int_equal(stage_clear(&s), 0);
	stage_close(&s);
	begin(f, &other);
	stage_close(&other);
}

static void makes_only_files_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct stage s;

	begin(f, &s);
	assert_int_equal(stage_write(&s, "x", 1), -EBADMSG);
	assert_int_equal(stage_begin(&s, "../a", 1), -EBADMSG);
	assert_int_equal(stage_begin(&s, "", 1), -EBADMSG);
	assert_int_equal(stage_begin(&s, "a", UINT64_C(1) << 60), -ENOSPC);
	assert_int_equal(stage_begin(&s, "a", 1), 0);
	assert_int_equal(stage_begin(&s, "a", 1), -EEXIST);
	assert_int_equal(stage_clear(&s), 0);
	stage_close(&s);
}

static void shows_it_in_one_step(void **state)
{
	struct fixture *f = *state;
	char path[200];
	struct stat st;
	struct stage s;

	for (int replace = 0; replace < 3; replace++) {
		begin(f, &s);
		assert_int_equal(stage_begin(&s, "a", 1), 0);
		assert_int_equal(stage_write(&s, replace == 2 ? "2" : "0", 1), 0);
		if (replace == 1)
			assert_int_equal(stage_publish(&s, 0), -EEXIST);
		else
			assert_int_equal(stage_publish(&s, replace), 0);
		assert_string_equal(get(f, IMAGES "/i-1.0/a"), replace == 2 ? "2" : "0");
		if (replace == 1)
			assert_int_equal(stage_clear(&s), 0);
		stage_close(&s);
		assert_false(root_exists(&f->root, IMAGES "/.pull"));
	}
	snprintf(path, sizeof(path), "%s" IMAGES "/i-1.0", f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(goes_on_from_its_cut),
		with_root(believes_no_other_state),
		with_root(a_failed_fsync_is_no_cut),
		with_root(one_at_a_time),
		with_root(makes_only_files_of_its_own),
		with_root(shows_it_in_one_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
