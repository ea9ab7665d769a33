// SPDX-License-Identifier: Apache-2.0
/* Running the tables: what comes first, what is left out and why, and the words of a verdict. */
#include "host/check/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/check/key-provider-gate.h"

static const struct outcome common[] = {
	{ SKIP_OFF, CHECK_SKIP, "switched off: %s" },
	{ SKIP_UNSET, CHECK_SKIP, "%s is not set" },
	{ SKIP_PRIVILEGE, CHECK_SKIP, "needs root to be looked at" },
	{ SKIP_SIMULATED, CHECK_SKIP, "simulated" },
	{ SKIP_OTHER_SYSTEM, CHECK_SKIP, "only a running system can be asked" },
	{ SKIP_UNKNOWN, CHECK_SKIP, "could not be looked at: %s" },
	{ SKIP_NEEDS, CHECK_SKIP, "says nothing before %s is mended" },
	{ 0 },
};

/* Of the checks that stand for a part. Their words are the part's own. */
static const struct outcome of_part[] = {
	{ "ok", CHECK_OK },
	{ "waiting", CHECK_FAIL, "waiting" },
	{ "failed", CHECK_FAIL, "failed" },
	{ 0 },
};

static void set(char **text, const char *fmt, va_list ap) _printf_(2, 0);

static void set(char **text, const char *fmt, va_list ap)
{
	free(*text);
	*text = xvasprintf(fmt, ap);
}

#define SETTER(field)                                                                    \
	void verdict_##field(struct verdict *r, const char *fmt, ...)                    \
	{                                                                                \
		va_list ap;                                                              \
                                                                                         \
		va_start(ap, fmt);                                                       \
		set(&r->field, fmt, ap);                                                 \
		va_end(ap);                                                              \
	}

SETTER(found)
SETTER(expected)
SETTER(subject)
SETTER(cause)
SETTER(fix)

const char *check_no_answer(const struct check_view *v, enum probe_id id, struct verdict *r)
{
	_cleanup_free_ char *trouble = NULL;

	if (probe_answered(&v->parts.probe[id], 0, &trouble))
		return NULL;
	verdict_subject(r, "%s", trouble);
	return SKIP_UNKNOWN;
}

const char *check_status_name(enum check_status status)
{
	static const char *const names[] = { "ok", "warn", "fail", "skip" };

	return names[status];
}

static const struct outcome *find_outcome(const struct outcome *table, const char *name)
{
	for (; table && table->name; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

/* "%s" of a table's text; nothing else is taken for a format. */
static char *fill_in(const char *text, const char *subject)
{
	const char *gap = strstr(text, "%s");

	if (!gap)
		return xstrdup(text);
	return xasprintf("%.*s%s%s", (int)(gap - text), text, subject ? subject : "?", gap + 2);
}

static void end(struct verdict *r, const char *name)
{
	const struct check *c = r->check;
	const struct outcome *o = find_outcome(c->eval ? c->outcomes : of_part, name);

	if (!o)
		o = find_outcome(common, name);
	if (!o)
		abort(); /* a row that does not list its outcome: every unit test would see it */
	r->outcome = o;
	if (o->cause && !r->cause)
		r->cause = fill_in(o->cause, r->subject);
	if (o->fix && !r->fix)
		r->fix = fill_in(o->fix, r->subject);
}

const char *check_as_part(const struct check_view *v, const char *part, struct verdict *r)
{
	const struct finding *f = &v->findings[part_find(part)];

	if (f->fix)
		verdict_fix(r, "%s", f->fix);
	switch (f->state) {
	case PART_OK:
		verdict_found(r, f->address ? "%s, %s" : "%s", f->detail, f->address);
		return "ok";
	case PART_OFF:
		verdict_subject(r, "%s", f->detail);
		return SKIP_OFF;
	case PART_UNKNOWN:
		verdict_subject(r, "%s", f->detail);
		return SKIP_UNKNOWN;
	case PART_WAITING:
		verdict_found(r, "waiting %s", f->detail);
		verdict_cause(r, "waiting %s", f->detail);
		return "waiting";
	case PART_FAILED:
	case PART_SILENT:
		break;
	}
	verdict_found(r, "%s", f->detail ? f->detail : "no answer");
	verdict_cause(r, "%s", f->detail ? f->detail : "no answer");
	return "failed";
}

struct run {
	const struct check_view *view;
	struct verdict *verdicts;
};

static void evaluate(struct run *run, size_t i);

/* Does a verdict say that those which build upon it can say nothing? */
static int blocks(const struct verdict *r)
{
	return r->outcome->status == CHECK_FAIL || strcmp(r->outcome->name, SKIP_OFF) == 0 ||
	       strcmp(r->outcome->name, SKIP_UNSET) == 0 ||
	       strcmp(r->outcome->name, SKIP_NEEDS) == 0;
}

struct need {
	struct run *run;
	struct verdict *of;
	const char *outcome;
};

static int is_missing(const char *id, void *arg)
{
	struct need *need = arg;
	int i = check_find(id);
	const struct verdict *first;

	if (i < 0)
		return 0;
	evaluate(need->run, (size_t)i);
	first = &need->run->verdicts[i];
	if (!blocks(first))
		return 0;
	/* The root of it: a skipped one passes on for what it was skipped. */
	need->outcome = first->outcome->status == CHECK_FAIL ? SKIP_NEEDS : first->outcome->name;
	verdict_subject(need->of, "%s",
			first->outcome->status == CHECK_FAIL ? id : first->subject);
	return 1;
}

static int probes_asked(const struct check_view *v, uint64_t probes, struct verdict *r,
			const char **skip)
{
	int asked = !probes;

	for (int id = 0; id < PROBE_COUNT; id++) {
		const struct probe_result *p = &v->parts.probe[id];

		if (!(probes & PROBE(id)))
			continue;
		asked |= p->asked;
		if (p->asked && p->answer.ms > r->ms)
			r->ms = p->answer.ms;
		if (probe_denied(p))
			*skip = SKIP_PRIVILEGE;
	}
	return asked;
}

/* Does a part not start for a wrong setting? That is the finding of `settings` alone. */
static int has_bad_settings(const struct check_view *v, const struct check *c)
{
	int i = part_find(c->id);

	return i >= 0 && (v->parts.settings->bad & parts[i].readers);
}

/* Why the check cannot be made at all, or NULL. */
static const char *left_out(const struct check_view *v, const struct check *c,
			    struct verdict *r)
{
	const char *skip = NULL;

	if ((c->flags & CHECK_HARDWARE) && v->simulated)
		return SKIP_SIMULATED;
	if (!v->live && ((c->eval && c->probes) || (c->flags & CHECK_LIVE)))
		return SKIP_OTHER_SYSTEM;
	if ((c->flags & CHECK_ROOT) && v->live && !v->privileged)
		return SKIP_PRIVILEGE;
	if (!c->eval)
		return NULL;
	if (v->parts.probes_error && c->probes) {
		verdict_subject(r, "no network half: %s", strerror(-v->parts.probes_error));
		return SKIP_UNKNOWN;
	}
	if (!probes_asked(v, c->probes, r, &skip)) {
		verdict_subject(r, "there is nobody to ask");
		return SKIP_UNKNOWN;
	}
	return skip;
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

static int was_judged_ahead(const struct check_view *v, size_t i, struct verdict *r)
{
	const struct verdict *a = v->ahead ? &v->ahead[i] : NULL;

	if (!a || !a->outcome)
		return 0;
	*r = (struct verdict){
		.check = a->check,
		.outcome = a->outcome,
		.found = copy(a->found),
		.expected = copy(a->expected),
		.subject = copy(a->subject),
		.cause = copy(a->cause),
		.fix = copy(a->fix),
	};
	return 1;
}

void checks_ahead(struct check_view *v)
{
	struct verdict *ahead = xcalloc(checks_count(), sizeof(*ahead));

	for (size_t i = 0; i < checks_count(); i++) {
		const struct check *c = check_at(i);
		const char *skip;

		if (!(c->flags & CHECK_AHEAD))
			continue;
		ahead[i].check = c;
		skip = left_out(v, c, &ahead[i]);
		end(&ahead[i], skip ? skip : c->eval(v, &ahead[i]));
	}
	v->ahead = ahead;
}

static void evaluate(struct run *run, size_t i)
{
	struct verdict *r = &run->verdicts[i];
	struct need need = { run, r, NULL };
	const char *skip;

	if (r->outcome)
		return;
	r->check = check_at(i);
	for_each_word(check_needs(r->check), is_missing, &need);
	if (!need.outcome && has_bad_settings(run->view, r->check)) {
		verdict_subject(r, "settings");
		need.outcome = SKIP_NEEDS;
	}
	skip = need.outcome ? need.outcome : left_out(run->view, r->check, r);
	if (skip) {
		end(r, skip);
		return;
	}
	if (was_judged_ahead(run->view, i, r))
		return;
	if (r->check->eval) {
		end(r, r->check->eval(run->view, r));
	} else {
		probes_asked(run->view, check_part(r->check)->probes, r, &skip);
		end(r, check_as_part(run->view, r->check->id, r));
	}
	key_provider_gate(run->view, r);
}

void checks_run(const struct check_view *v, struct verdict *verdicts)
{
	struct run run = { v, verdicts };

	memset(verdicts, 0, checks_count() * sizeof(*verdicts));
	for (size_t i = 0; i < checks_count(); i++)
		evaluate(&run, i);
}

void verdicts_free(struct verdict *verdicts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct verdict *r = &verdicts[i];

		free(r->found);
		free(r->expected);
		free(r->subject);
		free(r->cause);
		free(r->fix);
		*r = (struct verdict){ 0 };
	}
}
