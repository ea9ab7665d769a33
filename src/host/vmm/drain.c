// SPDX-License-Identifier: Apache-2.0
/* The VMM asks and stops; that a machine has ended is known from the kernel (pidfd). */
#include "host/vmm/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "base/utf8.h"
#include "host/probe/probes.h"
#include "host/render/vmm-toml.h"

#define LOCK "/run/dstack/.drain"
#define STARTED "{\"started\":true}"
/* StopVm returns when SIGKILL was sent. */
#define STOPPED_MS 5000

/* An open-file-description lock: gone with the process that drains, whatever ends that. */
int drain_hold(const struct root *root, int *ret_fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd = -1;
	int r = root_mkdirs(root, "/run/dstack", 0755);

	if (r < 0)
		return r;
	fd = root_openat(root, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_SETLK, &fl) < 0)
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int drain_under_way(const struct root *root)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd = root_openat(root, LOCK, O_RDONLY | O_NOFOLLOW, 0);

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	return fcntl(fd, F_OFD_GETLK, &fl) < 0 ? -errno : fl.l_type != F_UNLCK;
}

static struct drain_guest *find(const struct drain *d, const char *id, size_t len)
{
	for (size_t i = 0; i < d->n; i++)
		if (strncmp(d->guests[i].id, id, len) == 0 && !d->guests[i].id[len])
			return &d->guests[i];
	return NULL;
}

static struct drain_guest *add_guest(struct drain *d, char *id, char *name)
{
	d->guests = xrealloc(d->guests, (d->n + 1) * sizeof(*d->guests));
	d->guests[d->n] = (struct drain_guest){ .id = id, .name = name, .pidfd = -1 };
	return &d->guests[d->n++];
}

void drain_take_vms(struct drain *d, const struct vmm_vm *vms, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct vmm_vm *vm = &vms[i];

		if (strcmp(vm->status, "running") == 0 && vmm_is_id(vm->id) &&
		    !find(d, vm->id, strlen(vm->id)))
			add_guest(d, xstrdup(vm->id), xstrdup(*vm->name ? vm->name : vm->id));
	}
}

static int ask_vmm(struct drain *d, char **trouble)
{
	_cleanup_free_ char *body = vmm_body_status(NULL, 1), *bad = NULL;
	struct peer_answer answer = { 0 };
	struct vmm_vm *vms;
	size_t n;
	int r = vmm_ask(d->root, VMM_STATUS, body, &answer);

	if (r < 0) {
		*trouble = xasprintf("the VMM does not answer: %s", strerror(-r));
		return r;
	}
	bad = vmm_trouble(&answer);
	r = bad ? -EPROTO : vmm_list(&answer, &vms, &n);
	if (r == 0) {
		drain_take_vms(d, vms, n);
		vmm_list_free(vms, n);
	} else {
		*trouble = xasprintf("the VMM does not say what runs: %s",
				     bad ? bad : "its answer makes no sense");
	}
	peer_answers_free(&answer, 1);
	return r;
}

/* fact: "PID KIND ID NAME" */
static void take_process(struct drain *d, const char *fact)
{
	char *rest;
	long pid = strtol(fact, &rest, 10);
	const char *id = *rest == ' ' ? strchr(rest + 1, ' ') : NULL;
	size_t len = id ? strcspn(++id, " ") : 0;
	struct drain_guest *g = id ? find(d, id, len) : NULL;

	/* One that the VMM could not load runs all the same, and ends with the supervisor. */
	if (id && !g && strncmp(rest, " cvm ", 5) == 0) {
		char *own = xstrndup(id, len);

		if (vmm_is_id(own))
			g = add_guest(d, own, xstrdup(id[len] && id[len + 1] ? id + len + 1 : own));
		else
			free(own);
	}
	if (g && g->pidfd < 0) {
		g->pidfd = slice_pidfd(d->root, (pid_t)pid);
		if (g->pidfd >= 0)
			g->called = g->asked = 0;
	}
}

void drain_take_processes(struct drain *d, const struct peer_answer *list)
{
	/* Whose process has ended may run as another one. */
	(void)drain_living(d);
	for (size_t i = 0; i < list->n_facts; i++)
		if (strcmp(list->facts[i].key, "process") == 0)
			take_process(d, list->facts[i].value);
}

static int ask_supervisor(struct drain *d, char **trouble)
{
	struct probe_result results[PROBE_COUNT] = { 0 };
	char *why = NULL;
	int r = probes_ask(d->root, d->settings, PROBE(PROBE_PROCESSES), 0, results);

	if (r < 0) {
		*trouble = xasprintf("the supervisor cannot be asked: %s", strerror(-r));
	} else if (!probe_answered(&results[PROBE_PROCESSES], 200, &why)) {
		*trouble = xasprintf("the supervisor does not answer: %s", why);
		free(why);
		r = -EPROTO;
	} else {
		drain_take_processes(d, &results[PROBE_PROCESSES].answer);
	}
	probes_free(results);
	return r;
}

char *drain_name_guests(struct drain *d)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	for (; d->n_named < d->n; d->n_named++)
		sb_addf(&sb, "%s%s", sb.len ? ", " : "", d->guests[d->n_named].name);
	/* A terminal is to show it. */
	utf8_clean(sb.data);
	return sb.len ? sb_steal(&sb) : NULL;
}

static int has_pid(const struct slice_processes *list, pid_t pid)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].pid == pid)
			return 1;
	return 0;
}

/* named: the text is wanted, not only that they are known from now on. */
char *drain_name_processes(struct drain *d, int named)
{
	struct slice_processes now, fresh = { 0 };
	char *text = NULL;

	if (slice_list(d->root, &now) < 0)
		return NULL;
	fresh.items = xcalloc(now.n + 1, sizeof(*fresh.items));
	for (size_t i = 0; named && i < now.n; i++)
		if (!has_pid(&d->rest, now.items[i].pid))
			fresh.items[fresh.n++] = now.items[i];
	if (fresh.n)
		text = slice_processes_text(&fresh);
	free(fresh.items);
	slice_processes_free(&d->rest);
	d->rest = now;
	return text;
}

char *drain_name_new(struct drain *d, int processes)
{
	_cleanup_free_ char *guests = drain_name_guests(d);
	_cleanup_free_ char *others = drain_name_processes(d, processes);

	if (guests && others)
		return xasprintf("%s, %s", guests, others);
	return guests ? steal_ptr(guests) : steal_ptr(others);
}

char *drain_look(struct drain *d, char **trouble)
{
	int r;

	*trouble = NULL;
	r = ask_vmm(d, trouble);
	if (r == 0)
		r = ask_supervisor(d, trouble);
	return drain_name_new(d, r < 0);
}

static void wait_for(struct drain *d, int only_asked, unsigned ms)
{
	int *fds = xcalloc(d->n + 1, sizeof(*fds));
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++)
		if (d->guests[i].pidfd >= 0 && (d->guests[i].asked || !only_asked))
			fds[n++] = d->guests[i].pidfd;
	slice_wait(fds, n, clock_ms() + ms);
	free(fds);
}

size_t drain_living(struct drain *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++) {
		struct drain_guest *g = &d->guests[i];

		if (g->pidfd >= 0 && slice_wait(&g->pidfd, 1, clock_ms()) == 0) {
			close(g->pidfd);
			g->pidfd = -1;
		}
		n += g->pidfd >= 0;
	}
	return n;
}

size_t drain_unasked(struct drain *d)
{
	size_t n = 0;

	(void)drain_living(d);
	for (size_t i = 0; i < d->n; i++)
		n += d->guests[i].pidfd >= 0 && !d->guests[i].called;
	return n;
}

/* One call for each that lives, all at once. */
static void call_all(struct drain *d, enum vmm_method method, const char *what)
{
	struct vmm_call *calls = xcalloc(d->n + 1, sizeof(*calls));
	struct peer_request *requests = xcalloc(d->n + 1, sizeof(*requests));
	struct peer_answer *answers = xcalloc(d->n + 1, sizeof(*answers));
	size_t *who = xcalloc(d->n + 1, sizeof(*who)), n = 0;
	int r = 0;

	for (size_t i = 0; i < d->n; i++) {
		_cleanup_free_ char *body = vmm_body_id(d->guests[i].id);

		if (d->guests[i].pidfd < 0)
			continue;
		d->guests[i].called = 1;
		/* One that cannot be asked must not keep the others from being asked. */
		r = vmm_prepare(d->root, method, body, &calls[n]);
		if (r < 0) {
			log_warning("cannot %s %s: %s", what, d->guests[i].name, strerror(-r));
			continue;
		}
		who[n] = i;
		requests[n] = calls[n].request;
		n++;
	}
	r = n ? peer_ask(requests, n, answers) : 0;
	if (r < 0)
		log_warning("cannot %s: %s", what, strerror(-r));
	for (size_t i = 0; i < n; i++) {
		struct drain_guest *g = &d->guests[who[i]];
		_cleanup_free_ char *trouble = r < 0 ? NULL : vmm_trouble(&answers[i]);

		/* Only the first line: the VMM adds its chain of causes. */
		if (trouble)
			log_warning("cannot %s %s: %.*s", what, g->name,
				    (int)strcspn(trouble, "\n"), trouble);
		g->asked |= method == VMM_SHUTDOWN_VM && r == 0 && !trouble;
		vmm_call_free(&calls[i]);
	}
	peer_answers_free(answers, n);
	free(answers);
	free(requests);
	free(calls);
	free(who);
}

void drain_ask(struct drain *d, unsigned wait_ms)
{
	if (drain_living(d) == 0)
		return;
	call_all(d, VMM_SHUTDOWN_VM, "ask the guest of");
	wait_for(d, 1, wait_ms);
}

void drain_stop(struct drain *d)
{
	if (drain_living(d) == 0)
		return;
	call_all(d, VMM_STOP_VM, "stop");
	wait_for(d, 0, STOPPED_MS);
}

static void mark_started(const struct drain *d, const char *dir, const struct drain_guest *g)
{
	_cleanup_free_ char *path = xasprintf("%s/%s/vm-state.json", dir, g->id);
	_cleanup_close_ int fd = root_openat(d->root, path, O_PATH, 0);
	struct file_spec spec = { .data = STARTED, .len = strlen(STARTED) };
	struct stat st;
	int r = fd < 0 ? fd : fstat(fd, &st) < 0 ? -errno : 0;

	if (r == 0) {
		spec.mode = st.st_mode & 07777;
		spec.uid = st.st_uid;
		spec.gid = st.st_gid;
		r = file_replace(d->root, path, &spec);
	}
	if (r < 0)
		log_warning("%s will not start by itself again: %s: %s", g->name, path,
			    strerror(-r));
}

void drain_mark_started(const struct drain *d)
{
	_cleanup_free_ char *dir = vmm_dir(d->root, d->settings);

	for (size_t i = 0; i < d->n; i++)
		mark_started(d, dir, &d->guests[i]);
}

char *drain_give_back(struct drain *d)
{
	_cleanup_free_ char *dir = vmm_dir(d->root, d->settings);
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	(void)drain_living(d);
	for (size_t i = 0; i < d->n; i++) {
		const struct drain_guest *g = &d->guests[i];

		/* Whom somebody else has stopped meanwhile stays so. */
		if (g->pidfd >= 0 || !g->called)
			continue;
		mark_started(d, dir, g);
		sb_addf(&sb, "%s%s", sb.len ? ", " : "", g->name);
	}
	utf8_clean(sb.data);
	return sb.len ? sb_steal(&sb) : NULL;
}

void drain_free(struct drain *d)
{
	for (size_t i = 0; i < d->n; i++) {
		if (d->guests[i].pidfd >= 0)
			close(d->guests[i].pidfd);
		free(d->guests[i].id);
		free(d->guests[i].name);
	}
	free(d->guests);
	slice_processes_free(&d->rest);
	*d = (struct drain){ 0 };
}

int drained_since(struct units *u, uint64_t *since_us)
{
	_cleanup_unit_state_ struct unit_state s = { 0 };
	int r = units_get(u, DRAINED_TARGET, &s);

	*since_us = s.active_us;
	return r < 0 ? r : s.active && strcmp(s.active, "active") == 0;
}

char *drained_text(uint64_t since_us)
{
	time_t t = (time_t)(since_us / 1000000);
	struct tm tm;
	char text[32];

	if (!since_us || !gmtime_r(&t, &tm) ||
	    !strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &tm))
		return xstrdup("drained");
	return xasprintf("drained since %s", text);
}
