// SPDX-License-Identifier: Apache-2.0
/* What others write, read by a half; and which processes live in a machine's directory. */
#include "test.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "host/peer/foreign.h"
#include "host/peer/peer-plan.h"
#include "host/vmm/vmdir.h"

#define VM_DIR "/var/lib/dstack/vm"

/* --- files --- */

static void look_around(const struct peer_reply *reply, struct peer_emit *emit)
{
	int fds = 0;

	for (int fd = 3; fd < 1024; fd++)
		fds += fcntl(fd, F_GETFD) >= 0;
	peer_fact(emit, "text", reply->body);
	peer_factf(emit, "pid", "%d", getpid());
	peer_factf(emit, "uid", "%u", geteuid());
	peer_factf(emit, "fds", "%d", fds);
	peer_factf(emit, "socket", "%d", socket(AF_INET, SOCK_STREAM, 0));
	peer_factf(emit, "resolver", "%d", socket(AF_NETLINK, SOCK_RAW, 0));
}

static struct foreign_file file(const char *path)
{
	return (struct foreign_file){ .path = xstrdup(path), .digest = look_around };
}

static void files_are_read_where_nobody_can_be_told(void **state)
{
	struct fixture *f = *state;
	struct foreign_file files[2] = { file("/a"), file("/b") };
	char uid[16];

	put_text(f, "/a", "first");
	put_text(f, "/b", "second");
	assert_int_equal(foreign_read(&f->root, files, 2), 0);
	assert_string_equal(peer_get(&files[0].answer, "text"), "first");
	assert_string_equal(peer_get(&files[1].answer, "text"), "second");
	snprintf(uid, sizeof(uid), "%u", geteuid() == 0 ? 65534 : geteuid());
	for (int i = 0; i < 2; i++) {
		assert_int_not_equal(strtol(peer_get(&files[i].answer, "pid"), NULL, 10), getpid());
		assert_string_equal(peer_get(&files[i].answer, "uid"), uid);
		assert_string_equal(peer_get(&files[i].answer, "socket"), "-1");
		assert_string_equal(peer_get(&files[i].answer, "resolver"), "-1");
	}
	/* The two, and the one to the other half. */
	assert_string_equal(peer_get(&files[0].answer, "fds"), "3");
	assert_string_equal(peer_get(&files[0].answer, "pid"), peer_get(&files[1].answer, "pid"));
	foreign_free(files, 2);
}

/* With what connects, it would know what to tell and whom. */
static void files_share_a_half_with_files_only(void **state _unused_)
{
	struct peer_request q[5] = {
		{ .kind = PEER_FILE, .fd = 0 },	   { .kind = PEER_HTTP, .fd = -1 },
		{ .kind = PEER_FILE, .fd = 1 },	   { .kind = PEER_CONNECT, .fd = -1 },
		{ .kind = PEER_FILE, .fd = 2 },
	};
	static const size_t order[] = { 0, 2, 4, 1, 3 };
	struct peer_plan plan;

	peer_plan(q, 5, &plan);
	assert_int_equal(plan.n_halves, 2);
	assert_memory_equal(plan.order, order, sizeof(order));
	assert_int_equal(plan.from[1], 3);
	peer_plan_free(&plan);
}

static void what_is_no_such_file_is_told(void **state)
{
	static const int errors[] = { -ENOENT, -EINVAL, -EINVAL, -EFBIG, 0, -EBADMSG };
	struct fixture *f = *state;
	struct foreign_file files[] = { file("/none"), file("/fifo"), file("/directory"),
					file("/large"), file("/empty"), file("/list") };
	char path[128];

	files[5].digest = foreign_digest_manifest;
	put_text(f, "/directory/x", "");
	put_text(f, "/empty", "");
	put_text(f, "/list", "[]");
	put_text(f, "/large", "");
	snprintf(path, sizeof(path), "%s/large", f->dir);
	assert_int_equal(truncate(path, (8 << 20) + 1), 0);
	snprintf(path, sizeof(path), "%s/fifo", f->dir);
	assert_int_equal(mkfifo(path, 0666), 0);
	assert_int_equal(foreign_read(&f->root, files, ARRAY_SIZE(files)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (files[i].error != errors[i])
			fail_msg("%s: %s", files[i].path, strerror(-files[i].error));
	foreign_free(files, ARRAY_SIZE(files));
}

enum { MANY = 1500 };

static void a_thousand_machines_are_read(void **state)
{
	struct fixture *f = *state;
	const char **ids = xcalloc(MANY, sizeof(*ids));
	char **names = xcalloc(MANY, sizeof(*names)), path[128], text[64];

	for (int i = 0; i < MANY; i++) {
		ids[i] = xasprintf("vm-%d", i);
		snprintf(path, sizeof(path), VM_DIR "/%s/vm-manifest.json", ids[i]);
		snprintf(text, sizeof(text), "{\"name\": \"machine-%d\"}", i);
		put_text(f, path, text);
	}
	put_text(f, VM_DIR "/vm-7/vm-manifest.json", "{\"name\": 7}");
	put_text(f, VM_DIR "/vm-8/vm-manifest.json", "{\"name\": \"a\\nb\"}");
	vmdir_names(&f->root, VM_DIR, ids, MANY, names);
	assert_null(names[7]);
	assert_string_equal(names[8], "a b");
	assert_string_equal(names[0], "machine-0");
	assert_string_equal(names[MANY - 1], "machine-1499");
	put_text(f, VM_DIR "/vm-1400/vm-state.json", "{\"started\":true}");
	assert_int_equal(vmdir_needs_key_provider(&f->root, VM_DIR), 0);
	assert_int_equal(vmdir_has_sealed(&f->root, VM_DIR), 0);
	put_text(f, VM_DIR "/vm-1400/shared/app-compose.json",
		 "{\"local_key_provider_enabled\":true}");
	assert_int_equal(vmdir_needs_key_provider(&f->root, VM_DIR), 1);
	put_text(f, VM_DIR "/vm-1400/vm-state.json", "{\"started\":false}");
	assert_int_equal(vmdir_needs_key_provider(&f->root, VM_DIR), 0);
	assert_int_equal(vmdir_has_sealed(&f->root, VM_DIR), 1);
	for (int i = 0; i < MANY; i++) {
		free((char *)(uintptr_t)ids[i]);
		free(names[i]);
	}
	free(ids);
	free(names);
}

/* --- processes --- */

/* One that has gone to `path` when this returns, after `before` has returned 0. */
static pid_t live_in(const char *path, int (*before)(const char *path))
{
	int up[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(up), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if ((before && before(path) < 0) || chdir(path) < 0 || write(up[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(up[1]);
	assert_int_equal(read(up[0], &byte, 1), 1);
	close(up[0]);
	return pid;
}

static void end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int own_mounts(void)
{
	return unshare(CLONE_NEWNS) < 0 ? -1 : mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

/* As in a container that has a directory of that path too. */
static int other_world(const char *path)
{
	return own_mounts() < 0 ? -1 : mount("tmpfs", path, "tmpfs", 0, NULL);
}

/* The real /proc below the fake root, and the fake root for this system's own. */
static struct root see_processes(const struct fixture *f)
{
	static char none[] = "";
	char path[128];

	if (geteuid() != 0 || own_mounts() < 0)
		skip();
	put_text(f, "/proc/x", "");
	snprintf(path, sizeof(path), "%s/proc", f->dir);
	assert_int_equal(mount("/proc", path, NULL, MS_BIND, NULL), 0);
	/* The fixture's own descriptor is of the mounts before. */
	return (struct root){ .fd = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC), .path = none };
}

static void unsee(const struct fixture *f, const struct root *root)
{
	char path[128];

	close(root->fd);
	snprintf(path, sizeof(path), "%s/proc", f->dir);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
}

/* One that is not there is another's: pid 0. */
static struct vm_process find(const struct vm_processes *list, pid_t pid)
{
	static char nobody[] = "";

	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].pid == pid)
			return list->items[i];
	return (struct vm_process){ .id = nobody };
}

static void a_container_s_directory_of_that_path_is_another(void **state)
{
	struct fixture *f = *state;
	struct root root = see_processes(f);
	struct vm_processes list;
	struct vm_process p;
	char path[128], below[160], text[160] = "", link[64];
	pid_t ours, foreign, inner;

	put_text(f, VM_DIR "/aaaa/shared/x", "");
	put_text(f, VM_DIR "/bbbb/x", "");
	snprintf(path, sizeof(path), "%s" VM_DIR "/aaaa", f->dir);
	snprintf(below, sizeof(below), "%s/shared", path);
	ours = live_in(path, NULL);
	inner = live_in(below, NULL);
	foreign = live_in(path, other_world);
	/* That is the trap: */
	snprintf(link, sizeof(link), "/proc/%d/cwd", foreign);
	assert_true(readlink(link, text, sizeof(text) - 1) > 0);
	assert_string_equal(text, path);

	vmdir_processes(&root, VM_DIR, &list);
	assert_int_equal(list.n, 2);
	p = find(&list, ours);
	assert_string_equal(p.id, "aaaa");
	assert_int_equal(p.parent, getpid());
	assert_true(vm_process_lives(&root, &p));
	p = find(&list, inner);
	assert_string_equal(p.id, "aaaa");
	assert_true(vm_process_lives(&root, &p));
	assert_int_equal(find(&list, foreign).pid, 0);
	/* Its number is another's now. */
	p.pid = foreign;
	assert_false(vm_process_lives(&root, &p));
	end(inner);
	end(foreign);
	vm_processes_free(&list);

	/* Deleted under its feet, it lives there still. */
	snprintf(below, sizeof(below), "%s/shared/x", path);
	assert_int_equal(unlink(below), 0);
	snprintf(below, sizeof(below), "%s/shared", path);
	assert_int_equal(rmdir(below), 0);
	assert_int_equal(rmdir(path), 0);
	vmdir_processes(&root, VM_DIR, &list);
	assert_int_equal(list.n, 1);
	assert_string_equal(list.items[0].id, "aaaa");
	assert_true(vm_process_lives(&root, &list.items[0]));
	end(ours);
	assert_false(vm_process_lives(&root, &list.items[0]));
	vm_processes_free(&list);
	unsee(f, &root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(files_are_read_where_nobody_can_be_told),
		cmocka_unit_test(files_share_a_half_with_files_only),
		with_root(what_is_no_such_file_is_told),
		with_root(a_thousand_machines_are_read),
		with_root(a_container_s_directory_of_that_path_is_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
