// SPDX-License-Identifier: Apache-2.0
/* Who is to be ended: named once, looked for again, and where the VMM keeps what it knows of them. */
#include "test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "host/peer/peer.h"
#include "host/render/vmm-toml.h"
#include "host/vmm/drain.h"

#define SERVICE "/sys/fs/cgroup/dstackcvm.slice/dstack-supervisor.service"
#define A "00000000-0000-0000-0000-00000000000a"
#define B "00000000-0000-0000-0000-00000000000b"
#define C "00000000-0000-0000-0000-00000000000c"
#define OPERATOR "/etc/dstack/vmm.toml"

static struct vmm_vm vm(const char *id, const char *name, const char *status)
{
	return (struct vmm_vm){ .id = (char *)(uintptr_t)id, .name = (char *)(uintptr_t)name,
				.status = (char *)(uintptr_t)status };
}

static void take_process(struct drain *d, const char *value)
{
	struct peer_fact fact = { (char *)(uintptr_t) "process", (char *)(uintptr_t)value };
	const struct peer_answer list = { .facts = &fact, .n_facts = 1 };

	drain_take_processes(d, &list);
}

#define assert_named(d, expected)                                                        \
	do {                                                                             \
		_cleanup_free_ char *names_ = drain_name_guests(d);                      \
		if (expected)                                                            \
			assert_string_equal(must(names_), (const char *)expected);       \
		else                                                                     \
			assert_null(names_);                                             \
	} while (0)

/* drain asks for a yes to these; what comes later is a name that has had none. */
static void who_was_started_meanwhile_is_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_drain_ struct drain d = { .root = &f->root };
	struct vmm_vm vms[3] = { vm(A, "kms", "running"), vm(B, "app", "stopped"),
				 vm("../x", "no id", "running") };

	drain_take_vms(&d, vms, 3);
	assert_named(&d, "kms");
	drain_take_vms(&d, vms, 3);
	assert_named(&d, NULL);
	vms[1].status = (char *)(uintptr_t) "running";
	vms[2] = vm(C, "a\033[2Jb", "running");
	drain_take_vms(&d, vms, 3);
	assert_named(&d, "app, a?[2Jb");
	assert_named(&d, NULL);
	/* Not seen any more: it stays on the list of who is to run again. */
	drain_take_vms(&d, vms, 1);
	assert_named(&d, NULL);
	assert_int_equal(d.n, 3);
}

/* The VMM could not load it, the end of the supervisor is its end all the same. */
static void who_is_the_supervisors_only_is_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_drain_ struct drain d = { .root = &f->root };
	struct vmm_vm known = vm(A, "kms", "running");

	drain_take_vms(&d, &known, 1);
	take_process(&d, "4194400 cvm " A " kms");
	take_process(&d, "4194401 cvm " B " lost one");
	take_process(&d, "4194402 cvm " C);
	take_process(&d, "4194403 other 00000000-0000-0000-0000-00000000000d passt");
	take_process(&d, "4194404 cvm ../../x evil");
	assert_named(&d, "kms, lost one, " C);
	take_process(&d, "4194401 cvm " B " lost one");
	assert_named(&d, NULL);
}

static char *name_processes(struct drain *d)
{
	return drain_name_processes(d, 1);
}

/* Where VMM or supervisor cannot be asked, the kernel's list has to do. */
static void without_answers_it_is_processes(void **state)
{
	struct fixture *f = *state;
	_cleanup_drain_ struct drain d = { .root = &f->root };
	_cleanup_free_ char *first = NULL, *second = NULL, *third = NULL;

	put_text(f, SERVICE "/cgroup.procs", "4194400\n4194401\n");
	put_text(f, "/proc/4194400/comm", "qemu-system-x86\n");
	put_text(f, "/proc/4194401/comm", "qemu-system-x86\n");
	first = name_processes(&d);
	assert_string_equal(must(first), "4194400 qemu-system-x86, 4194401 qemu-system-x86");
	put_text(f, SERVICE "/cgroup.procs", "4194401\n4194402\n");
	second = name_processes(&d);
	assert_string_equal(must(second), "4194402 ?");
	/* Seen while guests had names is seen. */
	put_text(f, SERVICE "/cgroup.procs", "4194401\n4194402\n4194403\n");
	assert_null(drain_name_processes(&d, 0));
	third = name_processes(&d);
	assert_null(third);
}

/* The VMM answers and the supervisor does not: what has no name ends with it just so. */
static void names_do_not_hide_processes(void **state)
{
	struct fixture *f = *state;
	_cleanup_drain_ struct drain d = { .root = &f->root };
	struct vmm_vm known = vm(A, "kms", "running");
	_cleanup_free_ char *both = NULL, *none = NULL;

	put_text(f, SERVICE "/cgroup.procs", "4194400\n");
	put_text(f, "/proc/4194400/comm", "qemu-system-x86\n");
	drain_take_vms(&d, &known, 1);
	both = drain_name_new(&d, 1);
	assert_string_equal(must(both), "kms, 4194400 qemu-system-x86");
	none = drain_name_new(&d, 1);
	assert_null(none);
}

/* --- who is asked --- */

/* A process of the slice that is this guest's QEMU, by the supervisor. */
static pid_t run_guest(const struct fixture *f, struct drain *d, const char *id)
{
	_cleanup_free_ char *procs = NULL, *fact = NULL;
	pid_t pid = fork();

	if (!pid) {
		/* Not left behind by a test that fails. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	assert_true(pid > 0);
	procs = xasprintf("%d\n", pid);
	fact = xasprintf("%d cvm %s kms", pid, id);
	put_text(f, SERVICE "/cgroup.procs", procs);
	take_process(d, fact);
	return pid;
}

static void end_guest(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* By the VMM's auto_restart, or because somebody said so. It has a name that was named. */
static void who_came_back_is_asked_again(void **state)
{
	struct fixture *f = *state;
	_cleanup_drain_ struct drain d = { .root = &f->root };
	pid_t pid = run_guest(f, &d, A);

	assert_named(&d, "kms");
	assert_int_equal(drain_unasked(&d), 1);
	drain_ask(&d, 0);
	assert_int_equal(drain_unasked(&d), 0);
	assert_int_equal(drain_living(&d), 1);
	end_guest(pid);
	pid = run_guest(f, &d, A);
	assert_named(&d, NULL);
	assert_int_equal(drain_unasked(&d), 1);
	end_guest(pid);
	assert_int_equal(drain_unasked(&d), 0);
}

/* --- where they are --- */

static char *dir_with(const struct fixture *f, const char *operator)
{
	_cleanup_settings_ struct settings s = { 0 };

	put_text(f, "/etc/dstack/host.conf", "VM_DIR=/srv/vm\n");
	if (operator)
		put_text(f, OPERATOR, operator);
	assert_int_equal(settings_load(&f->root, &s), 0);
	return vmm_dir(&f->root, &s);
}

static void the_operators_run_path_is_the_vmms(void **state)
{
	static const struct {
		const char *text, *dir;
	} cases[] = {
		{ NULL, "/srv/vm" },
		{ "run_path = \"/data/vm\"\n", "/data/vm" },
		{ "[cvm]\nrun_path = \"/data/vm\"\n", "/srv/vm" },
		{ "run_path = 7\n", "/run/dstack/vmm/7" },
		{ "run_path = [\n", "/srv/vm" },
		{ "run_path = \"vm\"\n", "/run/dstack/vmm/vm" },
		{ "run_path = \"\"\n", "/root/.dstack-vmm/vm" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *dir = dir_with(*state, cases[i].text);

		assert_string_equal(dir, cases[i].dir);
	}
}

/* Our own link says what the settings say, also while it is not rendered again. */
static void our_own_link_is_not_the_operators(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *dir = NULL;
	char path[256];

	put_text(f, "/run/dstack/vmm/vmm.toml", "run_path = \"/old/vm\"\n");
	put_text(f, "/etc/dstack/x", "");
	snprintf(path, sizeof(path), "%s" OPERATOR, f->dir);
	assert_int_equal(symlink("/run/dstack/vmm/vmm.toml", path), 0);
	dir = dir_with(f, NULL);
	assert_string_equal(dir, "/srv/vm");
}

static void what_was_drained_starts_again(void **state)
{
	struct fixture *f = *state;
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_drain_ struct drain d = { .root = &f->root, .settings = &s };
	struct vmm_vm known = vm(A, "kms", "running");

	put_text(f, "/etc/dstack/host.conf", "DOMAIN=example.org\n");
	put_text(f, OPERATOR, "run_path = \"/data/vm\"\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	put_text(f, "/data/vm/" A "/vm-state.json", "{\"started\":false}");
	drain_take_vms(&d, &known, 1);
	drain_mark_started(&d);
	assert_string_equal(get(f, "/data/vm/" A "/vm-state.json"), "{\"started\":true}");
}

/* A drain that goes no further: what it has ended starts again, what others have stopped does not. */
static void what_it_has_ended_is_given_back(void **state)
{
	struct fixture *f = *state;
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_drain_ struct drain d = { .root = &f->root, .settings = &s };
	_cleanup_free_ char *none = NULL, *names = NULL;
	pid_t asked, stopped;

	put_text(f, "/etc/dstack/host.conf", "VM_DIR=/data/vm\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	put_text(f, "/data/vm/" A "/vm-state.json", "{\"started\":false}");
	put_text(f, "/data/vm/" B "/vm-state.json", "{\"started\":false}");
	asked = run_guest(f, &d, A);
	drain_ask(&d, 0);
	none = drain_give_back(&d);
	assert_null(none);
	stopped = run_guest(f, &d, B);
	end_guest(asked);
	end_guest(stopped);
	names = drain_give_back(&d);
	assert_string_equal(must(names), "kms");
	assert_string_equal(get(f, "/data/vm/" A "/vm-state.json"), "{\"started\":true}");
	assert_string_equal(get(f, "/data/vm/" B "/vm-state.json"), "{\"started\":false}");
}

static void since_when_it_is_drained(void **state _unused_)
{
	_cleanup_free_ char *text = drained_text(1764000000ull * 1000000), *never = drained_text(0);

	assert_string_equal(text, "drained since 2025-11-24 16:00 UTC");
	assert_string_equal(never, "drained");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(who_was_started_meanwhile_is_named),
		with_root(who_is_the_supervisors_only_is_named),
		with_root(without_answers_it_is_processes),
		with_root(names_do_not_hide_processes),
		with_root(who_came_back_is_asked_again),
		with_root(the_operators_run_path_is_the_vmms),
		with_root(our_own_link_is_not_the_operators),
		with_root(what_was_drained_starts_again),
		with_root(what_it_has_ended_is_given_back),
		cmocka_unit_test(since_when_it_is_drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
