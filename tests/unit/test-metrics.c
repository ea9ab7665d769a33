// SPDX-License-Identifier: Apache-2.0
/* Metrics: the text, the state file and who may be believed, and when the slow ones are asked. */
#include "test-view.h"

#include <errno.h>
#include <sys/file.h>
#include <time.h>

#include "host/report/metrics.h"

static void labels_are_escaped(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };

	metrics_label(&out, "a\"b\\c\nd{e}");
	assert_string_equal(out.data, "\"a\\\"b\\\\c\\nd{e}\"");
}

static void add_fact_to(struct probe_result *p, const char *key, const char *value)
{
	struct peer_answer *a = &p->answer;

	a->facts = xrealloc(a->facts, (a->n_facts + 1) * sizeof(*a->facts));
	a->facts[a->n_facts++] = (struct peer_fact){ xstrdup(key), xstrdup(value) };
}

static void a_state_comes_back_as_it_was(void **state _unused_)
{
	_cleanup_(slow_state_free) struct slow_state s = { .tried_s = 5, .answered_s = 7 }, back;
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct probe_result *p = &s.probe[PROBE_KMS], *q;

	strcpy(s.settings, "abc");
	p->asked = 1;
	p->answer.status = 200;
	p->answer.ms = 1234;
	add_fact_to(p, "contract", "0x1 with blanks");
	add_fact_to(p, "contract", "");
	add_fact_to(p, "evil", "a\nprobe chain 0 0 200 1");
	s.probe[PROBE_CHAIN].asked = 1;
	s.probe[PROBE_CHAIN].error = -ECONNREFUSED;
	s.probe[PROBE_CHAIN].answer.error = PEER_TIMEOUT;
	s.probe[PROBE_CHAIN].answer.text = xstrdup("no answer");
	slow_state_print(&s, &out);
	assert_int_equal(slow_state_parse(out.data, &back), 0);
	assert_int_equal(back.tried_s, 5);
	assert_int_equal(back.answered_s, 7);
	assert_string_equal(back.settings, "abc");
	q = &back.probe[PROBE_KMS];
	assert_true(q->asked && q->answer.status == 200 && q->answer.ms == 1234);
	assert_int_equal(q->answer.n_facts, 3);
	assert_string_equal(q->answer.facts[0].value, "0x1 with blanks");
	assert_string_equal(q->answer.facts[1].value, "");
	assert_string_equal(q->answer.facts[2].value, "a?probe chain 0 0 200 1");
	q = &back.probe[PROBE_CHAIN];
	assert_int_equal(q->error, -ECONNREFUSED);
	assert_int_equal(q->answer.error, PEER_TIMEOUT);
	assert_string_equal(q->answer.text, "no answer");
	assert_false(back.probe[PROBE_PCS_KEY].asked);
	slow_state_free(&back);
}

#define HEAD "dstack-host.probes/1\ntried 1\nanswered 1\nsettings -\n"

static void a_state_that_is_none_is_refused(void **state _unused_)
{
	static const char *const texts[] = {
		"",
		"\n",
		HEAD,
		"dstack-host.probes/2\ntried 1\nanswered 1\nsettings -\nend\n",
		HEAD "end",
		HEAD "end\nend\n",
		HEAD "probe nobody 0 0 200 1\nend\n",
		HEAD "probe kms 0 0 200 1\nprobe kms 0 0 200 1\nend\n",
		HEAD "probe kms 0 99 200 1\nend\n",
		HEAD "probe kms 0 0 20000 1\nend\n",
		HEAD "probe kms 0 0 200\nend\n",
		HEAD "probe kms 0 0 200 1 1\nend\n",
		HEAD "fact a b\nend\n",
		HEAD "probe kms 0 0 200 1\nfact a\nend\n",
		HEAD "probe kms 0 0 200 1\ntext a\ntext b\nend\n",
		HEAD "probe kms 0 0 200 1\nfact a \033[31m\nend\n",
		"dstack-host.probes/1\ntried -1\nanswered 1\nsettings -\nend\n",
		("dstack-host.probes/1\ntried 1\nanswered 1\nsettings "
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nend\n"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct slow_state s;

		if (slow_state_parse(texts[i], &s) != -EBADMSG)
			fail_msg("taken: %s", texts[i]);
		assert_int_equal(s.tried_s, 0);
	}
}

static struct root host_of(const struct fixture *f)
{
	static char none[] = "";

	return (struct root){ .fd = f->root.fd, .path = none };
}

/* A host with a state of `age` seconds; 0: none. */
static void arrange(const struct fixture *f, const char *conf, unsigned age)
{
	struct slow_state s = { 0 };
	struct timespec ts;
	char path[128];
	int64_t unused;
	_cleanup_looked_ struct looked l = { 0 };
	const struct root root = host_of(f);

	put_text(f, "/etc/dstack/host.conf", conf);
	snprintf(path, sizeof(path), "%s/run", f->dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/run/dstack", f->dir);
	mkdir(path, 0755);
	if (!age)
		return;
	/* Its own look makes the digest of the settings. */
	assert_int_equal(metrics_look(&root, &l, &unused), 0);
	slow_state_load(&root, &s);
	assert_true(s.tried_s > 0);
	probes_free(s.probe);
	memset(s.probe, 0, sizeof(s.probe));
	clock_gettime(CLOCK_BOOTTIME, &ts);
	s.tried_s = (uint64_t)ts.tv_sec - age;
	s.answered_s = s.tried_s;
	s.probe[PROBE_KMS].asked = 1;
	s.probe[PROBE_KMS].answer.status = 200;
	s.probe[PROBE_KMS].answer.ms = 777;
	add_fact_to(&s.probe[PROBE_KMS], "contract", "kept");
	assert_int_equal(slow_state_save(&root, &s), 0);
	slow_state_free(&s);
}

static int is_kept(const struct looked *l)
{
	const char *contract = peer_get(&l->view.parts.probe[PROBE_KMS].answer, "contract");

	return contract && strcmp(contract, "kept") == 0;
}

#define CONF "DOMAIN=example.org\n"

static void recent_answers_are_judged_again(void **state)
{
	const struct fixture *f = *state;
	const struct root root = host_of(f);
	_cleanup_looked_ struct looked l = { 0 };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int64_t age;

	arrange(f, CONF, METRICS_SLOW_SECONDS - 60);
	assert_int_equal(metrics_look(&root, &l, &age), 0);
	assert_true(is_kept(&l));
	assert_in_range(age, METRICS_SLOW_SECONDS - 60, METRICS_SLOW_SECONDS - 50);
	/* What is old in it is not taken for the endpoint's fault. */
	assert_in_range(l.view.parts.probe[PROBE_KMS].age_s, METRICS_SLOW_SECONDS - 60,
			METRICS_SLOW_SECONDS - 50);
	metrics_text(&l, age, &out);
	assert_non_null(strstr(out.data, "\ndstack_host_kms_latency_seconds 0.777\n"));
	assert_non_null(strstr(out.data, "\ndstack_host_slow_probes_age_seconds 24"));
}

static void old_answers_are_asked_for(void **state)
{
	const struct fixture *f = *state;
	const struct root root = host_of(f);
	_cleanup_looked_ struct looked l = { 0 };
	int64_t age;

	arrange(f, CONF, METRICS_SLOW_SECONDS + 1);
	assert_int_equal(metrics_look(&root, &l, &age), 0);
	assert_false(is_kept(&l));
	assert_in_range(age, 0, 10);
}

static void nobody_asks_while_another_does(void **state)
{
	const struct fixture *f = *state;
	const struct root root = host_of(f);
	_cleanup_looked_ struct looked l = { 0 };
	_cleanup_close_ int fd = -1;
	int64_t age;

	arrange(f, CONF, METRICS_SLOW_SECONDS + 100);
	fd = root_openat(&f->root, METRICS_LOCK, O_RDWR, 0);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(metrics_look(&root, &l, &age), 0);
	assert_true(is_kept(&l));
	assert_in_range(age, METRICS_SLOW_SECONDS + 100, METRICS_SLOW_SECONDS + 120);
}

static void a_run_that_was_killed_counts(void **state)
{
	const struct fixture *f = *state;
	const struct root root = host_of(f);
	_cleanup_looked_ struct looked l = { 0 };
	struct slow_state s;
	int64_t age;

	arrange(f, CONF, METRICS_SLOW_SECONDS + 100);
	slow_state_load(&root, &s);
	s.tried_s += METRICS_SLOW_SECONDS; /* the answers stay old */
	assert_int_equal(slow_state_save(&root, &s), 0);
	slow_state_free(&s);
	assert_int_equal(metrics_look(&root, &l, &age), 0);
	assert_true(is_kept(&l));
	assert_in_range(age, METRICS_SLOW_SECONDS + 100, METRICS_SLOW_SECONDS + 120);
}

static void other_settings_are_other_questions(void **state)
{
	const struct fixture *f = *state;
	const struct root root = host_of(f);
	_cleanup_looked_ struct looked l = { 0 };
	int64_t age;

	arrange(f, CONF, 10);
	put_text(f, "/etc/dstack/host.conf", CONF "KMS_PORT=9104\n");
	assert_int_equal(metrics_look(&root, &l, &age), 0);
	assert_false(is_kept(&l));
	assert_in_range(age, 0, 5);
}

static void only_our_own_state_is_believed(void **state)
{
	const struct fixture *f = *state;
	const struct root root = host_of(f);
	struct slow_state s;
	char path[128], other[128];

	arrange(f, CONF, 10);
	snprintf(path, sizeof(path), "%s%s", f->dir, METRICS_STATE);
	slow_state_load(&root, &s);
	assert_true(s.probe[PROBE_KMS].asked);
	slow_state_free(&s);
	assert_int_equal(chmod(path, 0644), 0);
	slow_state_load(&root, &s);
	assert_false(s.probe[PROBE_KMS].asked);
	assert_int_equal(chmod(path, 0600), 0);
	snprintf(other, sizeof(other), "%s/elsewhere", f->dir);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink("/elsewhere", path), 0);
	slow_state_load(&root, &s);
	assert_false(s.probe[PROBE_KMS].asked);
	slow_state_free(&s);
}

static void the_text_has_a_sample_for_each_check(void **state)
{
	const struct fixture *f = *state;
	const struct root root = host_of(f);
	_cleanup_looked_ struct looked l = { 0 };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	int64_t age;
	size_t n = 0;

	arrange(f, CONF, 0);
	assert_int_equal(metrics_look(&root, &l, &age), 0);
	metrics_text(&l, age, &out);
	for (const char *p = out.data; (p = strstr(p, "\ndstack_host_check_status{")); p++)
		n++;
	assert_int_equal(n, checks_count());
	assert_string_equal(out.data + out.len - 6, "# EOF\n");
	assert_null(strstr(out.data, "\n\n"));
}

/* What is not known has no sample: a zero would be taken for one. */
static void only_what_is_known_has_a_sample(void **state)
{
	const struct fixture *f = *state;
	const struct root root = host_of(f);
	_cleanup_looked_ struct looked l = { 0 };
	struct probe_result *kms, *registry;
	int64_t age;

	arrange(f, CONF, 0);
	assert_int_equal(metrics_look(&root, &l, &age), 0);
	kms = &l.view.parts.probe[PROBE_KMS];
	registry = &l.view.parts.probe[PROBE_REGISTRY_WRITE];
	l.view.machine.tree[0].error = -EIO;
	l.view.machine.tree[1].error = 0;
	l.view.machine.tree[1].total = 0;
	l.view.machine.tree[2].error = 0;
	l.view.machine.tree[2].total = 4096;
	l.view.parts.now_us = 86400000000;
	for (int round = 0; round < 6; round++) {
		_cleanup_strbuf_ struct strbuf out = { 0 };

		kms->asked = round > 0;
		kms->error = round == 1 ? -EIO : 0;
		kms->answer.error = round == 2 ? PEER_PROTOCOL : PEER_OK;
		kms->answer.status = round == 3 ? 503 : 200;
		kms->answer.ms = 1777;
		if (round == 1) /* a handshake, but no certificate that says when it ends */
			add_fact_to(registry, "cert.host", "ok");
		if (round == 4)
			add_fact_to(registry, "cert.until", "259200");
		if (round == 5)
			put_text(f, "/var/lib/dpkg/status",
				 "Package: a\nStatus: hold ok installed\nVersion: 1\n\n");
		metrics_text(&l, round == 5 ? 7 : -1, &out);
		assert_int_equal(strstr(out.data, "kms_latency_seconds 1.777\n") != NULL, round > 3);
		assert_int_equal(strstr(out.data, "{certificate=\"registry\"} 2\n") != NULL, round > 3);
		assert_int_equal(strstr(out.data, "slow_probes_age_seconds 7\n") != NULL, round == 5);
		assert_int_equal(strstr(out.data, "{certificate=") != NULL, round > 3);
		assert_int_equal(strstr(out.data, "\ndstack_host_slow_probes_age_seconds ") != NULL,
				 round == 5);
		assert_int_equal(strstr(out.data, "held_packages 1\n") != NULL, round == 5);
		assert_null(strstr(out.data, "{tree=\"images\"}"));
		assert_non_null(strstr(out.data, "\"} 4096\n"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_are_escaped),
		cmocka_unit_test(a_state_comes_back_as_it_was),
		cmocka_unit_test(a_state_that_is_none_is_refused),
		with_root(recent_answers_are_judged_again),
		with_root(old_answers_are_asked_for),
		with_root(nobody_asks_while_another_does),
		with_root(a_run_that_was_killed_counts),
		with_root(other_settings_are_other_questions),
		with_root(only_our_own_state_is_believed),
		with_root(the_text_has_a_sample_for_each_check),
		with_root(only_what_is_known_has_a_sample),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
