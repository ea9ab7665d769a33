// SPDX-License-Identifier: Apache-2.0
/* Mending what devices_check() found, by the system's own programs where it has some. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "host/accounts.h"
#include "host/devices.h"

static struct device_step *add(struct device_plan *plan)
{
	plan->steps = xrealloc(plan->steps, (plan->n + 1) * sizeof(*plan->steps));
	plan->steps[plan->n] = (struct device_step){ 0 };
	return &plan->steps[plan->n++];
}

static void word(struct device_step *step, const char *s)
{
	size_t i = 0;

	while (step->argv[i])
		i++;
	if (i + 1 < ARRAY_SIZE(step->argv))
		step->argv[i] = xstrdup(s);
}

/* groupadd and friends take --prefix DIR: they change the files there, nothing runs there. */
static struct device_step *program(const struct root *root, struct device_plan *plan,
				   const char *name)
{
	struct device_step *step = add(plan);

	word(step, name);
	if (!root_is_host(root)) {
		word(step, "--prefix");
		word(step, root->path);
	}
	return step;
}

static void refuse(struct device_plan *plan, const char *text)
{
	if (!plan->refused)
		plan->refused = xstrdup(text);
}

static void plan_group(const struct root *root, const struct device_row *row,
		       struct device_plan *plan)
{
	struct device_step *step;
	gid_t gid;

	if (row->state == DEVICE_ABSENT) {
		step = program(root, plan, "groupadd");
		word(step, "--system");
		word(step, row->name);
	} else if (row->state == DEVICE_WRONG) {
		_cleanup_free_ char *number = NULL;
		int r = group_free_gid(root, &gid);

		if (r < 0) {
			refuse(plan, r == -ENOSPC ? "no system GID is free" : strerror(-r));
			return;
		}
		number = xasprintf("%u", gid);
		step = program(root, plan, "groupmod");
		word(step, "-g");
		word(step, number);
		word(step, row->name);
	}
}

static void plan_member(const struct root *root, const struct device_row *row,
			struct device_plan *plan)
{
	_cleanup_account_ struct account user = { 0 };
	struct device_step *step;

	if (row->state != DEVICE_WRONG)
		return;
	if (user_lookup(root, row->name, &user) < 0 || user.uid >= FIRST_USER_GID) {
		refuse(plan, "user qgsd is a login user: it is not added to any group");
		return;
	}
	step = program(root, plan, "usermod");
	word(step, "-a");
	word(step, "-G");
	word(step, "sgx,sgx_prv");
	word(step, row->name);
	plan->member = 1;
}

/* A group that gets another number leaves its nodes behind with the old one. */
static int group_changes(const struct device_report *report, const char *group)
{
	for (size_t i = 0; i < report->n; i++)
		if (report->rows[i].kind == DEVICE_GROUP &&
		    strcmp(report->rows[i].name, group) == 0)
			return report->rows[i].state != DEVICE_OK;
	return 0;
}

static void plan_node(const struct device_report *report, const struct device_row *row,
		      struct device_plan *plan)
{
	const char *group = strrchr(row->wanted, ' ') + 1;
	struct device_step *step;

	if (row->state == DEVICE_ABSENT)
		return;
	if (row->state == DEVICE_WRONG && strncmp(row->found, "char", 4) != 0) {
		refuse(plan, "a file stands where an SGX device belongs: it is left alone");
		return;
	}
	if (strchr(row->found, '('))
		return;
	if (row->state == DEVICE_OK && !group_changes(report, group))
		return;
	step = add(plan);
	step->node = row->name;
	step->group = group;
}

void devices_plan(const struct root *root, const struct device_report *report,
		  struct device_plan *ret)
{
	*ret = (struct device_plan){ 0 };
	for (size_t i = 0; i < report->n; i++)
		if (report->rows[i].kind == DEVICE_GROUP)
			plan_group(root, &report->rows[i], ret);
	/* udev has the old numbers in its memory. */
	if (ret->n && root_is_host(root) && root_exists(root, "/run/udev/control")) {
		struct device_step *step = add(ret);

		word(step, "udevadm");
		word(step, "control");
		word(step, "--reload");
	}
	for (size_t i = 0; i < report->n; i++)
		if (report->rows[i].kind == DEVICE_MEMBER)
			plan_member(root, &report->rows[i], ret);
	for (size_t i = 0; i < report->n; i++)
		if (report->rows[i].kind == DEVICE_NODE)
			plan_node(report, &report->rows[i], ret);
}

char *device_step_text(const struct device_step *step)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	if (step->node)
		return xasprintf("chown root:%s %s, mode 0660", step->group, step->node);
	for (size_t i = 0; step->argv[i]; i++)
		sb_addf(&sb, "%s%s", i ? " " : "", step->argv[i]);
	return sb_steal(&sb);
}

/* By descriptor, and only a character device: what the name leads to may change. */
static int mend_node(const struct root *root, const struct device_step *step)
{
	_cleanup_account_ struct account g = { 0 };
	_cleanup_close_ int fd = -1;
	char self[32];
	struct stat st;
	int r = group_lookup(root, step->group, &g);

	if (r < 0)
		return r;
	fd = root_openat(root, step->node, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENODEV;
	/* First shut, then given away. A descriptor of this kind has no fchmod(). */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (chmod(self, 0600) < 0 || fchownat(fd, "", 0, g.gid, AT_EMPTY_PATH) < 0 ||
	    chmod(self, 0660) < 0)
		return -errno;
	return 0;
}

int device_step_do(const struct root *root, const struct device_step *step)
{
	if (step->node)
		return mend_node(root, step);
	return spawn_wait((const char *const *)step->argv);
}

void device_plan_free(struct device_plan *plan)
{
	for (size_t i = 0; i < plan->n; i++)
		for (size_t j = 0; plan->steps[i].argv[j]; j++)
			free(plan->steps[i].argv[j]);
	free(plan->steps);
	free(plan->refused);
	*plan = (struct device_plan){ 0 };
}
