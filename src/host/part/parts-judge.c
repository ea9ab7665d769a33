// SPDX-License-Identifier: Apache-2.0
/* From what was seen to a verdict: ok, waiting for something, failed, off, unknown. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/part/parts.h"
#include "host/vmm/drain.h"

/* A daemon that was started this short a time ago may still be getting up. */
#define GRACE_US 30000000ull

enum part_state finding_set(struct finding *f, enum part_state state, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	free(f->detail);
	f->detail = text;
	f->state = state;
	return state;
}

void finding_fix(struct finding *f, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	free(f->fix);
	f->fix = text;
}

const char *part_state_name(enum part_state state)
{
	static const char *const names[] = {
		[PART_OK] = "ok",	[PART_WAITING] = "waiting", [PART_FAILED] = "failed",
		[PART_OFF] = "off",	[PART_UNKNOWN] = "unknown", [PART_SILENT] = "silent",
	};

	return names[state];
}

struct missing {
	const struct settings *s;
	int id;
};

static int find_missing(const char *word, void *arg)
{
	struct missing *m = arg;
	int id = key_find(word);

	if (id < 0 || setting_is_set(m->s, (enum key_id)id))
		return 0;
	/* The registry's name comes from the domain. */
	m->id = id == KEY_REGISTRY ? KEY_DOMAIN : id;
	return 1;
}

int part_missing(const struct settings *s, const struct part *p)
{
	struct missing m = { s, -1 };

	if (p->settings)
		for_each_word(p->settings, find_missing, &m);
	return m.id < 0 && p->also ? p->also(s) : m.id;
}

static int needs_setting(const struct part_view *v, const struct part *p, struct finding *f)
{
	int id = part_missing(v->settings, p);

	if (id < 0)
		return 0;
	if (v->settings_hidden) {
		finding_set(f, PART_UNKNOWN, "its settings need root to be read");
		return 1;
	}
	finding_set(f, PART_WAITING, "for %s: sudo dstack-host config set %s=…",
		    keys[id].name, keys[id].name);
	finding_fix(f, "sudo dstack-host config set %s=…", keys[id].name);
	return 1;
}

static int has_bad_setting(const struct part_view *v, const struct part *p, struct finding *f)
{
	const struct diag *d = &v->settings->diag;

	if (!(v->settings->bad & p->readers))
		return 0;
	for (size_t i = 0; i < d->n; i++) {
		int id = d->items[i].key ? key_find(d->items[i].key) : -1;

		if (id < 0 || !(keys[id].readers & p->readers))
			continue;
		finding_set(f, PART_FAILED, "%s: %s", keys[id].name, d->items[i].text);
		finding_fix(f, "sudo dstack-host config set %s=…", keys[id].name);
		return 1;
	}
	finding_set(f, PART_FAILED, "host.conf has a line that cannot be read");
	finding_fix(f, "sudo dstack-host config validate");
	return 1;
}

static const struct unit_state *unit_of(const struct part_view *v, size_t i)
{
	return parts[i].unit && v->units_error == 0 && v->unit[i].load ? &v->unit[i] : NULL;
}

static int is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static void journal_fix(struct finding *f, const char *unit)
{
	finding_fix(f, "sudo journalctl -b -e -u %s", unit);
}

/* Is the target still being reached, so that every part may have its turn to come? */
static int target_on_its_way(const struct part_view *v)
{
	return v->target.job || (v->target.active && is(v->target.active, "activating"));
}

static void inactive(const struct part_view *v, size_t i, const struct unit_state *u,
		     struct finding *f)
{
	const char *unit = parts[i].unit, *path;

	if (v->drained) {
		finding_set(f, PART_WAITING, "for the host to be started again: it is drained");
		finding_fix(f, DRAINED_END);
	} else if (u->job || target_on_its_way(v)) {
		finding_set(f, PART_WAITING, "for its turn to start");
	} else if (u->condition) {
		path = strchr(u->condition, '=') + 1;
		finding_set(f, PART_WAITING, "for %s",
			    strncmp(u->condition, "ConditionPathExists=/", 21) == 0 ?
				    path :
				    u->condition);
		finding_fix(f, "systemctl status %s", unit);
	} else if (is(u->result, "exec-condition")) {
		finding_set(f, PART_WAITING, "for its settings");
		journal_fix(f, unit);
	} else {
		finding_set(f, PART_FAILED, "not running%s%s", parts[i].without ? ": " : "",
			    parts[i].without ? parts[i].without : "");
		finding_fix(f, "sudo systemctl start %s", unit);
	}
}

static void active_but_silent(const struct part_view *v, size_t i, const struct unit_state *u,
			      struct finding *f, const char *trouble)
{
	if (u->active_us && v->now_us >= u->active_us && v->now_us - u->active_us < GRACE_US) {
		finding_set(f, PART_WAITING, "for its first answer (%s)", trouble);
		return;
	}
	finding_set(f, PART_FAILED, "runs, but: %s", trouble);
	journal_fix(f, parts[i].unit);
}

static void explain_by_unit(const struct part_view *v, size_t i, const struct unit_state *u,
			    struct finding *f, const char *trouble)
{
	if (is(u->sub, "auto-restart")) {
		finding_set(f, PART_FAILED, "ends again and again (%s)", u->result);
		journal_fix(f, parts[i].unit);
	} else if (is(u->active, "activating") || is(u->active, "reloading") ||
		   is(u->active, "deactivating")) {
		/* "waiting for X" of the service's own words reads on as "for X". */
		const char *text = u->status;

		text += strncmp(text, "waiting for ", 12) == 0 ? 8 : 0;
		finding_set(f, PART_WAITING, *text ? "%s%s" : "for its start to end",
			    strncmp(text, "for ", 4) == 0 ? "" : "for its start: ", text);
	} else if (is(u->active, "failed")) {
		finding_set(f, PART_FAILED, "failed (%s)", u->result);
		journal_fix(f, parts[i].unit);
	} else if (is(u->active, "active")) {
		active_but_silent(v, i, u, f, trouble);
	} else {
		inactive(v, i, u, f);
	}
}

static int not_installed(size_t i, const struct unit_state *u, struct finding *f)
{
	const struct part *p = &parts[i];

	if (is(u->load, "masked")) {
		finding_set(f, PART_OFF, "%s is masked", p->unit);
		return 1;
	}
	if (!is(u->load, "not-found"))
		return 0;
	if (p->package) {
		finding_set(f, PART_WAITING, "for the package %s", p->package);
		finding_fix(f, "sudo apt install %s", p->package);
	} else {
		finding_set(f, PART_FAILED, "%s is not installed", p->unit);
		finding_fix(f, "sudo apt install dstack-host");
	}
	return 1;
}

struct prerequisite {
	const struct finding *findings;
	const char *title;
};

static int find_unready(const char *word, void *arg)
{
	struct prerequisite *p = arg;
	int i = part_find(word);

	if (i < 0 || (p->findings[i].state != PART_WAITING &&
		      p->findings[i].state != PART_FAILED))
		return 0;
	p->title = parts[i].title;
	return 1;
}

static int waits_for_other(size_t i, const struct finding *findings, struct finding *f)
{
	struct prerequisite p = { findings, NULL };

	if (!parts[i].needs || !for_each_word(parts[i].needs, find_unready, &p))
		return 0;
	finding_set(f, PART_WAITING, "for %s", p.title);
	return 1;
}

/* No proper answer: why? The first cause in bring-up order is the one to name. */
static void explain(const struct part_view *v, size_t i, const struct finding *findings,
		    struct finding *f)
{
	_cleanup_free_ char *trouble = steal_ptr(f->detail);
	const struct unit_state *u = unit_of(v, i);
	const char *why = trouble ? trouble : "no answer";

	if (u && not_installed(i, u, f))
		return;
	if (waits_for_other(i, findings, f))
		return;
	if (u) {
		explain_by_unit(v, i, u, f, why);
		return;
	}
	finding_set(f, PART_FAILED, "%s", why);
	if (parts[i].unit && v->units_error != UNITS_ABSENT)
		journal_fix(f, parts[i].unit);
}

static enum part_state judge_by_unit(const struct part_view *v, size_t i, struct finding *f)
{
	const struct unit_state *u = unit_of(v, i);

	if (!root_is_host(v->root))
		return finding_set(f, PART_UNKNOWN, "not asked: another system (--root)");
	if (v->units_error == UNITS_ABSENT)
		return finding_set(f, PART_UNKNOWN, "systemd does not run here");
	if (!u)
		return finding_set(f, PART_UNKNOWN, "systemd cannot be asked: %s",
				   strerror(-v->units_error));
	if (is(u->active, "active"))
		return finding_set(f, PART_OK, "running");
	return f->state = PART_SILENT;
}

static int may_not_ask(const struct part_view *v, const struct part *p, struct finding *f)
{
	if (!p->probes)
		return 0;
	if (!root_is_host(v->root)) {
		finding_set(f, PART_UNKNOWN, "not asked: another system (--root)");
		return 1;
	}
	if (v->probes_error < 0) {
		finding_set(f, PART_UNKNOWN, "cannot ask: %s", strerror(-v->probes_error));
		return 1;
	}
	for (int id = 0; id < PROBE_COUNT; id++)
		if ((p->probes & PROBE(id)) && probe_denied(&v->probe[id])) {
			finding_set(f, PART_UNKNOWN, "needs root to be asked");
			return 1;
		}
	return 0;
}

void part_judge_alone(const struct part_view *v, size_t i, struct finding *f)
{
	const struct part *p = &parts[i];
	_cleanup_free_ char *off = p->off ? p->off(v) : NULL;

	*f = (struct finding){ 0 };
	if (off) {
		finding_set(f, PART_OFF, "%s", off);
		return;
	}
	if (needs_setting(v, p, f) || has_bad_setting(v, p, f) || may_not_ask(v, p, f))
		return;
	f->state = p->judge ? p->judge(v, f) : judge_by_unit(v, i, f);
}

static char *address_of(const struct part_view *v, const struct part *p)
{
	uint16_t port;

	if (p->address == KEY_COUNT || !setting_is_set(v->settings, p->address))
		return NULL;
	/* A bare port is one of the loopback address. */
	if (parse_port(setting(v->settings, p->address), &port) == NULL)
		return xasprintf("127.0.0.1:%u", port);
	return xstrdup(setting(v->settings, p->address));
}

void parts_judge(const struct part_view *v, struct finding *findings)
{
	for (size_t i = 0; i < n_parts; i++) {
		struct finding *f = &findings[i];
		const struct unit_state *u = unit_of(v, i);

		if (v->ahead && v->ahead[i]) {
			*f = *v->ahead[i];
			free(v->ahead[i]);
			v->ahead[i] = NULL;
		} else {
			part_judge_alone(v, i, f);
		}
		if (f->state == PART_SILENT)
			explain(v, i, findings, f);
		if (f->state != PART_OFF)
			f->address = address_of(v, &parts[i]);
		if (u)
			f->since_us = is(u->active, "active") ? u->active_us : u->since_us;
	}
}

struct closure {
	char *marks; /* n_parts */
	int more;
};

static int mark_need(const char *word, void *arg)
{
	struct closure *c = arg;
	int i = part_find(word);

	if (i >= 0 && !c->marks[i])
		c->marks[i] = c->more = 1;
	return 0;
}

/* All that it needs, the caller's array of n_parts. */
static char *needs_of(size_t i)
{
	struct closure c = { xcalloc(n_parts, 1), 1 };

	if (parts[i].needs)
		for_each_word(parts[i].needs, mark_need, &c);
	while (c.more) {
		c.more = 0;
		for (size_t k = 0; k < n_parts; k++)
			if (c.marks[k] && parts[k].needs)
				for_each_word(parts[k].needs, mark_need, &c);
	}
	return c.marks;
}

uint64_t part_needs_probes(size_t i)
{
	_cleanup_free_ char *needs = needs_of(i);
	uint64_t probes = 0;

	for (size_t k = 0; k < n_parts; k++)
		if (needs[k])
			probes |= parts[k].probes;
	return probes;
}

char *part_cause(const struct part_view *v, size_t i)
{
	_cleanup_free_ struct finding *findings = xcalloc(n_parts, sizeof(*findings));
	_cleanup_free_ char *needs = needs_of(i);
	const char *unit = parts[i].unit;
	char *cause = NULL;

	parts_judge(v, findings);
	for (size_t k = 0; !cause && k < n_parts; k++) {
		const struct finding *f = &findings[k];

		if (!needs[k] || (f->state != PART_WAITING && f->state != PART_FAILED) ||
		    (unit && parts[k].unit && is(unit, parts[k].unit)))
			continue;
		/* "for X" reads on as "waiting for X". */
		cause = xasprintf("%s: %s%s", parts[k].title,
				  strncmp(f->detail, "for ", 4) == 0 ? "waiting " : "", f->detail);
	}
	findings_free(findings, n_parts);
	return cause;
}

int parts_fine(const struct finding *findings)
{
	for (size_t i = 0; i < n_parts; i++)
		if (findings[i].state != PART_OK && findings[i].state != PART_OFF)
			return 0;
	return 1;
}

char *parts_next(const struct finding *findings, int privileged)
{
	int unknown = 0, busy = 0;

	for (size_t i = 0; i < n_parts; i++) {
		unknown |= findings[i].state == PART_UNKNOWN;
		busy |= findings[i].state == PART_WAITING;
	}
	/* Half of the truth is no ground for advice. */
	if (unknown && !privileged)
		return xstrdup("sudo dstack-host status");
	for (size_t i = 0; i < n_parts; i++)
		if (findings[i].fix)
			return xstrdup(findings[i].fix);
	return busy || unknown ? xstrdup("dstack-host status") : NULL;
}
