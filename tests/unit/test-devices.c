// SPDX-License-Identifier: Apache-2.0
/* SGX nodes and groups in fake trees: what is found, and what --fix would do about it. */
#include "test.h"

#include <errno.h>

#include "base/alloc.h"
#include "host/accounts.h"
#include "host/devices.h"

#define GOOD_GROUPS "root:x:0:\nsgx:x:995:qgsd\nsgx_prv:x:994:qgsd\n"
#define QGSD "qgsd:x:990:990::/var/opt/qgsd:/sbin/nologin\n"

static void null_link(const struct fixture *f, const char *path)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/dev", f->dir);
	mkdir(full, 0755);
	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(symlink("/dev/null", full), 0);
}

static void tree(const struct fixture *f, const char *groups, const char *users)
{
	put_text(f, "/etc/group", groups);
	put_text(f, "/etc/passwd", users);
	null_link(f, "/dev/sgx_enclave");
	null_link(f, "/dev/sgx_provision");
	null_link(f, "/dev/sgx_vepc");
}

static const struct device_row *find_row(const struct device_report *report, const char *name)
{
	for (size_t i = 0; i < report->n; i++)
		if (strcmp(report->rows[i].name, name) == 0)
			return &report->rows[i];
	return NULL;
}

static const struct device_row *row(const struct device_report *report, const char *name)
{
	static const struct device_row none = { .found = NULL };
	const struct device_row *r = find_row(report, name);

	assert_non_null(r);
	return r ? r : &none;
}

/* All steps in one text, one a line. */
static char *steps(const struct fixture *f, const struct device_report *report, char **refused)
{
	struct device_plan plan;
	char *all = xstrdup("");

	devices_plan(&f->root, report, &plan);
	for (size_t i = 0; i < plan.n; i++) {
		char *text = device_step_text(&plan.steps[i]);
		char *more = xasprintf("%s%s\n", all, text);

		free(text);
		free(all);
		all = more;
	}
	if (refused)
		*refused = plan.refused ? xstrdup(plan.refused) : NULL;
	device_plan_free(&plan);
	return all;
}

static void good_tree_has_no_step(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	_cleanup_free_ char *text = NULL;

	tree(f, GOOD_GROUPS, QGSD);
	devices_check(&f->root, &report);
	assert_null(devices_bad(&report, DEVICE_NODE));
	assert_null(devices_bad(&report, DEVICE_GROUP));
	assert_null(devices_bad(&report, DEVICE_MEMBER));
	assert_int_equal(row(&report, "/dev/kvm")->state, DEVICE_NOTE);
	text = steps(f, &report, NULL);
	assert_string_equal(text, "");
}

static void node_is_judged_by_name(void **state _unused_)
{
	assert_null(device_judge(S_IFCHR | 0660, "sgx", "sgx"));
	assert_string_equal(device_judge(S_IFCHR | 0660, "sgx_prv", "sgx"), "another group");
	assert_string_equal(device_judge(S_IFCHR | 0660, NULL, "sgx"), "another group");
	assert_string_equal(device_judge(S_IFCHR | 0666, "sgx", "sgx"), "another mode");
	assert_string_equal(device_judge(S_IFREG | 0660, "sgx", "sgx"),
			    "not a character device");
}

static void user_gid_is_found_and_moved(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	_cleanup_free_ char *text = NULL, *wanted = NULL;

	/* 999 is a group's, 998 a user's own: 997 is the first that is free. */
	tree(f, "sgx:x:999:qgsd\nsgx_prv:x:1001:qgsd\n",
	     QGSD "other:x:998:998::/:/bin/false\n");
	devices_check(&f->root, &report);
	assert_int_equal(row(&report, "sgx")->state, DEVICE_OK);
	assert_int_equal(row(&report, "sgx_prv")->state, DEVICE_WRONG);
	assert_string_equal(row(&report, "sgx_prv")->found, "gid 1001");
	text = steps(f, &report, NULL);
	wanted = xasprintf("groupmod --prefix %s -g 997 sgx_prv\n", f->dir);
	assert_string_equal(text, wanted);
}

static void missing_group_is_made(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	_cleanup_free_ char *text = NULL, *wanted = NULL;

	tree(f, "sgx:x:995:\n", "");
	devices_check(&f->root, &report);
	assert_int_equal(row(&report, "sgx_prv")->state, DEVICE_ABSENT);
	text = steps(f, &report, NULL);
	wanted = xasprintf("groupadd --prefix %s --system sgx_prv\n", f->dir);
	assert_string_equal(text, wanted);
}

static void qgsd_only_where_it_exists(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	_cleanup_free_ char *text = NULL;

	tree(f, "sgx:x:995:\nsgx_prv:x:994:\n", "root:x:0:0::/root:/bin/sh\n");
	devices_check(&f->root, &report);
	assert_null(find_row(&report, "qgsd"));
	text = steps(f, &report, NULL);
	assert_string_equal(text, "");
}

static void qgsd_joins_both_groups(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	_cleanup_free_ char *text = NULL, *wanted = NULL;

	/* A name that contains qgsd is not qgsd. */
	tree(f, "sgx:x:995:qgsd\nsgx_prv:x:994:xqgsd,qgsd2\n", QGSD);
	devices_check(&f->root, &report);
	assert_int_equal(row(&report, "qgsd")->state, DEVICE_WRONG);
	assert_string_equal(row(&report, "qgsd")->found, "member of sgx");
	text = steps(f, &report, NULL);
	wanted = xasprintf("usermod --prefix %s -a -G sgx,sgx_prv qgsd\n", f->dir);
	assert_string_equal(text, wanted);
}

static void primary_group_counts(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;

	tree(f, "sgx:x:995:qgsd\nsgx_prv:x:994:\n", "qgsd:x:990:994::/:/sbin/nologin\n");
	devices_check(&f->root, &report);
	assert_int_equal(row(&report, "qgsd")->state, DEVICE_OK);
}

static void login_user_is_left_alone(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	_cleanup_free_ char *text = NULL, *refused = NULL;

	tree(f, "sgx:x:995:\nsgx_prv:x:994:\n", "qgsd:x:1000:1000::/home/q:/bin/bash\n");
	devices_check(&f->root, &report);
	assert_int_equal(row(&report, "qgsd")->state, DEVICE_WRONG);
	text = steps(f, &report, &refused);
	assert_string_equal(text, "");
	assert_non_null(refused);
}

static void file_in_place_of_a_node(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	_cleanup_free_ char *text = NULL, *refused = NULL;

	put_text(f, "/etc/group", GOOD_GROUPS);
	put_text(f, "/dev/sgx_enclave", "");
	devices_check(&f->root, &report);
	assert_int_equal(row(&report, "/dev/sgx_enclave")->state, DEVICE_WRONG);
	assert_string_equal(row(&report, "/dev/sgx_enclave")->cause, "not a character device");
	assert_int_equal(row(&report, "/dev/sgx_vepc")->state, DEVICE_ABSENT);
	text = steps(f, &report, &refused);
	assert_string_equal(text, "");
	assert_non_null(refused);
}

static void link_elsewhere_is_no_node(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	char full[512];

	tree(f, GOOD_GROUPS, "");
	snprintf(full, sizeof(full), "%s/dev/sgx_vepc", f->dir);
	assert_int_equal(unlink(full), 0);
	assert_int_equal(symlink("/dev/null2", full), 0);
	devices_check(&f->root, &report);
	assert_int_equal(row(&report, "/dev/sgx_vepc")->state, DEVICE_WRONG);
}

/* A group that gets a new number takes its node along. Real nodes need root. */
static void regrouped_node_follows(void **state)
{
	struct fixture *f = *state;
	_cleanup_device_report_ struct device_report report;
	_cleanup_free_ char *text = NULL;
	char full[512];

	tree(f, "sgx:x:995:\nsgx_prv:x:1001:\n", "");
	snprintf(full, sizeof(full), "%s/dev/sgx_provision", f->dir);
	assert_int_equal(unlink(full), 0);
	if (mknod(full, S_IFCHR | 0660, 0x103) < 0 || chown(full, 0, 1001) < 0 ||
	    chmod(full, 0660) < 0)
		skip();
	devices_check(&f->root, &report);
	assert_int_equal(row(&report, "/dev/sgx_provision")->state, DEVICE_OK);
	text = steps(f, &report, NULL);
	assert_non_null(strstr(text, "groupmod"));
	assert_non_null(strstr(text, "chown root:sgx_prv /dev/sgx_provision"));
}

/* What cannot be read is not what nobody has. */
static void unreadable_is_not_nobody(void **state)
{
	struct fixture *f = *state;
	_cleanup_root_ struct root groups = { .fd = -1 }, users = { .fd = -1 };
	_cleanup_free_ char *name = NULL;
	char path[128];
	gid_t gid;

	/* Opens, and then reading it fails. */
	put_text(f, "/groups/etc/group/x", "");
	put_text(f, "/users/etc/passwd/x", "");
	put_text(f, "/users/etc/group", "sgx:x:999:\n");
	snprintf(path, sizeof(path), "%s/groups", f->dir);
	assert_int_equal(root_open(path, &groups), 0);
	snprintf(path, sizeof(path), "%s/users", f->dir);
	assert_int_equal(root_open(path, &users), 0);
	assert_int_equal(group_name(&groups, 42, &name), -EISDIR);
	assert_null(name);
	assert_int_equal(group_free_gid(&groups, &gid), -EISDIR);
	assert_int_equal(group_free_gid(&users, &gid), -EISDIR);
	assert_int_equal(group_name(&users, 42, &name), -ENOENT);
	assert_int_equal(group_name(&users, 999, &name), 0);
	assert_string_equal(name, "sgx");
	put_text(f, "/etc/group", "sgx:x:999:\n");
	put_text(f, "/etc/passwd", "a:x:998:7::/:\n");
	assert_int_equal(group_free_gid(&f->root, &gid), 0);
	assert_int_equal(gid, 997);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(good_tree_has_no_step),
		cmocka_unit_test(node_is_judged_by_name),
		with_root(user_gid_is_found_and_moved),
		with_root(missing_group_is_made),
		with_root(qgsd_only_where_it_exists),
		with_root(qgsd_joins_both_groups),
		with_root(primary_group_counts),
		with_root(login_user_is_left_alone),
		with_root(file_in_place_of_a_node),
		with_root(link_elsewhere_is_no_node),
		with_root(regrouped_node_follows),
		with_root(unreadable_is_not_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
