// SPDX-License-Identifier: Apache-2.0
/* Comparing documents: what counts as what, and references that are none. */
#include "test.h"

#include <jansson.h>

#include "base/alloc.h"
#include "host/report/diff.h"
#include "host/json.h"

static json_t *document(void)
{
	json_error_t e;
	json_t *doc = json_loads(
		"{\"schema\":\"dstack-host.report/1\",\"kind\":\"host\",\"taken\":\"now\","
		"\"system\":{\"cpus\":8,\"memory\":\"16G\",\"disk\":{\"size\":\"98G\","
		"\"used_percent\":12},\"kernel\":\"6.1\"},"
		"\"services\":[{\"unit\":\"a.service\",\"active\":true,\"notes\":\"x\"},"
		"{\"unit\":\"b.service\",\"active\":true}],"
		"\"ports\":[{\"protocol\":\"tcp\",\"from\":22,\"to\":22,\"address\":\"0.0.0.0\"},"
		"{\"protocol\":\"tcp\",\"from\":22,\"to\":22,\"address\":\"::\"}],"
		"\"groups\":[{\"name\":\"sgx\",\"gid\":995,\"members\":[\"qgsd\",\"other\"]}],"
		"\"configuration\":[{\"path\":\"/etc/dstack/vmm.toml\",\"values\":{\"cvm\":"
		"{\"cid_start\":1000,\"max_allocable_vcpu\":4}},\"text\":\"# one\"},"
		"{\"path\":\"/x\",\"text\":\"plain\"}],"
		"\"network\":{\"domain\":\"a.example\",\"names\":[\"kms.a.example\"]},"
		"\"checks\":[{\"id\":\"vmm\",\"status\":\"ok\",\"outcome\":\"ok\",\"ms\":3,"
		"\"found\":\"3 s\"}]}",
		0, &e);

	assert_non_null(doc);
	return doc;
}

/* Of `own` with a file of this text. 0, or 1 with *trouble. */
static int against(const struct fixture *f, const json_t *own, const char *text, size_t len,
		   struct diff *d, char **trouble)
{
	_cleanup_close_ int fd = -1;
	int r;

	put(f, "/reference.json", text, len);
	fd = root_openat(&f->root, "/reference.json", O_RDONLY, 0);
	assert_true(fd >= 0);
	r = diff_with_file(own, fd, d, trouble);
	assert_true(r >= 0);
	return r;
}

static void against_json(const struct fixture *f, const json_t *own, const json_t *other,
			 struct diff *d)
{
	_cleanup_free_ char *text = json_dumps(other, 0), *trouble = NULL;

	if (against(f, own, text, strlen(text), d, &trouble))
		fail_msg("%s", trouble);
}

static void a_document_does_not_differ_from_itself(void **state)
{
	const struct fixture *f = *state;
	_cleanup_(diff_free) struct diff d = { 0 };
	json_t *own = document();

	against_json(f, own, own, &d);
	assert_int_equal(d.n, 0);
	assert_false(diff_matters(&d));
	assert_string_equal(d.kind, "host");
	json_decref(own);
}

struct change {
	const char *set;   /* JSON pointer-like: keys and indexes by blanks */
	const char *value; /* JSON; NULL: taken away */
	const char *path;  /* of the difference; NULL: none */
	enum diff_class class;
};

/* Of the reference; ours stays. */
static const struct change changes[] = {
	{ "taken", "\"then\"", NULL, 0 },
	{ "system cpus", "128", "system.cpus", DIFF_SIZE },
	{ "system memory", "\"1.0T\"", "system.memory", DIFF_SIZE },
	{ "system disk used_percent", "99", NULL, 0 },
	{ "system kernel", "\"6.8\"", "system.kernel", DIFF_MATTERS },
	{ "services 0 active", "false", "services.a.service.active", DIFF_MATTERS },
	{ "services 0 notes", "\"y\"", NULL, 0 },
	{ "services 1", NULL, "services.b.service", DIFF_MATTERS },
	{ "ports 1 address", "\"::1\"", "ports.tcp/22#2.address", DIFF_MATTERS },
	{ "groups 0 gid", "1001", NULL, 0 },
	{ "groups 0 members", "[\"other\"]", "groups.sgx.members.qgsd", DIFF_MATTERS },
	{ "groups 0 members", "[\"other\",\"qgsd\"]", NULL, 0 },
	{ "configuration 0 text", "\"# two\"", NULL, 0 }, /* the values are the same */
	{ "configuration 1 text", "\"other\"", "configuration./x.text", DIFF_MATTERS },
	{ "configuration 0 values cvm cid_start", "2000",
	  "configuration./etc/dstack/vmm.toml.values.cvm.cid_start", DIFF_MATTERS },
	{ "configuration 0 values cvm max_allocable_vcpu", "124",
	  "configuration./etc/dstack/vmm.toml.values.cvm.max_allocable_vcpu", DIFF_SIZE },
	{ "configuration 0 values", "null", "configuration./etc/dstack/vmm.toml.values",
	  DIFF_MATTERS },
	{ "network domain", "\"b.example\"", "network.domain", DIFF_IDENTITY },
	{ "network names", "[\"kms.a.example\",\"x\"]", "network.names.x", DIFF_IDENTITY },
	{ "checks 0 ms", "4000", NULL, 0 },
	{ "checks 0 found", "\"4 s\"", NULL, 0 },
	{ "checks 0 outcome", "\"silent\"", "checks.vmm.outcome", DIFF_MATTERS },
	{ "checks", "[]", "checks.vmm", DIFF_MATTERS },
	{ "checks", "{\"vmm\":1}", "checks", DIFF_MATTERS },
};

static void apply(json_t *doc, const struct change *c)
{
	_cleanup_free_ char *path = xstrdup(c->set);
	char *last = strrchr(path, ' ');
	json_t *at = doc, *value = c->value ? json_loads(c->value, JSON_DECODE_ANY, NULL) : NULL;

	if (last)
		*last++ = '\0';
	for (char *word = path; last && word;) {
		char *next = strchr(word, ' ');

		if (next)
			*next++ = '\0';
		at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(word, NULL, 10)) :
					 json_object_get(at, word);
		assert_non_null(at);
		word = next;
	}
	last = last ? last : path;
	if (json_is_array(at) && !value)
		assert_int_equal(json_array_remove(at, (size_t)strtoul(last, NULL, 10)), 0);
	else
		assert_int_equal(json_object_set_new(at, last, value), 0);
}

static void each_change_is_told_as_what_it_is(void **state)
{
	const struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		_cleanup_(diff_free) struct diff d = { 0 };
		json_t *own = document(), *other = document();

		apply(other, &changes[i]);
		against_json(f, own, other, &d);
		if (d.n != (changes[i].path ? 1 : 0))
			fail_msg("%s: %zu differences", changes[i].set, d.n);
		if (d.n) {
			assert_string_equal(d.items[0].path, changes[i].path);
			assert_int_equal(d.items[0].class, changes[i].class);
			assert_int_equal(diff_matters(&d), changes[i].class == DIFF_MATTERS);
		}
		json_decref(own);
		json_decref(other);
	}
}

static const struct difference *find(const struct diff *d, const char *path)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->items[i].path, path) == 0)
			return &d->items[i];
	return NULL;
}

/* What it says of itself to be wrong is no reason to become like it. */
static void the_reference_host_is_test_data(void **state)
{
	const struct fixture *f = *state;
	_cleanup_(diff_free) struct diff d = { 0 };
	json_t *own = document(), *other = json_load_file("tests/data/reference-host.json", 0, NULL);
	const struct difference *x;

	assert_non_null(other);
	json_object_set_new(own, "registry", json_pack("{s:s}", "listen", "127.0.0.1:443"));
	against_json(f, own, other, &d);
	assert_string_equal(d.kind, "reference");
	x = must(find(&d, "registry.listen"));
	assert_int_equal(x->class, DIFF_FAULT);
	assert_string_equal(x->here, "127.0.0.1:443");
	assert_string_equal(x->there, "0.0.0.0:443");
	assert_non_null(strstr(x->why, "fault 3"));
	assert_non_null(strstr(x->why, "push from the host only"));
	x = must(find(&d, "configuration./etc/dstack/vmm.toml.values.workers"));
	assert_int_equal(x->class, DIFF_FAULT);
	assert_non_null(strstr(x->why, "fault 6"));
	assert_int_equal(must(find(&d, "system.cpus"))->class, DIFF_SIZE);
	assert_int_equal(must(find(&d, "network.domain"))->class, DIFF_IDENTITY);
	/* A service that stands still is no matter of the reference's faults. */
	assert_int_equal(must(find(&d, "services.qgsd.service"))->class, DIFF_MATTERS);
	/* What it does not tell is no difference. */
	assert_null(find(&d, "services.a.service"));
	json_decref(own);
	json_decref(other);
}

static void both_prints(void **state)
{
	const struct fixture *f = *state;
	_cleanup_(diff_free) struct diff d = { 0 };
	_cleanup_strbuf_ struct strbuf text = { 0 }, json = { 0 };
	json_t *own = document(), *other = document(), *back;
	const struct change down = { "services 0 active", "false", NULL, 0 };

	apply(other, &down);
	against_json(f, own, other, &d);
	diff_text(&d, &text);
	assert_non_null(strstr(text.data, "These matter (1)\n  services.a.service.active: true here, "
					  "false there\n"));
	assert_non_null(strstr(text.data, "1 difference matters, 0 expected"));
	diff_json(&d, &json);
	back = json_loads(json.data, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(back, "schema")),
			    "dstack-host.diff/1");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(back, "summary"),
							    "matters")), 1);
	json_decref(back);
	json_decref(own);
	json_decref(other);
}

static void refused(const struct fixture *f, const char *text, size_t len)
{
	_cleanup_(diff_free) struct diff d = { 0 };
	_cleanup_free_ char *trouble = NULL;
	json_t *own = document();

	assert_int_equal(against(f, own, text, len, &d, &trouble), 1);
	assert_non_null(trouble);
	assert_int_equal(d.n, 0);
	json_decref(own);
}

static void what_is_no_report_is_refused(void **state)
{
	static const char *const texts[] = {
		"", "null", "[]", "{", "\xff\xfe", "{\"schema\":\"other/1\"}", "{\"schema\":1}",
		"{\"schema\":\"dstack-host.report/1\"} x",
	};
	const struct fixture *f = *state;
	_cleanup_strbuf_ struct strbuf deep = { 0 }, wide = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		refused(f, texts[i], strlen(texts[i]));
	for (int i = 0; i < 100000; i++)
		sb_addc(&deep, '[');
	refused(f, deep.data, deep.len);
	sb_add(&wide, "{\"schema\":\"dstack-host.report/1\",\"checks\":[0");
	for (int i = 0; i < 300000; i++)
		sb_add(&wide, ",0");
	sb_add(&wide, "]}");
	refused(f, wide.data, wide.len);
}

/* Strange, and a report all the same: it differs, and nothing worse happens. */
static void strange_reports_are_survived(void **state)
{
	const struct fixture *f = *state;
	json_t *own = document();
	_cleanup_strbuf_ struct strbuf deep = { 0 }, many = { 0 };
	const char *const texts[] = {
		"{\"schema\":\"dstack-host.report/1\",\"services\":7,\"system\":[],\"faults\":{},"
		"\"ports\":[null,{},[1],{\"from\":{}}],\"configuration\":[{\"key_faults\":{\"\":1,"
		"\"a\":null},\"path\":null,\"values\":[]}],\"checks\":[{\"id\":7}]}",
		"{\"schema\":\"dstack-host.report/1\",\"kind\":7,\"taken\":{},"
		"\"a\\u001b[31m\":\"\\u0000\\n\"}",
		NULL, NULL,
	};
	const char *all[ARRAY_SIZE(texts)];

	memcpy(all, texts, sizeof(all));
	sb_add(&deep, "{\"schema\":\"dstack-host.report/1\",\"system\":");
	for (int i = 0; i < 2000; i++)
		sb_add(&deep, "{\"disk\":");
	sb_add(&deep, "1");
	for (int i = 0; i < 2000; i++)
		sb_addc(&deep, '}');
	sb_addc(&deep, '}');
	sb_add(&many, "{\"schema\":\"dstack-host.report/1\",\"packages\":[0");
	for (int i = 0; i < 3500; i++)
		sb_addf(&many, ",{\"name\":\"p%d\"}", i % 50);
	sb_add(&many, "]}");
	all[2] = deep.data;
	all[3] = many.data;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		_cleanup_(diff_free) struct diff d = { 0 };
		_cleanup_free_ char *trouble = NULL;
		_cleanup_strbuf_ struct strbuf out = { 0 };

		if (against(f, own, all[i], strlen(all[i]), &d, &trouble))
			continue;
		assert_true(diff_matters(&d));
		diff_text(&d, &out);
		assert_null(strchr(out.data, '\033'));
	}
	json_decref(own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(a_document_does_not_differ_from_itself),
		with_root(each_change_is_told_as_what_it_is),
		with_root(the_reference_host_is_test_data),
		with_root(both_prints),
		with_root(what_is_no_report_is_refused),
		with_root(strange_reports_are_survived),
	};

	json_set_alloc_funcs(xmalloc, free);
	return cmocka_run_group_tests_name("diff", tests, NULL, NULL);
}
