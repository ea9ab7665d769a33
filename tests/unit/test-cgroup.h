// SPDX-License-Identifier: Apache-2.0
/* A control group of the test's own, where root has a cgroup v2 tree. */
#pragma once

#include "test.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define SLICE "/sys/fs/cgroup/dstackcvm.slice"
#define SERVICE SLICE "/dstack-supervisor.service"

static char group[256]; /* ours alone, removed at the end */

static inline int write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

/* A group of our own becomes the root that this process and its children see, in namespaces
 * of `more` kinds too. */
static inline int group_enter(const char *name, int more)
{
	const char *top = access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0 ?
				  "/sys/fs/cgroup" :
				  "/sys/fs/cgroup/unified";
	char path[300];

	if (geteuid() != 0)
		return -1;
	snprintf(group, sizeof(group), "%s/dstack-test-%s-%d", top, name, getpid());
	if (mkdir(group, 0755) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	if (write_text(path, "0") < 0 || unshare(CLONE_NEWCGROUP | CLONE_NEWNS | more) < 0)
		return -1;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

/* What a failed test has left in it goes first, or it could not be removed. */
static inline void group_leave(void)
{
	static const char *const below[] = { "/dstackcvm.slice/dstack-supervisor.service",
					     "/dstackcvm.slice", "" };
	char path[400];

	if (!*group)
		return;
	snprintf(path, sizeof(path), "%.*s/cgroup.procs", (int)(strrchr(group, '/') - group),
		 group);
	if (write_text(path, "0") < 0)
		print_message("# cannot leave %s\n", group);
	snprintf(path, sizeof(path), "%s/cgroup.kill", group);
	write_text(path, "1");
	while (waitpid(-1, NULL, 0) > 0)
		;
	for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
		snprintf(path, sizeof(path), "%s%s", group, below[i]);
		if (rmdir(path) < 0 && errno != ENOENT)
			print_message("# %s stays\n", path);
	}
}
