// SPDX-License-Identifier: Apache-2.0
/* Maps and hashes files while QEMUs start, reads those, computes, tells. */
#include "host/measure/measure-half.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "host/peer/peer-half.h"

enum { SHA256_LEN = 32 };

const struct measure_work *measure_work;

/* An image as far as it could be read. */
struct loaded {
	struct measure_image image;
	struct why why; /* not "": it could not */
};

static int map_file(int fd, size_t most, const char *what, struct bytes *ret, struct why *why)
{
	struct stat st;
	void *at;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return why_not(why, "%s: not a file", what);
	if (st.st_size == 0)
		return why_not(why, "%s: empty", what);
	if ((uint64_t)st.st_size > most)
		return why_not(why, "%s: %llu MiB, more than any %s", what,
			       (unsigned long long)st.st_size >> 20, what);
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return why_not(why, "%s: cannot be read: %s", what, strerror(errno));
	*ret = (struct bytes){ at, (size_t)st.st_size };
	return 0;
}

static void load_image(const struct peer_request *requests, const struct measure_work_image *w,
		       struct loaded *ret)
{
	struct measure_image *m = &ret->image;
	int r = map_file(requests[w->at].fd, MEASURE_FIRMWARE_MAX, "firmware", &m->firmware,
			 &ret->why);

	m->cmdline = w->cmdline;
	if (r == 0)
		r = map_file(requests[w->at + 1].fd, MEASURE_KERNEL_MAX, "kernel", &m->kernel,
			     &ret->why);
	if (r == 0)
		r = file_hash(requests[w->at + 2].fd, FILE_SHA384, m->initrd, &m->initrd_size);
	if (r < 0 && !*ret->why.text)
		why_not(&ret->why, "initrd: cannot be read: %s", strerror(-r));
	/* Before QEMU is asked, which may say less about it. */
	if (r == 0 && measure_check(m, &ret->why) < 0)
		return;
}

static void add_digest(struct peer_emit *emit, const char *key, const unsigned char *digest,
		       size_t len)
{
	char hex[SHA384_HEX + 1];

	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	peer_fact(emit, key, hex);
}

static void tell_program(const struct peer_request *requests, size_t at, int sock)
{
	struct peer_emit emit = { .index = (unsigned)at };
	unsigned char digest[SHA256_LEN];
	uint64_t size;
	int r = file_hash(requests[at].fd, FILE_SHA256, digest, &size);

	if (r == 0)
		add_digest(&emit, "sha256", digest, sizeof(digest));
	peer_work_end(&emit, r < 0 ? strerror(-r) : NULL, sock);
}

static int at_least(const struct qemu *q, unsigned major, unsigned minor)
{
	return q->major > major || (q->major == major && q->minor >= minor);
}

/* What its version, or the operator, says about the TDX code that is not read. */
static void choose(const struct measure_work_job *job, int normalized, const struct qemu *q,
		   struct measure_machine *m)
{
	m->single_pass = job->pages == CHOICE_SECOND ||
			 (job->pages == CHOICE_AUTO && at_least(q, 9, 0));
	/* a7542a38f399: the kernel of a confidential guest is handed over untouched. Without
	 * TDX it is patched, and that is what was read. */
	m->kernel_as_is = job->header == CHOICE_SECOND ||
			  (job->header == CHOICE_AUTO &&
			   (normalized || (!job->td && at_least(q, 10, 2))));
}

static void tell_measurement(struct peer_emit *emit, const struct measurement *m,
			     const struct measure_machine *machine)
{
	peer_fact(emit, "pages", machine->single_pass ? "single-pass" : "two-pass");
	peer_fact(emit, "header", machine->kernel_as_is ? "file" : "qemu");
	for (size_t r = 0; r < MEASURE_REGISTERS; r++)
		if (r != MEASURE_RTMR0 || m->has_rtmr0)
			add_digest(emit, measure_registers[r], m->registers[r], SHA384_LEN);
	for (size_t e = 0; e < MEASURE_EVENTS; e++)
		add_digest(emit, "event", m->events[e], SHA384_LEN);
}

/* A setup block that QEMU patches as no version is known to: told, not hidden. */
static void tell_unknown_patch(struct peer_emit *emit, const struct loaded *l,
			       const struct measure_machine *m)
{
	_cleanup_free_ unsigned char *mine = xmalloc(m->setup.len + 1);
	struct why why;
	size_t size;

	if (m->kernel_as_is || kernel_setup_size(&l->image.kernel, &size, &why) < 0 ||
	    size != m->setup.len ||
	    kernel_patch(&l->image.kernel, l->image.initrd_size, m->memory, mine, &why) < 0)
		return;
	/* A TD's is left alone from 10.2 on. */
	if (memcmp(mine, m->setup.data, size) != 0 &&
	    memcmp(l->image.kernel.data, m->setup.data, size) != 0)
		peer_fact(emit, "note", "this QEMU patches the kernel's header in a way that is "
					"not known");
}

static void tell_job(const struct peer_request *requests, const struct measure_work_job *job,
		     const struct loaded *l, uint64_t deadline, int sock)
{
	struct peer_emit emit = { .index = (unsigned)job->at };
	struct measure_machine m = { .memory = job->memory };
	struct qemu q = { .serial = -1, .deadline = deadline, .window = job->window };
	struct measurement result;
	struct why why = l->why;
	int r = *why.text ? -EBADMSG : 0;

	if (r == 0 && !job->without_qemu) {
		q.qtest = requests[job->at].fd;
		q.qmp = requests[job->at + 1].fd;
		q.err = requests[job->at + 2].fd;
		if (job->booted)
			q.serial = requests[job->booted].fd;
		r = qemu_read(&q, &why);
	}
	if (r == 0) {
		m.tables = (struct bytes){ q.tables, q.tables_len };
		m.rsdp = (struct bytes){ q.rsdp, q.rsdp_len };
		m.loader = (struct bytes){ q.loader, q.loader_len };
		m.setup = (struct bytes){ q.setup, q.setup_len };
		choose(job, measure_work->images[job->image].normalized, &q, &m);
		r = measure_compute(&l->image, &m, &result, &why);
	}
	if (r == 0 && *q.version)
		peer_fact(&emit, "version", q.version);
	if (r == 0)
		tell_measurement(&emit, &result, &m);
	if (r == 0 && q.setup)
		tell_unknown_patch(&emit, l, &m);
	peer_work_end(&emit, r < 0 ? why.text : NULL, sock);
	qemu_free(&q);
}

void measure_half(const struct peer_request *requests, size_t n, int sock)
{
	const struct measure_work *w = measure_work;
	_cleanup_free_ struct loaded *loaded = xcalloc(w->n_images, sizeof(*loaded));
	_cleanup_free_ char *told = xcalloc(n, 1);
	uint64_t deadline = clock_ms() + w->ms;

	/* QEMUs start meanwhile. */
	for (size_t i = 0; i < w->n_images; i++)
		load_image(requests, &w->images[i], &loaded[i]);
	for (size_t i = 0; i < w->n_programs; i++) {
		tell_program(requests, w->programs[i], sock);
		told[w->programs[i]] = 1;
	}
	for (size_t i = 0; i < w->n_jobs; i++) {
		tell_job(requests, &w->jobs[i], &loaded[w->jobs[i].image], deadline, sock);
		told[w->jobs[i].at] = 1;
	}
	for (size_t i = 0; i < n; i++)
		if (!told[i])
			peer_work_end(&(struct peer_emit){ .index = (unsigned)i }, NULL, sock);
}
