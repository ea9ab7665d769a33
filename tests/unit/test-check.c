// SPDX-License-Identifier: Apache-2.0
/* The table of checks as a whole, and what one failure does to the checks behind it. */
#include "check-cases.h"

#include <errno.h>

#include "base/parse.h"

static int is_known(const char *id, void *arg)
{
	if (check_find(id) < 0)
		fail_msg("%s needs %s, which is no check", (const char *)arg, id);
	return 0;
}

static void ids_are_unique_and_needs_exist(void **state _unused_)
{
	for (size_t i = 0; i < checks_count(); i++) {
		const struct check *c = check_at(i);
		char id[64];

		snprintf(id, sizeof(id), "%s", c->id);
		assert_int_equal(check_find(c->id), i);
		for_each_word(check_needs(c), is_known, id);
		assert_true(strlen(c->id) < 28);
		assert_false((c->flags & CHECK_AHEAD) && (c->probes || !c->eval));
		/* Whoever has no eval is a part, and the other way round. */
		if (!c->eval)
			assert_non_null(check_part(c));
		else
			assert_true(c->title && c->outcomes);
	}
}

static void every_part_is_checked(void **state _unused_)
{
	for (size_t i = 0; i < n_parts; i++)
		if (check_find(parts[i].id) < 0)
			fail_msg("no check for the part %s", parts[i].id);
}

static int reaches(const char *id, void *arg)
{
	const char *from = arg;

	if (strcmp(id, from) == 0)
		fail_msg("%s needs itself", from);
	return for_each_word(check_needs(check_at((size_t)check_find(id))), reaches, arg);
}

static void needs_go_no_circles(void **state _unused_)
{
	for (size_t i = 0; i < checks_count(); i++) {
		char id[64];

		snprintf(id, sizeof(id), "%s", check_at(i)->id);
		for_each_word(check_needs(check_at(i)), reaches, id);
	}
}

static void every_failure_has_words(void **state _unused_)
{
	for (size_t i = 0; i < checks_count(); i++)
		for (const struct outcome *o = check_at(i)->outcomes; o && o->name; o++)
			if (o->status != CHECK_OK && !o->cause)
				fail_msg("%s %s has no cause", check_at(i)->id, o->name);
}

static void break_docker(struct host *h, struct check_view *v _unused_,
			 const struct fixture *f _unused_)
{
	refuse(h, PROBE_DOCKER, -ECONNREFUSED);
	refuse(h, PROBE_CONTAINERS, -ECONNREFUSED);
	answer(h, PROBE_KEY_PROVIDER, 0);
	h->view.probe[PROBE_KEY_PROVIDER].answer.error = PEER_UNREACHABLE;
	set_unit(h, "docker", "failed", "failed");
}

static void one_cause_is_one_failure(void **state)
{
	static const struct check_case broken = { "docker", "failed", break_docker };
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));
	const struct verdict *r;

	judge_all(&broken, *state, verdicts);
	r = &verdicts[check_find("docker")];
	assert_string_equal(r->outcome->name, "failed");
	assert_non_null(r->fix);
	r = &verdicts[check_find("key-provider")];
	assert_string_equal(r->outcome->name, "needs");
	assert_string_equal(r->cause, "says nothing before docker is mended");
	r = &verdicts[check_find("aesmd")];
	assert_int_equal(r->outcome->status, CHECK_SKIP);
	verdicts_free(verdicts, checks_count());
}

static void misset(struct host *h, struct check_view *v _unused_, const struct fixture *f)
{
	put_text(f, "/etc/dstack/host.conf", FULL_CONF "PCCS_PORT=70000\n");
	settings_free(&h->settings);
	assert_int_equal(settings_load(&h->root, &h->settings), 0);
}

static void a_wrong_setting_is_one_failure(void **state)
{
	static const struct check_case broken = { "settings", "failed", misset };
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));

	judge_all(&broken, *state, verdicts);
	for (size_t i = 0; i < checks_count(); i++)
		if (verdicts[i].outcome->status == CHECK_FAIL)
			assert_string_equal(check_at(i)->id, "settings");
	assert_string_equal(verdicts[check_find("pccs")].cause,
			    "says nothing before settings is mended");
	verdicts_free(verdicts, checks_count());
}

static void clock_adrift(struct host *h _unused_, struct check_view *v,
			 const struct fixture *f _unused_)
{
	v->machine.clock = 0;
}

static void what_is_not_true_is_not_said(void **state)
{
	static const struct check_case broken = { "platform.clock", "adrift", clock_adrift };
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));
	_cleanup_free_ char *wanted = xcalloc(checks_count(), 1);
	_cleanup_strbuf_ struct strbuf out = { 0 };

	judge_all(&broken, *state, verdicts);
	assert_int_equal(checks_select(broken.id, wanted), 1);
	check_text(verdicts, wanted, 0, &out);
	assert_non_null(strstr(out.data, "not synchronised"));
	assert_null(strstr(out.data, check_title(check_at((size_t)check_find(broken.id)))));
	verdicts_free(verdicts, checks_count());
}

static void probes_of_a_selection_include_what_is_needed(void **state _unused_)
{
	_cleanup_free_ char *wanted = xcalloc(checks_count(), 1);

	assert_int_equal(checks_select("no-such-check", wanted), 0);
	assert_int_equal(checks_select("key-provider", wanted), group_key_provider.n);
	memset(wanted, 0, checks_count());
	wanted[check_find("key-provider")] = 1;
	assert_true(checks_probes(wanted) & PROBE(PROBE_KEY_PROVIDER));
	assert_true(checks_probes(wanted) & PROBE(PROBE_DOCKER));
	assert_false(checks_probes(wanted) & PROBE(PROBE_VMM));
}

static void another_system_is_not_asked(void **state)
{
	static const struct check_case none = { "docker", "unknown" };
	_cleanup_free_ char *all = xcalloc(checks_count(), 1);
	_cleanup_free_ struct verdict *verdicts = xcalloc(checks_count(), sizeof(*verdicts));
	const struct fixture *f = *state;
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_(check_view_free) struct check_view v = { 0 };

	memset(all, 1, checks_count());
	put_text(f, "/etc/dstack/host.conf", FULL_CONF);
	assert_int_equal(settings_load(&f->root, &s), 0);
	check_view_fill(&v, &f->root, &s, 0, all, ~UINT64_C(0), 1000);
	checks_run(&v, verdicts);
	assert_string_equal(verdicts[check_find(none.id)].outcome->name, none.outcome);
	verdicts_free(verdicts, checks_count());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_unique_and_needs_exist),
		cmocka_unit_test(every_part_is_checked),
		cmocka_unit_test(needs_go_no_circles),
		cmocka_unit_test(every_failure_has_words),
		with_root(one_cause_is_one_failure),
		with_root(a_wrong_setting_is_one_failure),
		with_root(what_is_not_true_is_not_said),
		cmocka_unit_test(probes_of_a_selection_include_what_is_needed),
		with_root(another_system_is_not_asked),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
