// SPDX-License-Identifier: Apache-2.0
/* File systems, the clock and the kernel's messages. */
#include "host/check/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/strbuf.h"
#include "host/check/docker-digest.h"
#include "host/peer/foreign.h"
#include "host/render/vmm-toml.h"

#define KMSG "/dev/kmsg"
/* Where a system that is not running keeps them. */
#define KERN_LOG "/var/log/kern.log"
enum { KMSG_RECORD = 8192, KMSG_RECORDS_MAX = 65536, KERN_LOG_MAX = 64 << 20 };

static const char *const tree_names[TREE_COUNT] = {
	[TREE_IMAGES] = "images",   [TREE_VMS] = "VMs",	  [TREE_REGISTRY] = "registry",
	[TREE_DOCKER] = "Docker", [TREE_LOGS] = "logs",
};

const char *tree_name(enum tree tree)
{
	return tree_names[tree];
}

/* Docker's own word for it would take it longer than all other answers. */
static char *docker_root(const struct root *root)
{
	struct foreign_file conf = { .path = xstrdup(DOCKER_CONF), .digest = docker_digest_root };
	int r = root_exists(root, DOCKER_CONF) ? foreign_read(root, &conf, 1) : -ENOENT;
	const char *says = r == 0 && conf.error == 0 ? peer_get(&conf.answer, "root") : NULL;
	char *path = xstrdup(says ? says : "/var/lib/docker");

	foreign_free(&conf, 1);
	return path;
}

char *tree_path(const struct root *root, const struct settings *s, enum tree tree)
{
	static const char *const fixed[TREE_COUNT] = {
		[TREE_REGISTRY] = "/var/lib/dstack/registry",
		[TREE_LOGS] = "/var/log",
	};

	if (tree == TREE_DOCKER)
		return docker_root(root);
	if (tree == TREE_IMAGES)
		return xstrdup(setting(s, KEY_IMAGE_DIR));
	return tree == TREE_VMS ? vmm_dir(root, s) : xstrdup(fixed[tree]);
}

/* The directory, or the nearest above it that is there. */
static int open_nearest(const struct root *root, const char *path)
{
	_cleanup_free_ char *at = xstrdup(path);

	for (;;) {
		int fd = root_openat(root, *at ? at : "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
		char *slash = strrchr(at, '/');

		if (fd != -ENOENT || !slash)
			return fd;
		*slash = '\0';
	}
}

static void look_at_tree(const struct root *root, const struct stat *top, struct tree_space *t)
{
	_cleanup_close_ int fd = open_nearest(root, t->path);
	struct statvfs vfs;
	struct stat st;

	if (fd < 0 || fstatvfs(fd, &vfs) < 0 || fstat(fd, &st) < 0) {
		t->error = fd < 0 ? fd : -errno;
		return;
	}
	t->total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	t->free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	t->inodes_free = vfs.f_files ? vfs.f_favail : UINT64_MAX;
	t->dev = st.st_dev;
	t->on_root = st.st_dev == top->st_dev;
}

static int clock_state(void)
{
	struct timex t = { .modes = 0 };
	int r = adjtimex(&t);

	return r < 0 ? -errno : !(t.status & STA_UNSYNC);
}

void kernel_log_keep(const char *text, char **ret)
{
	static const char *const about[] = { "virt/tdx:", "x86/tme:", "x86/mktme:", "sgx:" };
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t len = strcspn(line, "\n");

		for (size_t i = 0; i < ARRAY_SIZE(about); i++)
			if (memmem(line, len, about[i], strlen(about[i]))) {
				sb_addn(&sb, line, len);
				sb_addc(&sb, '\n');
				break;
			}
	}
	free(*ret);
	*ret = sb_steal(&sb);
}

/* One record a read: "PRIORITY,SEQUENCE,TIME,FLAGS;TEXT". */
static int read_kmsg(int fd, struct machine *m)
{
	_cleanup_free_ char *record = xmalloc(KMSG_RECORD + 1);
	_cleanup_strbuf_ struct strbuf all = { 0 };

	for (unsigned n = 0; n < KMSG_RECORDS_MAX; n++) {
		ssize_t len = read(fd, record, KMSG_RECORD);
		const char *text;

		/* Overtaken by new messages: the next read goes on with what is left. */
		if (len < 0 && errno == EPIPE)
			continue;
		if (len < 0 && errno != EAGAIN)
			return -errno;
		if (len <= 0)
			break;
		record[len] = '\0';
		text = strchr(record, ',');
		if (n == 0)
			m->kernel_log_cut = !text || strtoull(text + 1, NULL, 10) > 0;
		text = strchr(record, ';');
		if (text && (strstr(text, "virt/tdx:") || strstr(text, "x86/tme:") ||
			     strstr(text, "x86/mktme:") || strstr(text, "sgx:")))
			sb_add(&all, text + 1);
	}
	kernel_log_keep(all.data ? all.data : "", &m->kernel_log);
	return 0;
}

static int read_kernel_log(const struct root *root, struct machine *m)
{
	_cleanup_close_ int fd = root_openat(root, KMSG, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	int r;

	/* A container may have a link to its console there. */
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 11))
		return read_kmsg(fd, m);
	if (fd == -EACCES || fd == -EPERM)
		return fd;
	r = file_read(root, KERN_LOG, KERN_LOG_MAX, &text, NULL);
	if (r == 0)
		kernel_log_keep(text, &m->kernel_log);
	return r;
}

void machine_fill(struct machine *m, const struct root *root, const struct settings *s)
{
	_cleanup_close_ int top = root_openat(root, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	struct stat st = { 0 };

	*m = (struct machine){ .filled = 1 };
	if (top >= 0)
		(void)!fstat(top, &st);
	devices_check(root, &m->devices);
	for (int i = 0; i < TREE_COUNT; i++) {
		m->tree[i].path = tree_path(root, s, (enum tree)i);
		look_at_tree(root, &st, &m->tree[i]);
	}
	m->clock = clock_state();
	m->kernel_log_error = read_kernel_log(root, m);
	secret_audit_files(root, &m->secrets);
}

void machine_look(struct machine *m, const struct root *root, unsigned looks,
		  const struct unit_state *unit, size_t n_units)
{
	m->looked = looks;
	if (looks & LOOK_LISTENERS)
		m->listeners_error = listeners_all(root, &m->listeners);
	/* libnftables complains on stderr when it may not. */
	if ((looks & LOOK_GUARD) && geteuid() != 0)
		m->guard.error = -EPERM;
	else if (looks & LOOK_GUARD)
		guard_look(&m->guard);
	if (looks & LOOK_SECRETS)
		secret_audit_leaks(root, unit, n_units, &m->secrets);
}

void machine_free(struct machine *m)
{
	device_report_free(&m->devices);
	for (int i = 0; i < TREE_COUNT; i++)
		free(m->tree[i].path);
	free(m->kernel_log);
	listeners_free(&m->listeners);
	guard_sight_free(&m->guard);
	secret_audit_free(&m->secrets);
	*m = (struct machine){ 0 };
}
