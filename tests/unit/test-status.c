// SPDX-License-Identifier: Apache-2.0
/* What people and programs get to read: 80 columns, JSON, listeners, problems, next. */
#include "test-view.h"

#include <jansson.h>

#include "base/utf8.h"
#include "host/conf/import.h"
#include "host/part/status.h"

/* Of a real /proc/net/tcp and tcp6. */
#define TCP_HEAD                                                                         \
	"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid" \
	"  timeout inode\n"
#define TCP                                                                              \
	TCP_HEAD "   0: 0100007F:2378 00000000:0000 0A 00000000:00000000 00:00000000 00000000" \
		 "     0        0 111 1 0000000000000000 100 0 0 10 0\n"                 \
		 "   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000" \
		 "     0        0 222 1 0000000000000000 100 0 0 10 0\n"                 \
		 "   2: 0A00000A:0050 0B00000A:1234 01 00000000:00000000 00:00000000 00000000" \
		 "     0        0 333 1 0000000000000000 100 0 0 10 0\n"                 \
		 "   3: 0A01A8C0:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000" \
		 "     0        0 444 1 0000000000000000 100 0 0 10 0\n"                 \
		 "garbage\n"
#define TCP6                                                                             \
	TCP_HEAD "   0: 00000000000000000000000001000000:1F90 "                          \
		 "00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 "\
		 "00000000     0        0 555 1 0000000000000000 100 0 0 10 0\n"         \
		 "   1: 00000000000000000000000000000000:0016 "                          \
		 "00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 "\
		 "00000000     0        0 666 1 0000000000000000 100 0 0 10 0\n"         \
		 "   2: 0000000000000000FFFF00000100007F:1F91 "                          \
		 "00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 "\
		 "00000000     0        0 777 1 0000000000000000 100 0 0 10 0\n"

static void loopback_is_not_public(void **state)
{
	struct fixture *f = *state;
	struct listeners list;
	char full[256];

	put_text(f, "/proc/net/tcp", TCP);
	put_text(f, "/proc/net/tcp6", TCP6);
	put_text(f, "/proc/77/comm", "ss\033hd\n");
	put_text(f, "/proc/77/fd/none", "");
	snprintf(full, sizeof(full), "%s/proc/77/fd/3", f->dir);
	assert_int_equal(symlink("socket:[222]", full), 0);
	assert_int_equal(listeners_public(&f->root, &list), 0);
	assert_int_equal(list.n, 3);
	assert_string_equal(list.items[0].address, "0.0.0.0");
	assert_int_equal(list.items[0].port, 22);
	assert_string_equal(list.items[0].process, "ss?hd");
	assert_string_equal(list.items[1].address, "::");
	assert_null(list.items[1].process);
	assert_string_equal(list.items[2].address, "192.168.1.10");
	assert_int_equal(list.items[2].port, 443);
	for (size_t i = 0; i < list.n; i++)
		assert_false(list.items[i].loopback);
	listeners_free(&list);
	assert_int_equal(listeners_all(&f->root, &list), 0);
	assert_true(list.n > 3);
	for (size_t i = 0; i < list.n; i++)
		assert_int_equal(list.items[i].loopback,
				 strcmp(list.items[i].address, "::1") == 0 ||
					 strstr(list.items[i].address, "127.0.0") != NULL);
	listeners_free(&list);
}

/* A status with every state, and details that do not fit a line. */
static void every_state(struct host *h, struct status *st)
{
	status_collect(&h->view, st);
	for (size_t i = 0; i < n_parts; i++) {
		findings_free(&st->findings[i], 1);
		finding_set(&st->findings[i], (enum part_state)(i % 5),
			    "for KMS_CONTRACT: sudo dstack-host config set KMS_CONTRACT=… and "
			    "then some more words that need a second and a third line");
	}
}

static size_t columns(const char *s, size_t n)
{
	size_t w = 0;

	for (size_t i = 0; i < n; i++)
		w += ((unsigned char)s[i] & 0xc0) != 0x80;
	return w;
}

static void text_fits_the_terminal(void **state)
{
	_cleanup_host_ struct host h;
	_cleanup_(status_free) struct status st;
	_cleanup_strbuf_ struct strbuf out = { 0 }, coloured = { 0 };
	unsigned lines = 0;

	host_make(&h, *state, FULL_CONF);
	every_state(&h, &st);
	status_text(&st, 0, &out);
	assert_null(strchr(out.data, '\033'));
	for (const char *p = out.data; *p; lines++) {
		size_t n = strcspn(p, "\n");

		assert_true(columns(p, n) <= 80);
		p += n + 1;
	}
	assert_true(lines > n_parts);
	assert_non_null(strstr(out.data, "dstack host example.org\n"));
	assert_non_null(strstr(out.data, "\nNext: "));
	status_text(&st, 1, &coloured);
	assert_non_null(strstr(coloured.data, "\033[31mfailed  \033[0m "));
}

static void simulated_hosts_say_so(void **state)
{
	struct fixture *f = *state;
	_cleanup_host_ struct host h;
	_cleanup_(status_free) struct status st;
	_cleanup_strbuf_ struct strbuf out = { 0 };

	put_text(f, "/usr/share/dstack-host/defaults.d/50-sim.conf", "");
	host_make(&h, f, FULL_CONF);
	status_collect(&h.view, &st);
	status_text(&st, 0, &out);
	assert_non_null(strstr(out.data, "dstack host example.org (simulated)\n"));
}

static void a_drained_host_says_since_when(void **state)
{
	_cleanup_host_ struct host h;
	_cleanup_(status_free) struct status st;
	_cleanup_strbuf_ struct strbuf out = { 0 }, json = { 0 };

	host_make(&h, *state, FULL_CONF);
	h.view.drained = 1;
	h.view.drained_us = 1764000000ull * 1000000;
	status_collect(&h.view, &st);
	status_text(&st, 0, &out);
	assert_non_null(strstr(out.data, "\n\nThis host has been drained since 2025-11-24 16:00 UTC; "
					 "sudo dstack-host drain --end\nstarts it.\n\n"));
	status_json(&st, &json);
	assert_non_null(strstr(json.data, "\"2025-11-24T16:00:00Z\""));
}

static void json_is_complete(void **state)
{
	_cleanup_host_ struct host h;
	_cleanup_(status_free) struct status st;
	_cleanup_strbuf_ struct strbuf out = { 0 };
	json_t *doc, *part;

	put_text(*state, "/proc/net/tcp", TCP);
	host_make(&h, *state, FULL_CONF);
	status_collect(&h.view, &st);
	status_json(&st, &out);
	doc = json_loads(out.data, 0, NULL);
	assert_non_null(doc);
	assert_string_equal(json_string_value(json_object_get(doc, "schema")),
			    "dstack-host.status/1");
	assert_int_equal(json_array_size(json_object_get(doc, "parts")), n_parts);
	part = json_array_get(json_object_get(doc, "parts"), (size_t)part_find("pccs"));
	assert_string_equal(json_string_value(json_object_get(part, "state")), "ok");
	assert_string_equal(json_string_value(json_object_get(part, "unit")), "pccs.service");
	assert_string_equal(json_string_value(json_object_get(part, "since")),
			    "1970-01-01T00:00:01Z");
	assert_int_equal(json_array_size(json_object_get(doc, "public")), 2);
	assert_true(json_is_string(json_object_get(doc, "next")));
	json_decref(doc);
}

static void rejected_answers_are_shown(void **state)
{
	_cleanup_host_ struct host h;
	_cleanup_(status_free) struct status st;
	_cleanup_strbuf_ struct strbuf out = { 0 }, json = { 0 };

	put_text(*state, REJECTED_PATH, "DOMAIN: not a domain: \"a b\"\nKMS_PORT: \x1b\xff[2J\n");
	host_make(&h, *state, FULL_CONF);
	status_collect(&h.view, &st);
	status_text(&st, 0, &out);
	assert_int_equal(st.n_problems, 2);
	assert_false(status_fine(&st));
	assert_non_null(strstr(out.data, "not stored: DOMAIN: not a domain: \"a b\"\n"));
	assert_non_null(strstr(out.data, "Next: sudo dstack-host config set DOMAIN=…\n"));
	/* Whatever stands in the file, a terminal and a parser get text. */
	assert_null(strchr(out.data, '\033'));
	status_json(&st, &json);
	assert_non_null(strstr(json.data, "KMS_PORT"));
}

static void problems_of_host_conf_are_shown(void **state)
{
	_cleanup_host_ struct host h;
	_cleanup_(status_free) struct status st;
	_cleanup_strbuf_ struct strbuf out = { 0 };

	host_make(&h, *state, "DOMAIN=example.org\nKMS_PORT=70000\n");
	status_collect(&h.view, &st);
	status_text(&st, 0, &out);
	assert_non_null(strstr(out.data, "host.conf:2: KMS_PORT: not a port (1-65535)"));
}

static void nothing_to_do(void **state)
{
	_cleanup_host_ struct host h;
	_cleanup_(status_free) struct status st;
	_cleanup_strbuf_ struct strbuf out = { 0 };

	host_make(&h, *state, FULL_CONF);
	status_collect(&h.view, &st);
	for (size_t i = 0; i < n_parts; i++) {
		findings_free(&st.findings[i], 1);
		finding_set(&st.findings[i], i % 2 ? PART_OK : PART_OFF, "x");
	}
	assert_true(status_fine(&st));
	free(st.next);
	st.next = parts_next(st.findings, 1);
	status_text(&st, 0, &out);
	assert_non_null(strstr(out.data, "\nNext: nothing to do\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(loopback_is_not_public),
		with_root(text_fits_the_terminal),
		with_root(simulated_hosts_say_so),
		with_root(a_drained_host_says_since_when),
		with_root(json_is_complete),
		with_root(rejected_answers_are_shown),
		with_root(problems_of_host_conf_are_shown),
		with_root(nothing_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
