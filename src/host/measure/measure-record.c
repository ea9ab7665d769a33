// SPDX-License-Identifier: Apache-2.0
/* Puts on record what a machine measures that runs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/lock.h"
#include "base/parse.h"
#include "host/json.h"
#include "host/measure/measure-ask.h"
#include "host/measure/measure-baseline.h"
#include "host/measure/measure-print.h"

enum { LOCK_SECONDS = 30, STAT_MAX = 4096, START_FIELD = 22 };

/* --- has anything changed since? --- */

static double seconds_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* When the process was started, on the clock that files have. 0 or -errno. */
static int started_at(const struct root *root, const char *pid, double *ret)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/stat", pid), *text = NULL;
	size_t len;
	int r = file_read(root, path, STAT_MAX, &text, &len);
	char *at = r < 0 ? NULL : strrchr(text, ')'), *end;
	unsigned long long ticks;

	/* The name before it may have anything in it; the third field follows. */
	for (int field = 2; at && field < START_FIELD; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return r < 0 ? r : -EBADMSG;
	ticks = strtoull(at + 1, &end, 10);
	if (end == at + 1)
		return -EBADMSG;
	/* It was cut off to a whole one. */
	*ret = seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME) +
	       (double)(ticks + 1) / (double)sysconf(_SC_CLK_TCK);
	return 0;
}

static int is_deleted(const struct root *root, const char *pid)
{
	_cleanup_free_ char *path = xasprintf("%s/proc/%s/exe", root->path, pid);
	static const char gone[] = " (deleted)";
	char target[4096];
	ssize_t n = readlink(path, target, sizeof(target));
	size_t len = strlen(gone);

	return n > (ssize_t)len && memcmp(target + n - len, gone, len) == 0;
}

/* Does what lies on disk tell of the machine that runs? 0, or -EBADMSG with the reason. */
static int is_unchanged(const struct root *root, const struct measure_vm *vm, const char *qemu,
			char **trouble)
{
	const struct measure_config *c = &vm->config;
	const char *const files[] = { c->firmware, c->kernel, c->initrd, qemu };
	double start;
	int r = started_at(root, vm->pid, &start);

	if (r < 0) {
		*trouble = xasprintf("its process %s: %s", vm->pid, strerror(-r));
		return -EBADMSG;
	}
	if (qemu && is_deleted(root, vm->pid)) {
		*trouble = xstrdup("the QEMU that runs it is no longer on disk; name a file or "
				   "package of the same one with --qemu");
		return -EBADMSG;
	}
	for (size_t i = 0; i < ARRAY_SIZE(files) && files[i]; i++) {
		_cleanup_close_ int fd = root_openat(root, files[i], O_PATH | O_CLOEXEC, 0);
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0) {
			*trouble = xasprintf("%s: %s", files[i], strerror(fd < 0 ? -fd : errno));
			return -EBADMSG;
		}
		if ((double)st.st_ctim.tv_sec + (double)st.st_ctim.tv_nsec / 1e9 <= start)
			continue;
		*trouble = xasprintf("%s has changed since the machine was started, so it does not "
				     "tell what that measured%s", files[i], files[i] == qemu ?
				     "; name a file or package of the same QEMU with --qemu" : "");
		return -EBADMSG;
	}
	return 0;
}

/* --- writing it --- */

static json_t *machine_json(const struct measure_vm *vm, const char *qemu)
{
	const struct measure_config *c = &vm->config;
	json_t *args = json_array(), *doc;

	for (size_t i = 0; i < c->n_args; i++)
		json_push(args, json_string(c->args[i]));
	doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I}", "id", vm->id, "name",
			vm->name, "qemu", qemu, "firmware", c->firmware, "kernel", c->kernel,
			"initrd", c->initrd, "cmdline", c->cmdline, "normalized", c->normalized,
			"memory", (json_int_t)c->memory);
	json_object_set_new(doc, "args", args);
	return doc;
}

/* FILE_UNCHANGED: the same is on record; 0; or -EBADMSG with the reason. */
static int save(const struct root *root, const struct measure_vm *vm, const char *qemu,
		const struct measure_result *result, char **trouble)
{
	_cleanup_free_ char *path = xasprintf(BASELINES "/%s.json", vm->id), *differences = NULL;
	struct file_spec spec = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct measure_result before;
	json_t *doc;
	int r;

	if (root_exists(root, path)) {
		if (measure_load(root, path, &before, trouble) < 0)
			return -EBADMSG;
		r = measure_same(&before, result) ? FILE_UNCHANGED : -EBADMSG;
		differences = measure_differences(&before, result);
		measure_result_free(&before);
		if (r < 0)
			*trouble = xasprintf("another is on record, which stays (%s); if its disk "
					     "did open with this, move %s away first",
					     differences, path);
		return r;
	}
	doc = measure_json(vm->name, result);
	json_object_set_new(doc, "machine", machine_json(vm, qemu));
	json_write(&out, doc);
	spec.data = out.data;
	spec.len = out.len;
	r = root_mkdirs(root, BASELINES, 0700);
	if (r == 0)
		r = file_replace(root, path, &spec);
	if (r < 0)
		*trouble = xasprintf("write %s: %s", path, strerror(-r));
	return r < 0 ? -EBADMSG : 0;
}

/* --- all of it --- */

static int record(const struct root *root, const struct measure_vm *vm,
		  const struct measure_qemu *named, char **trouble)
{
	const struct measure_qemu own = { .path = vm->config.qemu };
	struct measure_options options = { .window = MEASURE_WINDOW, .hash_qemu = 1 };
	struct measure_answer answer = { 0 };
	_cleanup_close_ int lock = -1;
	int r;

	if (vm->trouble || !vm->pid || !vm->config.qemu) {
		*trouble = xstrdup(vm->trouble ? vm->trouble : "it does not run: what its disk was "
				   "sealed with cannot be told");
		return -EBADMSG;
	}
	r = is_unchanged(root, vm, named ? NULL : own.path, trouble);
	if (r < 0)
		return r;
	r = measure_ask(root, &vm->config, named ? named : &own, &options, NULL, &answer, trouble);
	/* Again: it took its time. */
	if (r == 0 && is_unchanged(root, vm, named ? NULL : own.path, trouble) == 0)
		r = lock_take(root, LOCK_SECONDS, &lock);
	if (!*trouble && r < 0)
		*trouble = xasprintf("take the lock: %s", strerror(-r));
	if (!*trouble)
		r = save(root, vm, own.path, &answer.result, trouble);
	measure_answer_free(&answer);
	return *trouble ? -EBADMSG : r;
}

int baseline_record(const struct root *root, const struct settings *settings,
		    const char *machine, const struct measure_qemu *qemu, char **trouble)
{
	struct measure_vm *vms;
	size_t n, i = 0;
	int r = measure_vms(root, settings, &vms, &n, trouble);

	if (r < 0)
		return r;
	while (i < n && strcmp(vms[i].id, machine) != 0 && strcmp(vms[i].name, machine) != 0)
		i++;
	if (i == n || strchr(vms[i].id, '/') || *vms[i].id == '.') {
		*trouble = xasprintf("no machine \"%.64s\" on this host", machine);
		r = -EBADMSG;
	} else {
		r = record(root, &vms[i], qemu, trouble);
	}
	measure_vms_free(vms, n);
	return r;
}
