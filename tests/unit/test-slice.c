// SPDX-License-Identifier: Apache-2.0
/* The slice of virtual machines: who is in it, may a supervisor start, and how all end. */
#include "test-cgroup.h"

#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cmd/cmd.h"
#include "host/vmm/drain.h"
#include "host/vmm/slice.h"

/* --- a fake tree --- */

/* The listing as text; the caller frees. */
static char *listed(const struct fixture *f)
{
	_cleanup_slice_processes_ struct slice_processes list = { 0 };

	assert_int_equal(slice_list(&f->root, &list), 0);
	return slice_processes_text(&list);
}

#define assert_listed(f, expected)                                                       \
	do {                                                                             \
		_cleanup_free_ char *text_ = listed(f);                                  \
		assert_string_equal(text_, expected);                                    \
	} while (0)

static int gate_with(const struct fixture *f, char *option)
{
	struct cmd_ctx ctx = { .root = f->root };
	char name[] = "supervisor-gate";
	char *argv[] = { name, option, NULL };

	optind = 0;
	return cmd_supervisor_gate.run(&ctx, option ? 2 : 1, argv);
}

static int gate(const struct fixture *f)
{
	return gate_with(f, NULL);
}

static void empty_slice_lets_it_start(void **state)
{
	struct fixture *f = *state;

	assert_listed(f, ""); /* no slice yet: first boot */
	assert_int_equal(gate(f), EXIT_FINE);
	put_text(f, SLICE "/cgroup.procs", "");
	put_text(f, SERVICE "/cgroup.procs", "");
	assert_listed(f, "");
	assert_int_equal(gate(f), EXIT_FINE);
}

/* What dstack-drained.service asks before its target, which ends the supervisor, is reached. */
static void drained_is_only_what_is_empty(void **state)
{
	struct fixture *f = *state;
	char drained[] = "--drained", wrong[] = "--frobnicate";

	assert_int_equal(gate_with(f, drained), EXIT_FINE);
	put_text(f, SLICE "/cgroup.procs", "");
	put_text(f, SERVICE "/cgroup.procs", "4194400\n");
	put_text(f, "/proc/4194400/comm", "supervisor\n");
	assert_int_equal(gate_with(f, drained), EXIT_FAILED);
	put_text(f, SERVICE "/cgroup.procs", "");
	assert_int_equal(gate_with(f, drained), EXIT_FINE);
	assert_int_equal(gate_with(f, wrong), EXIT_USAGE);
}

static void none_starts_during_a_drain(void **state)
{
	struct fixture *f = *state;
	int held = -1, other = -1;

	assert_int_equal(drain_under_way(&f->root), 0);
	assert_int_equal(drain_hold(&f->root, &held), 0);
	assert_int_equal(drain_under_way(&f->root), 1);
	assert_int_equal(drain_hold(&f->root, &other), -EBUSY);
	assert_int_equal(gate(f), EXIT_FAILED);
	close(held);
	assert_int_equal(drain_under_way(&f->root), 0);
	assert_int_equal(gate(f), EXIT_FINE);
}

static void own_process_does_not_count(void **state)
{
	struct fixture *f = *state;
	char text[32];

	snprintf(text, sizeof(text), "%d\n", getpid());
	put_text(f, SLICE "/cgroup.procs", "");
	put_text(f, SERVICE "/cgroup.procs", text);
	assert_listed(f, "");
	assert_int_equal(gate(f), EXIT_FINE);
}

static void orphans_keep_it_from_starting(void **state)
{
	struct fixture *f = *state;

	put_text(f, SLICE "/cgroup.procs", "");
	put_text(f, SERVICE "/cgroup.procs", "4194400\n4194401\n");
	put_text(f, "/proc/4194400/comm", "qemu-system-x86\n");
	put_text(f, "/proc/4194401/comm", "pas\033[31mst\n");
	assert_listed(f, "4194400 qemu-system-x86, 4194401 pas?[31mst");
	assert_int_equal(gate(f), EXIT_FAILED);
}

/* Whatever unit they are in, at whatever depth, and in the slice itself. */
static void the_whole_tree_is_looked_at(void **state)
{
	struct fixture *f = *state;

	put_text(f, SLICE "/cgroup.procs", "4194400\n");
	assert_int_equal(gate(f), EXIT_FAILED);
	put_text(f, SLICE "/cgroup.procs", "");
	put_text(f, SLICE "/other.slice/vm.scope/cgroup.procs", "4194402\n");
	assert_listed(f, "4194402 ?");
	assert_int_equal(gate(f), EXIT_FAILED);
}

static void others_do_not_count(void **state)
{
	struct fixture *f = *state;

	put_text(f, "/sys/fs/cgroup/system.slice/dstack-vmm.service/cgroup.procs", "4194400\n");
	put_text(f, "/sys/fs/cgroup/cgroup.procs", "4194401\n");
	assert_listed(f, "");
	assert_int_equal(gate(f), EXIT_FINE);
}

/* Systems that keep cgroup v1 as well. */
static void hybrid_tree(void **state)
{
	struct fixture *f = *state;

	put_text(f, "/sys/fs/cgroup/unified/dstackcvm.slice/a.service/cgroup.procs", "4194400\n");
	assert_listed(f, "4194400 ?");
	assert_int_equal(gate(f), EXIT_FAILED);
}

static void handle_only_on_what_is_in_the_slice(void **state)
{
	struct fixture *f = *state;
	char text[32];
	pid_t pid = fork();
	int fd;

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	put_text(f, SERVICE "/cgroup.procs", "");
	assert_int_equal(slice_pidfd(&f->root, pid), -ESRCH);
	snprintf(text, sizeof(text), "%d\n", pid);
	put_text(f, SERVICE "/cgroup.procs", text);
	fd = slice_pidfd(&f->root, pid);
	assert_true(fd >= 0);
	assert_int_equal(slice_wait(&fd, 1, clock_ms()), 1);
	assert_int_equal(pidfd_send_signal(fd, SIGKILL, NULL, 0), 0);
	assert_int_equal(slice_wait(&fd, 1, clock_ms() + 10000), 0);
	assert_int_equal(slice_wait(NULL, 0, clock_ms() + 10000), 0);
	close(fd);
	waitpid(pid, NULL, 0);
	/* gone, and its number is nobody's now */
	assert_int_equal(slice_pidfd(&f->root, pid), -ESRCH);
}

/* --- the kernel's own tree, below the fixture --- */

static int mount_tree(const struct fixture *f)
{
	char path[256];

	put_text(f, "/sys/fs/cgroup/x", "");
	snprintf(path, sizeof(path), "%s/sys/fs/cgroup", f->dir);
	if (mount("cgroup2", path, "cgroup2", 0, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s" SLICE, f->dir);
	if (mkdir(path, 0755) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s" SERVICE, f->dir);
	return mkdir(path, 0755);
}

/* A process in the service's group; it has set its mind on SIGTERM when this returns. */
static pid_t spawn_in_slice(const struct fixture *f, int deaf)
{
	char path[300], byte;
	int up[2];
	pid_t pid;

	assert_int_equal(pipe(up), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(path, sizeof(path), "%s" SERVICE "/cgroup.procs", f->dir);
		signal(SIGTERM, deaf ? SIG_IGN : SIG_DFL);
		if (write_text(path, "0") < 0 || write(up[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(up[0], &byte, 1), 1);
	close(up[0]);
	close(up[1]);
	return pid;
}

static int end_signal(pid_t pid)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void unmount_tree(const struct fixture *f)
{
	char path[300];

	snprintf(path, sizeof(path), "%s" SERVICE, f->dir);
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s" SLICE, f->dir);
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/sys/fs/cgroup", f->dir);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
}

static int have_tree;

static void all_end_the_deaf_by_force(void **state)
{
	struct fixture *f = *state;
	pid_t obedient, deaf, bystander;

	if (!have_tree || mount_tree(f) < 0) {
		print_message("# needs root and a cgroup v2 tree\n");
		skip();
	}
	assert_int_equal(slice_end_all(&f->root, 0), 0); /* nobody there */
	bystander = fork();
	if (bystander == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	obedient = spawn_in_slice(f, 0);
	deaf = spawn_in_slice(f, 1);
	assert_int_equal(gate(f), EXIT_FAILED);
	assert_int_equal(slice_end_all(&f->root, 300), 0);
	assert_int_equal(end_signal(obedient), SIGTERM);
	assert_int_equal(end_signal(deaf), SIGKILL);
	assert_int_equal(kill(bystander, 0), 0);
	assert_int_equal(waitpid(bystander, NULL, WNOHANG), 0);
	assert_int_equal(kill(bystander, SIGKILL), 0);
	assert_int_equal(end_signal(bystander), SIGKILL);
	assert_int_equal(gate(f), EXIT_FINE);
	unmount_tree(f);
}

static void drain_is_for_the_running_system(void **state)
{
	struct fixture *f = *state;
	struct cmd_ctx ctx = { .root = f->root };
	char name[] = "drain", yes[] = "--yes", more[] = "more";
	char *argv[] = { name, yes, NULL }, *wrong[] = { name, more, NULL };

	optind = 0;
	assert_int_equal(cmd_drain.run(&ctx, 2, argv), EXIT_FAILED);
	optind = 0;
	assert_int_equal(cmd_drain.run(&ctx, 2, wrong), EXIT_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(empty_slice_lets_it_start),
		with_root(drained_is_only_what_is_empty),
		with_root(none_starts_during_a_drain),
		with_root(own_process_does_not_count),
		with_root(orphans_keep_it_from_starting),
		with_root(the_whole_tree_is_looked_at),
		with_root(others_do_not_count),
		with_root(hybrid_tree),
		with_root(handle_only_on_what_is_in_the_slice),
		with_root(all_end_the_deaf_by_force),
		with_root(drain_is_for_the_running_system),
	};
	int failed;

	have_tree = group_enter("slice", 0) == 0;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	group_leave();
	return failed;
}
