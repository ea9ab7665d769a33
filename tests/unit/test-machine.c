// SPDX-License-Identifier: Apache-2.0
/* What is asked of the kernel, and where copies of secrets are looked for. */
#include "test-machine.h"

#include <errno.h>
#include <sys/wait.h>

#include "base/fileio.h"
#include "host/conf/secrets.h"

#define VALUE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void the_kernels_log_is_sifted(void **state _unused_)
{
	_cleanup_free_ char *kept = NULL;

	kernel_log_keep("[ 0.1] x86/tme: not enabled by BIOS\n[ 0.2] eth0: up\n"
			"[ 0.3] sgx: EPC section 0x1-0x2\nvirt/tdx: module not loaded", &kept);
	assert_string_equal(kept, "[ 0.1] x86/tme: not enabled by BIOS\n"
				  "[ 0.3] sgx: EPC section 0x1-0x2\nvirt/tdx: module not loaded\n");
	kernel_log_keep("", &kept);
	assert_string_equal(kept, "");
}

static void trees_that_are_not_there_yet_are_measured_above(void **state)
{
	const struct fixture *f = *state;
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_(machine_free) struct machine m;

	put_text(f, "/etc/dstack/host.conf", "VM_DIR=/srv/vm\n");
	put_text(f, "/var/log/kern.log", "kernel: virt/tdx: module initialized\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	machine_fill(&m, &f->root, &s);
	assert_string_equal(m.tree[TREE_VMS].path, "/srv/vm");
	assert_string_equal(m.tree[TREE_LOGS].path, "/var/log");
	for (int i = 0; i < TREE_COUNT; i++) {
		assert_int_equal(m.tree[i].error, 0);
		assert_true(m.tree[i].total > 0);
		assert_true(m.tree[i].on_root);
	}
	/* of a system that does not run: from its file */
	assert_string_equal(m.kernel_log, "kernel: virt/tdx: module initialized\n");
	assert_true(m.devices.n > 0);
	assert_int_equal(m.secrets.error, -ENOENT);
	machine_free(&m);
	/* the VMM's own, not what the settings would be */
	put_text(f, "/etc/dstack/vmm.toml", "run_path = \"/data/vm\"\n");
	machine_fill(&m, &f->root, &s);
	assert_string_equal(m.tree[TREE_VMS].path, "/data/vm");
}

static void dockers_tree_is_where_docker_has_it(void **state)
{
	static const char *const cases[][2] = {
		{ NULL, "/var/lib/docker" },
		{ "{\"data-root\": \"/srv/docker\", \"live-restore\": true}", "/srv/docker" },
		{ "{}", "/var/lib/docker" },
		{ "{\"data-root\": \"docker\"}", "/var/lib/docker" },
		{ "{\"data-root\": [\"/x\"]}", "/var/lib/docker" },
		{ "[\"/x\"]", "/var/lib/docker" },
		{ "{\"data-root\": \"/srv", "/var/lib/docker" },
	};
	const struct fixture *f = *state;
	_cleanup_settings_ struct settings s = { 0 };

	put_text(f, "/etc/dstack/host.conf", "VM_DIR=/srv/vm\n");
	assert_int_equal(settings_load(&f->root, &s), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *path = NULL;

		if (cases[i][0])
			put_text(f, "/etc/docker/daemon.json", cases[i][0]);
		path = tree_path(&f->root, &s, TREE_DOCKER);
		assert_string_equal(path, cases[i][1]);
	}
}

static void secret_files_are_listed_with_modes(void **state)
{
	const struct fixture *f = *state;
	struct secret_audit a = { 0 };
	char path[256];

	put_text(f, "/etc/dstack/secrets/vmm-token", "x\n");
	snprintf(path, sizeof(path), "%s/etc/dstack/secrets/vmm-token", f->dir);
	assert_int_equal(chmod(path, 0604), 0);
	secret_audit_files(&f->root, &a);
	assert_int_equal(a.error, 0);
	assert_int_equal(a.n_files, 2);
	assert_string_equal(a.files[0].path, SECRETS_DIR);
	assert_true(S_ISDIR(a.files[0].mode));
	assert_string_equal(a.files[1].path, SECRETS_DIR "/vmm-token");
	assert_int_equal(a.files[1].mode & 07777, 0604);
	assert_int_equal(a.files[1].uid, geteuid());
	secret_audit_free(&a);
}

static const struct leak *only_leak(const struct secret_audit *a)
{
	if (a->n_leaks != 1)
		fail_msg("%zu leaks", a->n_leaks);
	assert_string_equal(a->leaks[0].secret, "vmm-token");
	/* Names and places, not what it is about. */
	assert_null(strstr(a->leaks[0].where, VALUE));
	return &a->leaks[0];
}

static void leaks_are_found_where_they_are(void **state)
{
	const struct fixture *f = *state;
	static const struct {
		const char *path, *text;
		size_t len;
		enum leak_kind kind;
		const char *where;
	} places[] = {
#define TEXT(t) t, sizeof(t) - 1
		{ "/proc/41/cmdline", TEXT("curl\0-H\0Authorization: Bearer " VALUE "\0x"),
		  LEAK_ARGV, "process 41 (curl)" },
		{ "/proc/42/environ", TEXT("PATH=/bin\0TOKEN=" VALUE "\0"), LEAK_ENVIRONMENT,
		  "process 42" },
		{ "/var/cache/debconf/passwords.dat", TEXT("Name: a\nValue: " VALUE "\n"),
		  LEAK_DEBCONF, "/var/cache/debconf/passwords.dat" },
		{ "/var/cache/debconf/config.dat-old", TEXT("Value: " VALUE "\n"), LEAK_DEBCONF,
		  "/var/cache/debconf/config.dat-old" },
	};
	const struct unit_state units[] = { { .main_pid = 0 }, { .main_pid = 42 } };
	struct secret_audit a = { 0 };

	put_text(f, "/proc/41/comm", "curl\n");
	assert_int_equal(secret_store(&f->root, SECRET_VMM_TOKEN, VALUE), 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		char path[256];

		put(f, places[i].path, places[i].text, places[i].len);
		secret_audit_leaks(&f->root, units, ARRAY_SIZE(units), &a);
		assert_int_equal(only_leak(&a)->kind, places[i].kind);
		assert_string_equal(a.leaks[0].where, places[i].where);
		assert_false(a.partial);
		secret_audit_free(&a);
		snprintf(path, sizeof(path), "%s%s", f->dir, places[i].path);
		assert_int_equal(unlink(path), 0);
	}
	/* The environment of somebody else's process is his. */
	put_text(f, "/proc/43/environ", "TOKEN=" VALUE);
	secret_audit_leaks(&f->root, units, ARRAY_SIZE(units), &a);
	assert_int_equal(a.n_leaks, 0);
	secret_audit_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kernels_log_is_sifted),
		with_root(trees_that_are_not_there_yet_are_measured_above),
		with_root(dockers_tree_is_where_docker_has_it),
		with_root(secret_files_are_listed_with_modes),
		with_root(leaks_are_found_where_they_are),
	};

	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
