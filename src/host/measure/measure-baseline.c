// SPDX-License-Identifier: Apache-2.0
/* Looks whether what is on record would be measured again. */
#include "host/measure/measure-baseline.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fileio.h"
#include "base/lock.h"
#include "host/json.h"
#include "host/measure/measure-print.h"
#include "host/peer/foreign.h"
#include "host/sha256.h"

#define CACHE "/run/dstack/measured"

enum {
	BASELINES_MAX = 48, /* that are read at once */
	ENOUGH_MS = 400,    /* for a QEMU to be started and read */
};

/* A record, and what is known of it now. */
struct look {
	struct baseline *baseline;
	struct measure_vm vm;
	struct measure_result was, now;
	struct measure_qemu qemu;
	char key[SHA256_HEX + 1]; /* of all that would be read */
	int is_read;		  /* now, not kept from before */
};

/* --- the records --- */

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int is_there(const struct root *root, const char *vm_dir, const char *id)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", vm_dir, id);

	return root_exists(root, path);
}

/* Ids of those that are on record. 0 or -errno; none is no error. */
static int list_ids(const struct root *root, const char *vm_dir, char **ids, size_t *n)
{
	_cleanup_closedir_ DIR *dir = root_opendir(root, BASELINES);
	struct dirent *e;

	*n = 0;
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(dir)) && *n < BASELINES_MAX) {
		size_t len = strlen(e->d_name);
		char *id;

		if (*e->d_name == '.' || len < 6 || strcmp(e->d_name + len - 5, ".json") != 0)
			continue;
		id = xstrndup(e->d_name, len - 5);
		if (is_there(root, vm_dir, id))
			ids[(*n)++] = id;
		else
			free(id);
	}
	qsort(ids, *n, sizeof(*ids), compare);
	return 0;
}

int baseline_exists(const struct root *root, const char *id)
{
	_cleanup_free_ char *path = xasprintf(BASELINES "/%s.json", id);

	return root_exists(root, path);
}

/* --- what would be read --- */

static int add_file(const struct root *root, struct strbuf *out, const char *path)
{
	_cleanup_close_ int fd = path ? root_openat(root, path, O_PATH | O_CLOEXEC, 0) : -EBADMSG;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	sb_addf(out, "%s %llu %llu %llu %lld.%09ld\n", path, (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino, (unsigned long long)st.st_size,
		(long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	return 0;
}

/* 0, or -errno with the path in *bad. */
static int make_key(const struct root *root, struct look *l, const char **bad)
{
	const struct measure_config *c = &l->vm.config;
	const char *const files[] = { c->qemu, c->firmware, c->kernel, c->initrd };
	_cleanup_strbuf_ struct strbuf text = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int r = add_file(root, &text, files[i]);

		*bad = files[i] ? files[i] : "a file that is not on record";
		if (r < 0)
			return r;
	}
	sb_addf(&text, MEASURE_SCHEMA " %llu %d\n%s\n", (unsigned long long)c->memory,
		c->normalized, c->cmdline ? c->cmdline : "");
	for (size_t i = 0; i < c->n_args; i++)
		sb_addf(&text, "%zu %s\n", strlen(c->args[i]), c->args[i]);
	sha256_hex(text.data, text.len, l->key);
	return 0;
}

/* --- the verdict --- */

static void unknown(struct baseline *b, enum baseline_verdict verdict, char *text)
{
	free(b->text);
	b->text = text;
	b->verdict = verdict;
}

static int differs(const char *a, const char *b)
{
	return !a || !b || strcmp(a, b) != 0;
}

/* Is it QEMU, rather than the image, by which they differ? */
static int is_qemus(const struct measure_result *a, const struct measure_result *b)
{
	static const enum measure_event events[] = { EVENT_TD_HOB, EVENT_ACPI_LOADER,
						     EVENT_ACPI_RSDP, EVENT_ACPI_TABLES };

	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (differs(a->events[events[i]], b->events[events[i]]))
			return 1;
	return differs(a->pages, b->pages) || differs(a->header, b->header);
}

static void judge(struct look *l)
{
	struct baseline *b = l->baseline;

	b->now = l->now.version ? xstrdup(l->now.version) : NULL;
	if (measure_same(&l->was, &l->now))
		return;
	b->text = measure_differences(&l->was, &l->now);
	b->verdict = is_qemus(&l->was, &l->now) ? BASELINE_OTHER_QEMU : BASELINE_OTHER_IMAGE;
}

/* --- reading --- */

static char *directory_of(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? xstrndup(path, (size_t)(slash - path)) : NULL;
}

/* The record and what was kept of an earlier look, of each, in one half. */
static int load(const struct root *root, struct look *looks, size_t n)
{
	_cleanup_free_ struct foreign_file *files = xcalloc(2 * n, sizeof(*files));
	const char *bad;
	int r;

	for (size_t i = 0; i < 2 * n; i++) {
		files[i].path = xasprintf("%s/%s.json", i < n ? BASELINES : CACHE,
					  looks[i % n].baseline->id);
		files[i].digest = measure_digest_saved;
	}
	r = foreign_read(root, files, 2 * n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct look *l = &looks[i];
		const struct foreign_file *kept = &files[n + i];
		int e = files[i].error;

		if (e == 0)
			e = measure_take_saved(&files[i].answer, &l->was, &l->vm);
		if (e == 0 && !l->vm.name)
			e = -EBADMSG;
		if (e < 0) {
			unknown(l->baseline, BASELINE_UNKNOWN,
				xasprintf("%s: %s", files[i].path, strerror(-e)));
			continue;
		}
		l->baseline->name = xstrdup(l->vm.name);
		l->baseline->image = directory_of(l->vm.config.kernel);
		l->baseline->was = l->was.version ? xstrdup(l->was.version) : NULL;
		e = make_key(root, l, &bad);
		if (e < 0)
			unknown(l->baseline, BASELINE_UNKNOWN,
				xasprintf("%s: %s", bad, strerror(-e)));
		else if (!kept->error && !differs(peer_get(&kept->answer, "key"), l->key) &&
			 measure_take_saved(&kept->answer, &l->now, NULL) < 0)
			measure_result_free(&l->now);
	}
	foreign_free(files, 2 * n);
	return r;
}

static int is_to_be_read(const struct look *l)
{
	return l->baseline->verdict == BASELINE_SAME && !l->now.registers[MEASURE_MRTD];
}

static void read_now(const struct root *root, struct look *looks, size_t n, uint64_t deadline)
{
	struct measure_run runs[BASELINES_MAX] = { 0 };
	struct look *of[BASELINES_MAX];
	unsigned left = (unsigned)clock_left(deadline);
	struct measure_options options = { .window = MEASURE_WINDOW, .ms = left, .all_ms = left };
	size_t n_runs = 0;
	int r = left < ENOUGH_MS ? -ETIME : 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_to_be_read(&looks[i]))
			continue;
		looks[i].qemu.path = looks[i].vm.config.qemu;
		of[n_runs] = &looks[i];
		runs[n_runs++] = (struct measure_run){ .config = &looks[i].vm.config,
						       .qemu = &looks[i].qemu };
		for (size_t j = 0; j + 1 < n_runs; j++)
			if (strcmp(runs[j].qemu->path, looks[i].qemu.path) == 0)
				runs[n_runs - 1].qemu = runs[j].qemu;
	}
	if (r == 0 && n_runs)
		r = measure_all(root, runs, n_runs, &options);
	for (size_t i = 0; i < n_runs; i++) {
		of[i]->now = runs[i].result;
		of[i]->is_read = r == 0 && !runs[i].result.error;
		if (r == -ETIME || (of[i]->now.error && !clock_left(deadline)))
			unknown(of[i]->baseline, BASELINE_LATE, NULL);
		else if (r < 0 || of[i]->now.error)
			unknown(of[i]->baseline, BASELINE_UNKNOWN,
				xstrdup(r < 0 ? strerror(-r) : of[i]->now.error));
	}
}

/* For the next look. Whoever holds the lock has it written the next time. */
static void keep(const struct root *root, const struct look *looks, size_t n)
{
	_cleanup_close_ int lock = -1;

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *path = xasprintf(CACHE "/%s.json", looks[i].baseline->id);
		struct file_spec spec = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
		_cleanup_strbuf_ struct strbuf out = { 0 };
		json_t *doc;

		if (!looks[i].is_read)
			continue;
		if (lock < 0 && (root_mkdirs(root, CACHE, 0700) < 0 ||
				 lock_take(root, 0, &lock) < 0))
			return;
		doc = measure_json(looks[i].vm.name, &looks[i].now);
		json_object_set_new(doc, "key", json_string(looks[i].key));
		json_write(&out, doc);
		spec.data = out.data;
		spec.len = out.len;
		if (file_replace(root, path, &spec) < 0)
			return;
	}
}

int baselines_look(const struct root *root, const char *vm_dir, uint64_t deadline,
		   struct baseline **ret, size_t *n)
{
	char *ids[BASELINES_MAX];
	_cleanup_free_ struct look *looks = NULL;
	int r = list_ids(root, vm_dir, ids, n);

	*ret = xcalloc(*n + 1, sizeof(**ret));
	looks = xcalloc(*n + 1, sizeof(*looks));
	for (size_t i = 0; i < *n; i++) {
		(*ret)[i].id = ids[i];
		looks[i].baseline = &(*ret)[i];
	}
	if (r == 0 && *n)
		r = load(root, looks, *n);
	if (r == 0)
		read_now(root, looks, *n, deadline);
	for (size_t i = 0; i < *n; i++)
		if (looks[i].now.registers[MEASURE_MRTD] && !looks[i].now.error)
			judge(&looks[i]);
	if (r == 0)
		keep(root, looks, *n);
	for (size_t i = 0; i < *n; i++) {
		measure_result_free(&looks[i].was);
		measure_result_free(&looks[i].now);
		measure_vm_free(&looks[i].vm);
	}
	if (r < 0) {
		baselines_free(*ret, *n);
		*ret = NULL;
		*n = 0;
	}
	return r;
}

void baselines_free(struct baseline *baselines, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(baselines[i].id);
		free(baselines[i].name);
		free(baselines[i].image);
		free(baselines[i].text);
		free(baselines[i].was);
		free(baselines[i].now);
	}
	free(baselines);
}
