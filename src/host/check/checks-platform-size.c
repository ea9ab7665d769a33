// SPDX-License-Identifier: Apache-2.0
/* Memory modules, file systems, the clock. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/strbuf.h"
#include "host/check/checks-platform.h"
#include "host/check/dmi.h"

#define GIB (UINT64_C(1) << 30)
/* Below the first nothing can be pulled or rotated any more, below the second the next image
 * or VM may already not fit. */
enum { FULL_GIB = 1, LOW_GIB = 10, LOW_PERCENT = 5, INODES_LOW = 1000 };
/* Most vendors: one module in each of a socket's eight channels. */
enum { MODULES_PER_SOCKET = 8 };

const struct outcome memory_outcomes[] = {
	{ "symmetric", CHECK_OK },
	{ "asymmetric", CHECK_WARN, "the sockets' memory is not populated alike (%s): TDX or SGX may "
				    "refuse to start",
	  "the memory population rules in the server's manual" },
	{ "few", CHECK_WARN, "fewer than 8 memory modules on a socket (%s): most vendors' rules for "
			     "SGX and TDX ask for 8",
	  "the memory population rules in the server's manual" },
	{ 0 },
};

const struct outcome space_outcomes[] = {
	{ "enough", CHECK_OK },
	{ "low", CHECK_WARN, "the file system of %s is nearly full", "sudo du -xh --max-depth=2 %s" },
	{ "full", CHECK_FAIL, "the file system of %s is full: writes fail, of guests too",
	  "sudo du -xh --max-depth=2 %s" },
	{ "no-inodes", CHECK_FAIL, "the file system of %s has no inodes left: no file can be made",
	  "sudo du --inodes -x --max-depth=2 %s" },
	{ 0 },
};

const struct outcome vm_disk_outcomes[] = {
	{ "own", CHECK_OK },
	{ "shares-root", CHECK_WARN, "%s is on the same file system as /: guests' disks grow until "
				     "logs, images and packages of the host have no room",
	  "a file system of its own, mounted at that directory while no virtual machine exists "
	  "there" },
	{ 0 },
};

const struct outcome clock_outcomes[] = {
	{ "synchronised", CHECK_OK },
	{ "adrift", CHECK_WARN, "the clock is not synchronised: certificates and quotes fail once it "
				"is wrong enough",
	  "sudo timedatectl set-ntp true" },
	{ 0 },
};

static const char *judge_memory(const struct dmi_memory *m)
{
	const struct dmi_array *first = NULL;
	int few = 0;

	for (size_t i = 0; i < m->n; i++) {
		const struct dmi_array *a = &m->array[i];

		/* The slots of a socket without a CPU. */
		if (!a->filled)
			continue;
		if (!first)
			first = a;
		if (a->filled != first->filled || a->mb != first->mb)
			return "asymmetric";
		few |= a->filled < MODULES_PER_SOCKET;
	}
	if (m->sizes_differ)
		return "asymmetric";
	return few || !first ? "few" : "symmetric";
}

static char *describe_memory(const struct dmi_memory *m)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	for (size_t i = 0; i < m->n; i++)
		sb_addf(&sb, "%s%u of %u slots with %" PRIu64 " GiB", i ? ", " : "",
			m->array[i].filled, m->array[i].slots, m->array[i].mb / 1024);
	return sb_steal(&sb);
}

const char *eval_memory(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *table = NULL, *text = NULL;
	struct dmi_memory memory;
	size_t len;
	int error = file_read(v->parts.root, DMI_TABLE, DMI_TABLE_MAX, &table, &len);

	if (error == -EACCES || error == -EPERM)
		return SKIP_PRIVILEGE;
	if (error == 0)
		error = dmi_read_memory(table, len, &memory);
	if (error < 0) {
		verdict_subject(r, DMI_TABLE ": %s", strerror(-error));
		return SKIP_UNKNOWN;
	}
	text = describe_memory(&memory);
	verdict_found(r, "%s%s", text, memory.sizes_differ ? ", of different sizes" : "");
	verdict_subject(r, "%s", text);
	return judge_memory(&memory);
}

static const char *judge_tree(const struct tree_space *t)
{
	if (t->inodes_free < INODES_LOW)
		return "no-inodes";
	if (t->free < FULL_GIB * GIB)
		return "full";
	return t->free < LOW_GIB * GIB || t->free / LOW_PERCENT < t->total / 100 ? "low" : "enough";
}

static int is_worse(const char *a, const char *b)
{
	static const char *const order[] = { "enough", "low", "full", "no-inodes" };
	size_t x = 0, y = 0;

	while (strcmp(order[x], a) != 0)
		x++;
	while (strcmp(order[y], b) != 0)
		y++;
	return x > y;
}

static void add_tree(struct strbuf *sb, const char *name, const struct tree_space *t)
{
	sb_addf(sb, "%s%s ", sb->len ? ", " : "", name);
	if (t->error)
		sb_addf(sb, "unknown (%s)", strerror(-t->error));
	else
		sb_addf(sb, "%" PRIu64 " GiB of %" PRIu64, t->free / GIB, t->total / GIB);
}

const char *eval_space(const struct check_view *v, struct verdict *r)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	const char *worst = NULL;

	for (int i = 0; v->machine.filled && i < TREE_COUNT; i++) {
		const struct tree_space *t = &v->machine.tree[i];
		const char *outcome;

		add_tree(&sb, tree_name((enum tree)i), t);
		outcome = t->error ? NULL : judge_tree(t);
		if (!outcome || (worst && !is_worse(outcome, worst)))
			continue;
		worst = outcome;
		verdict_subject(r, "%s", t->path);
	}
	if (!worst) {
		verdict_subject(r, "%s", sb.len ? sb.data : "nobody has looked");
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "free: %s", sb.data);
	return worst;
}

const char *eval_vm_disk(const struct check_view *v, struct verdict *r)
{
	const struct tree_space *t = &v->machine.tree[TREE_VMS];

	if (!v->machine.filled || t->error) {
		verdict_subject(r, "%s", t->error ? strerror(-t->error) : "nobody has looked");
		return SKIP_UNKNOWN;
	}
	verdict_found(r, "%s", t->path);
	verdict_subject(r, "%s", t->path);
	return t->on_root ? "shares-root" : "own";
}

const char *eval_clock(const struct check_view *v, struct verdict *r)
{
	if (!v->machine.filled || v->machine.clock < 0) {
		verdict_subject(r, "%s", v->machine.filled ? strerror(-v->machine.clock) :
							     "nobody has looked");
		return SKIP_UNKNOWN;
	}
	return v->machine.clock ? "synchronised" : "adrift";
}
