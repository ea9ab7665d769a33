// SPDX-License-Identifier: Apache-2.0
/*
 * A group's checks, each brought to each of its outcomes: on a host on which all is well, a
 * case breaks one thing and says how which check ends. A group's test fails while one of its
 * outcomes has no case.
 */
#pragma once

#include "test-view.h"

#include "host/check/check-files.h"
#include "host/check/check-print.h"

struct check_case {
	const char *id, *outcome;
	/* NULL: nothing is broken */
	void (*arrange)(struct host *h, struct check_view *v, const struct fixture *f);
};

/* As checks are judged while probes are on their way: nothing has answered, no part is judged. */
static inline void judge_ahead(struct check_view *v)
{
	struct check_view early;

	check_files_read(v);
	early = *v;
	memset(early.parts.probe, 0, sizeof(early.parts.probe));
	early.parts.now_us = 0;
	early.findings = NULL;
	checks_ahead(&early);
	v->ahead = early.ahead;
}

/* Judges the host after `arrange`; verdicts[checks_count()] is the caller's. */
static inline void judge_all(const struct check_case *c, const struct fixture *f,
			     struct verdict *verdicts)
{
	_cleanup_host_ struct host h;
	struct check_view v = { .live = 1, .privileged = 1 };

	host_make(&h, f, FULL_CONF);
	put_vmm(f);
	v.parts = h.view;
	v.findings = h.findings;
	machine_make(&v.machine);
	if (c->arrange)
		c->arrange(&h, &v, f);
	/* What was arranged in the host counts, its parts are judged after it. */
	h.view.root = &h.root;
	v.parts = h.view;
	findings_free(h.findings, n_parts);
	parts_judge(&v.parts, v.findings);
	judge_ahead(&v);
	checks_run(&v, verdicts);
	verdicts_free(v.ahead, checks_count());
	free(v.ahead);
	check_files_free(&v);
	machine_free(&v.machine);
	for (int i = 0; i < CHECK_JOURNAL_COUNT; i++)
		journal_tail_free(&v.journal[i]);
}

static inline void assert_case(const struct check_case *c, const struct fixture *f)
{
	size_t n = checks_count();
	_cleanup_free_ struct verdict *verdicts = xcalloc(n, sizeof(*verdicts));
	int i = check_find(c->id);
	const struct verdict *r;

	if (i < 0)
		fail_msg("no check %s", c->id);
	judge_all(c, f, verdicts);
	r = &verdicts[i];
	if (strcmp(r->outcome->name, c->outcome) != 0)
		fail_msg("%s ended as %s, not as %s (found: %s; cause: %s)", c->id,
			 r->outcome->name, c->outcome, r->found ? r->found : "nothing",
			 r->cause ? r->cause : "none");
	if (r->outcome->status != CHECK_OK && (!r->cause || strstr(r->cause, "%s")))
		fail_msg("%s %s: no cause to show: %s", c->id, c->outcome, r->cause);
	if (r->fix && (strstr(r->fix, "%s") || strstr(r->fix, "?")))
		fail_msg("%s %s: no fix to type: %s", c->id, c->outcome, r->fix);
	verdicts_free(verdicts, n);
}

static inline int has_case(const struct check_case *cases, size_t n, const char *id,
			   const char *outcome)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(cases[i].id, id) == 0 && strcmp(cases[i].outcome, outcome) == 0)
			return 1;
	return 0;
}

/* Counts the outcomes of the group's own checks (those of parts are test-parts.c's). */
static inline void assert_all_covered(const struct check_group *group,
				      const struct check_case *cases, size_t n)
{
	unsigned missing = 0, total = 0;

	for (size_t i = 0; i < group->n; i++)
		for (const struct outcome *o = group->checks[i].outcomes; o && o->name; o++) {
			total++;
			if (has_case(cases, n, group->checks[i].id, o->name))
				continue;
			print_error("no case for %s %s\n", group->checks[i].id, o->name);
			missing++;
		}
	if (missing)
		fail_msg("%u of %u outcomes of %s have no case", missing, total, group->name);
}

/* Tests of a group's own; whoever has some defines it again. */
#define CHECK_CASES_MORE

#define CHECK_CASES_MAIN(group, cases)                                                   \
	static void each_case(void **state)                                              \
	{                                                                                \
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {                         \
			void *own = NULL;                                                \
                                                                                         \
			(void)state;                                                     \
			assert_int_equal(fixture_setup(&own), 0);                        \
			assert_case(&(cases)[i], own);                                   \
			fixture_teardown(&own);                                          \
		}                                                                        \
	}                                                                                \
	static void every_outcome_has_a_case(void **state _unused_)                      \
	{                                                                                \
		assert_all_covered(&(group), cases, ARRAY_SIZE(cases));                  \
	}                                                                                \
	int main(void)                                                                   \
	{                                                                                \
		const struct CMUnitTest tests[] = {                                      \
			cmocka_unit_test(each_case),                                     \
			cmocka_unit_test(every_outcome_has_a_case), CHECK_CASES_MORE     \
		};                                                                       \
                                                                                         \
		return cmocka_run_group_tests_name(#group, tests, NULL, NULL);           \
	}
