// SPDX-License-Identifier: Apache-2.0
/* Opens files, starts QEMUs and the half, collects its facts. */
#include "host/measure/measure-run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/measure/deb.h"
#include "host/measure/jail.h"
#include "host/measure/measure-half.h"

enum {
	READ_MS = 20000,
	READ_BOOTED_MS = 300000,
	FILES_MS = 30000,
	IMAGE_FILES = 3,
	RUNS_MAX = 48, /* different ones, at once */
	NONE = -1,
};

/* What is in the making. All arrays have room for as many as there are runs. */
struct making {
	const struct root *root;
	struct measure_run *runs;
	size_t n;
	const struct measure_options *options;
	size_t *first; /* of a run: the first that is equal to it */
	/* Images, as the first run that has it knows it. */
	struct measure_files *images;
	size_t *image_of, n_images; /* image_of: by run */
	struct measure_work_image *work_images;
	/* QEMUs, likewise. */
	const struct measure_qemu **qemus;
	size_t *qemu_of, n_qemus;
	struct jail *jails;
	int *jail_errors, *qemu_errors;
	int **files; /* a program, or its packages */
	size_t *n_files, *program_at;
	int *owned; /* all descriptors that are to be closed */
	size_t n_owned;
	/* For the half. */
	struct peer_request *requests;
	size_t n_requests;
	struct measure_work_job *jobs;
	size_t *job_of, n_jobs; /* job_of: run of a job */
};

int measure_is_package(const char *path)
{
	size_t n = strlen(path);

	return n > 4 && strcmp(path + n - 4, ".deb") == 0;
}

static void fail(struct measure_run *run, const char *what, const char *path, int r)
{
	run->result.error = xasprintf("%s%s%s: %s", what, path ? " " : "", path ? path : "",
				      strerror(-r));
}

static void own(struct making *m, int fd)
{
	if ((m->n_owned & (m->n_owned - 1)) == 0)
		m->owned = xrealloc(m->owned, (m->n_owned ? 2 * m->n_owned : 1) * sizeof(int));
	m->owned[m->n_owned++] = fd;
}

static int open_file(struct making *m, const char *path)
{
	int fd = root_openat(m->root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		return -EINVAL;
	}
	if (fd >= 0)
		own(m, fd);
	return fd;
}

static unsigned ms_of(const struct measure_options *o)
{
	return o->ms ? o->ms : o->booted ? READ_BOOTED_MS : READ_MS;
}

static size_t request_for(struct making *m, int fd)
{
	m->requests[m->n_requests] = (struct peer_request){
		.kind = PEER_WORK, .fd = fd, .work = measure_half,
		.timeout_ms = m->options->all_ms ? m->options->all_ms :
						   ms_of(m->options) + FILES_MS,
	};
	return m->n_requests++;
}

/* --- images --- */

static int same_image(const struct measure_config *a, const struct measure_config *b)
{
	return strcmp(a->firmware, b->firmware) == 0 && strcmp(a->kernel, b->kernel) == 0 &&
	       strcmp(a->initrd, b->initrd) == 0 && strcmp(a->cmdline, b->cmdline) == 0 &&
	       a->normalized == b->normalized;
}

static int open_image(struct making *m, struct measure_run *run)
{
	const struct measure_config *c = run->config;
	struct measure_files *f = &m->images[m->n_images];
	const struct {
		const char *what, *path;
		int *fd;
	} files[IMAGE_FILES] = { { "firmware", c->firmware, &f->firmware },
				 { "kernel", c->kernel, &f->kernel },
				 { "initrd", c->initrd, &f->initrd } };
	size_t at = m->n_requests;

	for (size_t i = 0; i < IMAGE_FILES; i++) {
		*files[i].fd = open_file(m, files[i].path);
		if (*files[i].fd < 0) {
			fail(run, files[i].what, files[i].path, *files[i].fd);
			return -1;
		}
	}
	for (size_t i = 0; i < IMAGE_FILES; i++)
		request_for(m, *files[i].fd);
	m->work_images[m->n_images] = (struct measure_work_image){
		.at = at, .cmdline = c->cmdline, .normalized = c->normalized,
	};
	return 0;
}

/* Firmware that runs shows on it that it has read the tables. */
static int has_console(const struct measure_config *c)
{
	for (size_t i = 0; i < c->n_args; i++)
		if (strcmp(c->args[i], "-serial") == 0)
			return 1;
	return 0;
}

static void find_image(struct making *m, size_t run)
{
	struct measure_run *r = &m->runs[run];

	if (!r->config->firmware || !r->config->kernel || !r->config->initrd ||
	    !r->config->cmdline) {
		r->result.error = xstrdup("no firmware, kernel, initrd or command line is known");
		return;
	}
	if (m->options->td && (!r->config->td_machine || !r->config->td_object)) {
		r->result.error = xstrdup("its command line does not make it a TD");
		return;
	}
	if (m->options->booted && !has_console(r->config)) {
		r->result.error = xstrdup("it has no serial port, at which --booted looks");
		return;
	}
	for (size_t i = 0; i < run; i++)
		if (!m->runs[i].result.error && m->first[i] == i &&
		    same_image(m->runs[i].config, r->config)) {
			m->image_of[run] = m->image_of[i];
			return;
		}
	m->image_of[run] = m->n_images;
	if (open_image(m, r) == 0)
		m->n_images++;
}

/* --- QEMUs --- */

static void open_qemu(struct making *m, size_t q, struct measure_run *run)
{
	const struct measure_qemu *qemu = m->qemus[q];
	size_t n = 1 + qemu->n_beside;

	m->files[q] = xcalloc(n, sizeof(int));
	for (size_t i = 0; i < n; i++) {
		const char *path = i ? qemu->beside[i - 1] : qemu->path;

		m->files[q][i] = open_file(m, path);
		m->n_files[q]++;
		if (m->files[q][i] < 0) {
			m->qemu_errors[q] = m->files[q][i];
			fail(run, "QEMU", path, m->files[q][i]);
			return;
		}
	}
	m->program_at[q] = request_for(m, m->files[q][0]);
}

static void find_qemu(struct making *m, size_t run)
{
	struct measure_run *r = &m->runs[run];

	if (!r->qemu)
		return;
	for (size_t q = 0; q < m->n_qemus; q++)
		if (m->qemus[q] == r->qemu) {
			m->qemu_of[run] = q;
			if (m->qemu_errors[q] < 0)
				fail(r, "QEMU", r->qemu->path, m->qemu_errors[q]);
			return;
		}
	m->qemus[m->n_qemus] = r->qemu;
	m->qemu_of[run] = m->n_qemus;
	open_qemu(m, m->n_qemus++, r);
}

/* --- jobs --- */

/* A pair whose one end is the half's. */
static int add_pair(struct making *m, int *theirs, int is_pipe)
{
	int pair[2];

	if (is_pipe ? pipe2(pair, O_CLOEXEC) :
		      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	own(m, pair[0]);
	request_for(m, pair[0]);
	*theirs = pair[1];
	return 0;
}

/* The ends of a program, and the half's requests for the others. */
static int add_ends(struct making *m, struct measure_work_job *job, struct jail_program *program)
{
	int r = add_pair(m, &program->fds[0], 0);

	if (r == 0)
		r = add_pair(m, &program->fds[1], 0);
	if (r == 0)
		r = add_pair(m, &program->err, 1);
	if (r == 0 && m->options->booted) {
		job->booted = m->n_requests;
		r = add_pair(m, &program->fds[2], 0);
	}
	return r;
}

/* Is there one? Then it is the half's to do. */
static int add_job(struct making *m, size_t run, struct jail_program *program)
{
	struct measure_run *r = &m->runs[run];
	struct measure_work_job *job = &m->jobs[m->n_jobs];
	int e = 0;

	*job = (struct measure_work_job){
		.image = m->image_of[run], .at = m->n_requests, .memory = r->config->memory,
		.pages = m->options->pages, .header = m->options->header,
		.window = m->options->window, .without_qemu = !r->qemu, .td = m->options->td,
	};
	*program = (struct jail_program){ .fds = { NONE, NONE, NONE }, .err = NONE };
	if (!r->qemu)
		request_for(m, NONE);
	else
		e = add_ends(m, job, program);
	if (e < 0) {
		fail(r, "cannot start QEMU", NULL, e);
		for (size_t i = 0; i < JAIL_FDS; i++)
			closep(&program->fds[i]);
		closep(&program->err);
		return 0;
	}
	m->job_of[m->n_jobs++] = run;
	return 1;
}

/* All configurations of one QEMU in one jail. */
static void start_jail(struct making *m, size_t q)
{
	struct measure_cell cell = {
		.root = m->root, .qemu = m->qemus[q], .booted = m->options->booted,
		.td = m->options->td, .images = m->images, .n_images = m->n_images,
		.files = m->files[q], .n_files = m->n_files[q],
	};
	_cleanup_free_ struct jail_program *programs = xcalloc(m->n, sizeof(*programs));
	_cleanup_free_ const struct measure_config **configs = xcalloc(m->n, sizeof(*configs));
	_cleanup_free_ size_t *image_of = xcalloc(m->n, sizeof(*image_of));

	for (size_t i = 0; i < m->n; i++) {
		if (m->first[i] != i || m->runs[i].result.error || m->runs[i].qemu != m->qemus[q])
			continue;
		configs[cell.n_programs] = m->runs[i].config;
		image_of[cell.n_programs] = m->image_of[i];
		if (add_job(m, i, &programs[cell.n_programs]))
			cell.n_programs++;
	}
	cell.programs = programs;
	cell.configs = configs;
	cell.image_of = image_of;
	if (cell.n_programs)
		m->jail_errors[q] = measure_jail_start(&cell, &m->jails[q]);
}

/* --- what came back --- */

static void take_all(struct making *m, const struct peer_answer *answers, char **said)
{
	for (size_t j = 0; j < m->n_jobs; j++) {
		struct measure_run *run = &m->runs[m->job_of[j]];
		size_t q = m->qemu_of[m->job_of[j]];
		const struct peer_answer *a = &answers[m->jobs[j].at];

		if (run->result.error)
			continue;
		if (run->qemu && m->jail_errors[q] < 0)
			fail(run, "cannot make a sandbox for QEMU", NULL, m->jail_errors[q]);
		else if (run->qemu && *said[q])
			run->result.error = xstrdup(said[q]);
		else if (a->error != PEER_OK)
			run->result.error = xstrdup(a->text);
		else
			measure_result_take(&run->result, a);
		if (run->qemu && !run->result.error)
			run->result.sha256 = measure_fact(&answers[m->program_at[q]], "sha256");
	}
	/* Nothing is told that was not measured. */
	for (size_t i = 0; i < m->n; i++)
		if (m->first[i] == i && !m->runs[i].result.error &&
		    !m->runs[i].result.registers[MEASURE_MRTD])
			m->runs[i].result.error = xstrdup("was not measured");
}

/* How it was found out. */
static void tell_circumstances(struct measure_run *run, const struct measure_options *o)
{
	static const char *const origins[] = {
		[ORIGIN_GIVEN] = "given", [ORIGIN_RUNNING] = "running", [ORIGIN_LAST] = "last",
		[ORIGIN_ASSUMED] = "assumed",
	};
	struct measure_result *r = &run->result;

	free(r->command_line);
	r->command_line = xstrdup(origins[run->config->origin]);
	if (run->qemu && !r->sandbox)
		r->sandbox = xstrdup(geteuid() == 0 ? "own" : "caller");
	/* The stand-in says so in its version. */
	if (run->qemu && o->td && !r->td)
		r->td = xstrdup(r->version && strstr(r->version, "simulated") ? "simulated" :
										"real");
}

/* --- all of it --- */

static void prepare(struct making *m)
{
	for (size_t i = 0; i < m->n; i++) {
		m->first[i] = i;
		for (size_t j = 0; j < i && m->first[i] == i; j++)
			if (m->runs[j].qemu == m->runs[i].qemu &&
			    config_equal(m->runs[j].config, m->runs[i].config))
				m->first[i] = m->first[j];
		if (m->first[i] != i)
			continue;
		find_image(m, i);
		if (!m->runs[i].result.error)
			find_qemu(m, i);
	}
	for (size_t i = 0, distinct = 0; i < m->n; i++)
		if (m->first[i] == i && ++distinct > RUNS_MAX && !m->runs[i].result.error)
			fail(&m->runs[i], "too many different configurations at once", NULL,
			     -E2BIG);
	for (size_t q = 0; q < m->n_qemus; q++)
		start_jail(m, q);
	for (size_t i = 0; i < m->n; i++)
		if (m->first[i] == i && !m->runs[i].qemu && !m->runs[i].result.error)
			add_job(m, i, &(struct jail_program){ 0 });
}

/* The half reads them; what failed before has none. */
static int ask(struct making *m, struct peer_answer *answers)
{
	_cleanup_free_ size_t *programs = xcalloc(m->n_qemus + 1, sizeof(*programs));
	struct measure_work work = {
		.images = m->work_images, .n_images = m->n_images,
		.jobs = m->jobs, .n_jobs = m->n_jobs,
		.programs = programs,
		.ms = ms_of(m->options),
	};
	int r;

	for (size_t q = 0; q < m->n_qemus; q++)
		if (m->program_at[q] && m->options->hash_qemu)
			programs[work.n_programs++] = m->program_at[q];
	measure_work = &work;
	r = m->n_jobs ? peer_ask(m->requests, m->n_requests, answers) : 0;
	measure_work = NULL;
	return r;
}

static void close_all(struct making *m)
{
	for (size_t i = 0; i < m->n_owned; i++)
		close(m->owned[i]);
	free(m->owned);
	for (size_t q = 0; q < m->n_qemus; q++)
		free(m->files[q]);
}

static int run_all(struct making *m)
{
	struct peer_answer *answers = xcalloc(m->n * 9 + 1, sizeof(*answers));
	char **said = xcalloc(m->n + 1, sizeof(*said));
	int r;

	prepare(m);
	/* QEMUs start meanwhile, which need none of it. */
	r = sha384_load();
	if (r == 0)
		r = ask(m, answers);
	for (size_t q = 0; q < m->n_qemus; q++)
		said[q] = m->jails[q].pid ? jail_end(&m->jails[q]) : xstrdup("");
	if (r == 0)
		take_all(m, answers, said);
	for (size_t i = 0; r == 0 && i < m->n; i++) {
		if (m->first[i] != i)
			measure_result_copy(&m->runs[m->first[i]].result, &m->runs[i].result);
		if (!m->runs[i].result.error)
			tell_circumstances(&m->runs[i], m->options);
	}
	close_all(m);
	peer_answers_free(answers, m->n_requests);
	for (size_t q = 0; q < m->n_qemus; q++)
		free(said[q]);
	free(answers);
	free(said);
	return r;
}

int measure_all(const struct root *root, struct measure_run *runs, size_t n,
		const struct measure_options *options)
{
	_cleanup_free_ size_t *numbers = xcalloc(n * 7 + 1, sizeof(*numbers));
	_cleanup_free_ struct measure_files *images = xcalloc(n, sizeof(*images));
	_cleanup_free_ struct measure_work_image *work = xcalloc(n, sizeof(*work));
	_cleanup_free_ const struct measure_qemu **qemus = xcalloc(n, sizeof(*qemus));
	_cleanup_free_ struct jail *jails = xcalloc(n, sizeof(*jails));
	_cleanup_free_ int *errors = xcalloc(2 * n, sizeof(*errors));
	_cleanup_free_ int **files = xcalloc(n, sizeof(*files));
	/* Three of an image, one of a program, four of a job, and one to spare. */
	_cleanup_free_ struct peer_request *requests = xcalloc(n * 9 + 1, sizeof(*requests));
	_cleanup_free_ struct measure_work_job *jobs = xcalloc(n, sizeof(*jobs));
	struct making m = {
		.root = root, .runs = runs, .n = n, .options = options, .first = numbers,
		.images = images, .image_of = numbers + n, .work_images = work, .qemus = qemus,
		.qemu_of = numbers + 2 * n, .jails = jails, .jail_errors = errors,
		.qemu_errors = errors + n,
		.files = files, .n_files = numbers + 3 * n, .program_at = numbers + 4 * n,
		.requests = requests, .jobs = jobs, .job_of = numbers + 5 * n,
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		if (runs[i].qemu && measure_is_package(runs[i].qemu->path))
			r = deb_load();
	return r < 0 ? r : run_all(&m);
}
