// SPDX-License-Identifier: Apache-2.0
/* A pair in /usr/local/bin becomes this host's, as a copy and as a whole; strangers are run. */
#include "test.h"

#include <errno.h>
#include <signal.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/spawn.h"
#include "cmd/cmd.h"
#include "host/vmm/adopt.h"
#include "host/vmm/vmm-version.h"

#define VMM ADOPT_FROM "/dstack-vmm"
#define SUPERVISOR ADOPT_FROM "/supervisor"
#define SAYS(text) "#!/bin/sh\n[ \"$1\" = --version ] && echo '" text "'\n"

static void put_program(const struct fixture *f, const char *path, const char *text, mode_t mode)
{
	char full[256];

	put_text(f, path, text);
	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(chmod(full, mode), 0);
	/* nobody runs the copy */
	assert_int_equal(chmod(f->dir, 0755), 0);
}

static void put_pair(const struct fixture *f, const char *vmm)
{
	put_program(f, VMM, vmm, 0755);
	put_program(f, SUPERVISOR, "supervisor's bytes", 0755);
}

static char *current(const struct fixture *f)
{
	char full[256], to[256];
	ssize_t n;

	snprintf(full, sizeof(full), "%s" PROGRAMS_CURRENT, f->dir);
	n = readlink(full, to, sizeof(to));
	return n < 0 ? NULL : xstrndup(to, (size_t)n);
}

/* No current, no half of a version, nothing that was staged. */
static void assert_nothing_was_done(const struct fixture *f)
{
	assert_null(current(f));
	assert_false(root_exists(&f->root, PROGRAMS_DIR "/0.5.5"));
	assert_false(root_exists(&f->root, PROGRAMS_DIR "/.adopting"));
}

static void need_root(void)
{
	if (geteuid() != 0)
		skip(); /* the programs must be root's */
	umask(022); /* as tmpfiles makes the directories */
}

static void pair_is_copied_and_switched_to(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *trouble = NULL, *to = NULL;
	struct vmm_version v;
	struct stat st;
	char full[256];

	need_root();
	assert_false(adopt_possible(&f->root));
	put_pair(f, SAYS("v0.5.5 (git:0123456789abcdef0123)"));
	assert_true(adopt_possible(&f->root));
	/* Left by a run that was killed. */
	put_text(f, PROGRAMS_DIR "/.adopting/supervisor", "half");
	assert_int_equal(adopt_pair(&f->root, &trouble), 0);
	to = current(f);
	assert_string_equal(to, "0.5.5");
	assert_string_equal(get(f, PROGRAMS_CURRENT "/supervisor"), "supervisor's bytes");
	assert_false(root_exists(&f->root, PROGRAMS_DIR "/.adopting"));
	vmm_version(&f->root, &v);
	assert_string_equal(v.text, "0.5.5");
	/* What is built there later changes nothing here. */
	put_program(f, SUPERVISOR, "another", 0755);
	assert_string_equal(get(f, PROGRAMS_CURRENT "/supervisor"), "supervisor's bytes");
	snprintf(full, sizeof(full), "%s" PROGRAMS_CURRENT "/dstack-vmm", f->dir);
	assert_int_equal(lstat(full, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0755);
	assert_int_equal(st.st_nlink, 1);
	/* It is asked once. */
	assert_false(adopt_possible(&f->root));
}

static void what_others_can_write_is_not_adopted(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *trouble = NULL;
	char full[256];

	need_root();
	put_pair(f, SAYS("v0.5.5"));
	put_program(f, SUPERVISOR, "x", 0775);
	assert_false(adopt_possible(&f->root));
	assert_int_equal(adopt_pair(&f->root, &trouble), -EPERM);
	assert_nothing_was_done(f);
	put_program(f, SUPERVISOR, "x", 0755);
	snprintf(full, sizeof(full), "%s" SUPERVISOR, f->dir);
	assert_int_equal(chown(full, 12345, 0), 0);
	assert_false(adopt_possible(&f->root));
	assert_int_equal(unlink(full), 0);
	assert_false(adopt_possible(&f->root));
	assert_int_equal(adopt_pair(&f->root, &trouble), -ENOENT);
	assert_nothing_was_done(f);
}

static void one_without_a_version_is_not_adopted(void **state)
{
	static const char *const says[] = {
		SAYS("dstack"), SAYS("v../../etc"), SAYS("0.5"), "#!/bin/sh\nexit 3\n",
		"no program at all",
	};
	struct fixture *f = *state;

	need_root();
	for (size_t i = 0; i < ARRAY_SIZE(says); i++) {
		_cleanup_free_ char *trouble = NULL;

		put_pair(f, says[i]);
		assert_int_equal(adopt_pair(&f->root, &trouble), -EINVAL);
		assert_non_null(strstr(trouble, VMM " --version tells no version"));
		assert_nothing_was_done(f);
	}
}

static void version_that_is_there_stays(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *trouble = NULL;

	need_root();
	put_pair(f, SAYS("dstack-vmm 0.5.5"));
	put_text(f, PROGRAMS_DIR "/0.5.5/supervisor", "older");
	assert_int_equal(adopt_pair(&f->root, &trouble), -EEXIST);
	assert_non_null(strstr(trouble, "/0.5.5 is there already"));
	assert_string_equal(get(f, PROGRAMS_DIR "/0.5.5/supervisor"), "older");
	assert_null(current(f));
	assert_false(root_exists(&f->root, PROGRAMS_DIR "/.adopting"));
}

/* Exit code; what it says is in /out. */
static int up(const struct fixture *f, char *option)
{
	struct cmd_ctx ctx = { .root = f->root };
	char name[] = "up", full[256];
	char *argv[] = { name, option, NULL };
	int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO), fd, code;

	snprintf(full, sizeof(full), "%s/out", f->dir);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	optind = 0;
	code = cmd_up.run(&ctx, 2, argv);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	close(out);
	close(err);
	close(fd);
	return code;
}

/* It is in the plan, and done on request. */
static void up_adopts(void **state)
{
	struct fixture *f = *state;
	char plan[] = "--plan", yes[] = "--yes";
	_cleanup_free_ char *to = NULL;

	need_root();
	put_text(f, "/etc/dstack/host.conf", "DOMAIN=example.org\n");
	put_pair(f, SAYS("v0.5.5"));
	assert_int_equal(up(f, plan), EXIT_FINE);
	assert_non_null(strstr(get(f, "/out"), "  adopt  programs of the VMM"));
	assert_nothing_was_done(f);
	/* No systemd below a fake root: nothing can be started. */
	assert_int_equal(up(f, yes), EXIT_FAILED);
	to = current(f);
	assert_non_null(to);
	assert_string_equal(to, "0.5.5");
	assert_int_equal(up(f, plan), EXIT_FINE);
	assert_null(strstr(get(f, "/out"), "adopt"));
}

/* --- a stranger --- */

static int run(const char *script, unsigned ms, char *out, size_t size)
{
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };

	return spawn_stranger(argv, ms, out, size);
}

static void stranger_has_nothing(void **state _unused_)
{
	char out[256];
	int inherited = dup(STDERR_FILENO);

	setenv("DSTACK_TEST_SECRET", "x", 1);
	assert_int_equal(run("id -u; id -G; echo ${DSTACK_TEST_SECRET-none}; cat; ls /proc/self/fd |"
			     " wc -l; exit 7", 10000, out, sizeof(out)), 7);
	if (geteuid() == 0)
		/* 0, 1, 2 and the directory that ls reads */
		assert_string_equal(out, "65534\n65534\nnone\n4\n");
	else
		assert_non_null(strstr(out, "none\n4\n"));
	unsetenv("DSTACK_TEST_SECRET");
	close(inherited);
}

static void stranger_who_talks_or_stays_is_ended(void **state _unused_)
{
	char out[16];
	uint64_t start = clock_ms();

	assert_int_equal(run("echo 0123456789abcdefghij", 10000, out, sizeof(out)), 0);
	assert_string_equal(out, "0123456789abcde");
	assert_int_equal(run("while :; do echo x; done", 200, out, sizeof(out)), -ETIMEDOUT);
	assert_int_equal(run("sleep 100 & sleep 100", 200, out, sizeof(out)), -ETIMEDOUT);
	assert_int_equal(run("exec >&-; sleep 100", 200, out, sizeof(out)), -ETIMEDOUT);
	assert_int_equal(run("kill -9 $$", 10000, out, sizeof(out)), 128 + SIGKILL);
	assert_true(clock_ms() - start < 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(pair_is_copied_and_switched_to),
		with_root(what_others_can_write_is_not_adopted),
		with_root(one_without_a_version_is_not_adopted),
		with_root(version_that_is_there_stays),
		with_root(up_adopts),
		cmocka_unit_test(stranger_has_nothing),
		cmocka_unit_test(stranger_who_talks_or_stays_is_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
