// SPDX-License-Identifier: Apache-2.0
/* The rows: nodes, groups, members. */
#include "host/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/accounts.h"

static const struct {
	const char *path, *group, *wanted;
} nodes[] = {
	{ "/dev/sgx_enclave", "sgx", "char 0660 sgx" },
	{ "/dev/sgx_provision", "sgx_prv", "char 0660 sgx_prv" },
	{ "/dev/sgx_vepc", "sgx", "char 0660 sgx" },
};

static const char *const groups[] = { "sgx", "sgx_prv" };

static const struct {
	const char *path, *absent;
} others[] = {
	{ "/dev/kvm", "no KVM: virtualisation is off in the BIOS, or no module kvm_intel" },
	{ "/dev/vhost-vsock", "no module vhost_vsock: the VMM cannot talk to its guests" },
};

static struct device_row *add(struct device_report *report, enum device_kind kind,
			      const char *name, const char *wanted)
{
	report->rows = xrealloc(report->rows, (report->n + 1) * sizeof(*report->rows));
	report->rows[report->n] = (struct device_row){ .kind = kind, .name = name,
						       .wanted = wanted };
	return &report->rows[report->n++];
}

static void wrong(struct device_row *row, const char *cause)
{
	row->state = DEVICE_WRONG;
	row->cause = xstrdup(cause);
}

const char *device_judge(mode_t mode, const char *group, const char *wanted_group)
{
	if (!S_ISCHR(mode))
		return "not a character device";
	if (!group || strcmp(group, wanted_group) != 0)
		return "another group";
	if ((mode & 07777) != 0660)
		return "another mode";
	return NULL;
}

/* lstat below root. A tree that is not this machine's cannot have device nodes unless root
 * made it; there a link to /dev/null stands for one, whose owner says nothing. */
static int look(const struct root *root, const char *path, struct stat *st)
{
	_cleanup_close_ int dir = -1;
	char target[16] = "";
	const char *base;

	dir = root_open_parent(root, path, &base);
	if (dir < 0)
		return dir;
	if (fstatat(dir, base, st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (root_is_host(root) || !S_ISLNK(st->st_mode))
		return 0;
	if (readlinkat(dir, base, target, sizeof(target) - 1) < 0)
		return -errno;
	if (strcmp(target, "/dev/null") == 0)
		st->st_mode = 0;
	return 0;
}

static void check_node(const struct root *root, size_t i, struct device_report *report)
{
	struct device_row *row = add(report, DEVICE_NODE, nodes[i].path, nodes[i].wanted);
	_cleanup_free_ char *group = NULL;
	const char *cause;
	struct stat st;
	int r = look(root, nodes[i].path, &st);

	if (r < 0) {
		row->state = DEVICE_ABSENT;
		row->found = xstrdup("absent");
		row->cause = xstrdup(r == -ENOENT ? "SGX is off in the BIOS, or the kernel "
						    "lacks it" :
						    strerror(-r));
		return;
	}
	if (st.st_mode == 0) {
		row->found = xstrdup("char (a link to /dev/null)");
		return;
	}
	r = group_name(root, st.st_gid, &group);
	row->found = group ? xasprintf("%s %04o %s", S_ISCHR(st.st_mode) ? "char" : "file",
				       (unsigned)st.st_mode & 07777u, group) :
			     xasprintf("%s %04o gid %u", S_ISCHR(st.st_mode) ? "char" : "file",
				       (unsigned)st.st_mode & 07777u, st.st_gid);
	cause = device_judge(st.st_mode, group, nodes[i].group);
	/* Whose it is cannot be told: that is no ground to give it to another. */
	if (r < 0 && r != -ENOENT)
		cause = strerror(-r);
	if (cause)
		wrong(row, cause);
}

static void check_group(const struct root *root, const char *name,
			struct device_report *report)
{
	struct device_row *row = add(report, DEVICE_GROUP, name, "system group");
	_cleanup_account_ struct account g = { 0 };
	int r;

	r = group_lookup(root, name, &g);
	if (r < 0) {
		row->state = DEVICE_ABSENT;
		row->found = xstrdup(r == -ENOENT ? "absent" : "unknown");
		row->cause = xstrdup(r == -ENOENT ?
					     "absent: udev then skips its rule for the device" :
					     strerror(-r));
		return;
	}
	row->found = xasprintf("gid %u", g.gid);
	if (g.gid >= FIRST_USER_GID)
		wrong(row, "not a system group: udev of systemd 258 and later refuses it");
}

/* 0 with *ret, or -errno: nobody can tell. */
static int is_member(const struct root *root, const struct account *user, const char *name,
		     const char *group, int *ret)
{
	_cleanup_account_ struct account g = { 0 };
	int r = group_lookup(root, group, &g);

	*ret = r == 0 && (g.gid == user->gid || account_has_member(&g, name));
	return r == -ENOENT ? 0 : r;
}

/* Only where Intel's package has made the user; it takes user and memberships away again
 * when it is upgraded, so this is looked at every time. */
static void check_qgsd(const struct root *root, struct device_report *report)
{
	_cleanup_account_ struct account user = { 0 };
	struct device_row *row;
	int sgx, prv, r = user_lookup(root, "qgsd", &user);

	if (r == -ENOENT)
		return;
	row = add(report, DEVICE_MEMBER, "qgsd", "member of sgx, sgx_prv");
	if (r == 0)
		r = is_member(root, &user, "qgsd", "sgx", &sgx);
	if (r == 0)
		r = is_member(root, &user, "qgsd", "sgx_prv", &prv);
	if (r < 0) {
		row->state = DEVICE_ABSENT; /* not known to be wrong: nothing to mend */
		row->found = xstrdup("unknown");
		row->cause = xstrdup(strerror(-r));
		return;
	}
	row->found = xstrdup(sgx && prv ? "member of both" :
			     sgx	? "member of sgx" :
			     prv	? "member of sgx_prv" :
					  "member of neither");
	if (sgx && prv)
		return;
	wrong(row, user.uid >= FIRST_USER_GID ? "a login user, not Intel's: left alone" :
						"qgsd cannot open the SGX devices");
}

static void check_other(const struct root *root, size_t i, struct device_report *report)
{
	struct device_row *row = add(report, DEVICE_OTHER, others[i].path, "char");
	struct stat st;
	int r = look(root, others[i].path, &st);

	row->state = DEVICE_NOTE;
	row->found = xstrdup(r == -ENOENT	? "absent" :
			     r < 0		? "unknown" :
			     st.st_mode == 0	? "char (a link to /dev/null)" :
			     S_ISCHR(st.st_mode) ? "char" :
						  "not a character device");
	if (r < 0)
		row->cause = xstrdup(r == -ENOENT ? others[i].absent : strerror(-r));
}

void devices_check(const struct root *root, struct device_report *ret)
{
	*ret = (struct device_report){ 0 };
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		check_node(root, i, ret);
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		check_group(root, groups[i], ret);
	check_qgsd(root, ret);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		check_other(root, i, ret);
}

const struct device_row *devices_bad(const struct device_report *report,
				     enum device_kind kind)
{
	for (size_t i = 0; i < report->n; i++) {
		const struct device_row *row = &report->rows[i];

		if (row->kind == kind &&
		    (row->state == DEVICE_WRONG || row->state == DEVICE_ABSENT))
			return row;
	}
	return NULL;
}

void device_report_free(struct device_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		free(report->rows[i].found);
		free(report->rows[i].cause);
	}
	free(report->rows);
	*report = (struct device_report){ 0 };
}
