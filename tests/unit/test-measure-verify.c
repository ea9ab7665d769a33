// SPDX-License-Identifier: Apache-2.0
/* A prediction against quotes and event logs. The quotes are made here (simulated): of the real
 * format, with the registers of a vector and signed by nobody. */
#include "test.h"

#include <errno.h>
#include <jansson.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/bytes.h"
#include "host/measure/measure-ask.h"
#include "host/measure/measure-print.h"
#include "host/measure/measure-verify.h"

enum { HEADER = 48, BODY = 584, SIGNATURE = 64 };

struct made {
	json_t *cases;
	struct measure_result result;
	unsigned char quote[HEADER + 6 + BODY + SIGNATURE];
	size_t len;
	json_t *log;
};

static void to_bytes(const char *hex, unsigned char *at)
{
	for (size_t i = 0; i < SHA384_LEN; i++) {
		char two[] = { hex[2 * i], hex[2 * i + 1], '\0' };

		at[i] = (unsigned char)strtoul(two, NULL, 16);
	}
}

/* The first vector as a result, and a TD that has measured just that. */
static void make(struct made *m, int version)
{
	size_t body = HEADER + (version == 5 ? 6 : 0), e = 0;
	json_t *c;

	memset(m, 0, sizeof(*m));
	assert_int_equal(sha384_load(), 0);
	m->cases = json_load_file("tests/data/vectors/measure/cases.json", 0, NULL);
	c = json_array_get(m->cases, 0);
	m->log = json_array();
	put_le16(m->quote, (uint16_t)version);
	put_le32(m->quote + 4, 0x81);
	m->len = body + BODY + SIGNATURE;
	for (size_t r = 0; r < MEASURE_REGISTERS; r++) {
		const char *hex = json_string_value(json_object_get(c, measure_registers[r]));
		json_t *digests = json_object_get(json_object_get(c, "events"), measure_registers[r]);
		json_t *digest;
		size_t i;

		m->result.registers[r] = xstrdup(hex);
		to_bytes(hex, m->quote + body + (r ? 328 + 48 * (r - 1) : 136));
		json_array_foreach(digests, i, digest) {
			m->result.events[e++] = xstrdup(json_string_value(digest));
			json_array_append_new(m->log, json_pack("{s:i, s:i, s:O, s:s, s:s}", "imr",
								(int)r - 1, "event_type", 1, "digest",
								digest, "event", "", "event_payload", ""));
		}
	}
	json_array_append_new(m->log, json_pack("{s:i, s:s, s:s}", "imr", 3, "digest", "00", "event",
						"compose-hash"));
}

static void unmake(struct made *m)
{
	measure_result_free(&m->result);
	json_decref(m->cases);
	json_decref(m->log);
}

static char *hex_of(const void *data, size_t len)
{
	struct strbuf out = { 0 };

	for (size_t i = 0; i < len; i++)
		sb_addf(&out, "%02x", ((const unsigned char *)data)[i]);
	return sb_steal(&out);
}

enum form { AS_LIST, AS_TEXT, AS_HEX, NO_LOG };

static int load(const struct fixture *f, const struct made *m, enum form form,
		struct measure_quote *ret, char **trouble)
{
	_cleanup_free_ char *quote = hex_of(m->quote, m->len), *text = json_dumps(m->log, 0);
	_cleanup_free_ char *hex = hex_of(text, strlen(text)), *file = NULL;
	json_t *doc = json_pack("{s:s}", "quote", quote);

	if (form == AS_LIST)
		json_object_set(doc, "event_log", m->log);
	else if (form != NO_LOG)
		json_object_set_new(doc, "eventlog", json_string(form == AS_HEX ? hex : text));
	file = json_dumps(doc, 0);
	json_decref(doc);
	put_text(f, "/quote.json", file);
	return measure_quote_load(&f->root, "/quote.json", ret, trouble);
}

static void judge(const struct fixture *f, const struct made *m, enum form form,
		  struct measure_verdict *v)
{
	_cleanup_free_ char *trouble = NULL;
	struct measure_quote quote;

	assert_int_equal(load(f, m, form, &quote, &trouble), 0);
	measure_verify(&m->result, &quote, v);
	for (size_t r = 0; r < MEASURE_REGISTERS; r++)
		v->found[r] = NULL; /* points into what is freed now */
	measure_quote_free(&quote);
}

static void equal_in_every_form(void **state)
{
	static const enum form forms[] = { AS_LIST, AS_TEXT, AS_HEX, NO_LOG };

	for (int version = 4; version <= 5; version++) {
		struct made m;

		make(&m, version);
		for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
			struct measure_verdict v;

			judge(*state, &m, forms[i], &v);
			assert_true(v.all_equal);
			for (size_t r = 0; r < MEASURE_REGISTERS; r++)
				assert_true(v.log_fits[r]);
		}
		unmake(&m);
	}
}

static void the_first_event_that_differs_is_named(void **state)
{
	struct measure_verdict v;
	struct made m;

	make(&m, 4);
	m.result.events[EVENT_ACPI_TABLES][5] ^= 1;
	m.result.registers[MEASURE_RTMR0][7] = m.result.registers[MEASURE_RTMR0][7] == 'a' ? 'b' : 'a';
	judge(*state, &m, AS_HEX, &v);
	assert_false(v.all_equal);
	assert_false(v.equal[MEASURE_RTMR0]);
	assert_true(v.equal[MEASURE_MRTD] && v.equal[MEASURE_RTMR1] && v.equal[MEASURE_RTMR2]);
	assert_int_equal(v.event[MEASURE_RTMR0], EVENT_ACPI_TABLES);
	unmake(&m);
}

static void a_log_of_another_td_is_said(void **state)
{
	struct measure_verdict v;
	struct made m;

	make(&m, 4);
	json_object_set(json_array_get(m.log, 14), "digest",
			json_object_get(json_array_get(m.log, 15), "digest"));
	judge(*state, &m, AS_LIST, &v);
	assert_true(v.log_fits[MEASURE_RTMR0]);
	assert_false(v.log_fits[MEASURE_RTMR1]);
	/* The quote is what counts. */
	assert_true(v.all_equal);
	unmake(&m);
}

static void refuses(const struct fixture *f, const struct made *m, const char *text)
{
	_cleanup_free_ char *trouble = NULL;
	struct measure_quote quote;

	assert_int_equal(load(f, m, AS_LIST, &quote, &trouble), -EBADMSG);
	if (!strstr(trouble, text))
		fail_msg("\"%s\" instead of \"%s\"", trouble, text);
}

static void what_is_wrong_is_refused(void **state)
{
	struct measure_quote quote;
	char *trouble = NULL;
	struct made m;

	make(&m, 4);
	m.len = 300;
	refuses(*state, &m, "not one of a TD");
	m.len = HEADER + 6 + BODY - 1;
	put_le16(m.quote, 5);
	refuses(*state, &m, "cut");
	m.len = sizeof(m.quote);
	put_le16(m.quote, 3);
	refuses(*state, &m, "version");
	put_le16(m.quote, 4);
	put_le32(m.quote + 4, 0);
	refuses(*state, &m, "not one of a TD");
	put_le32(m.quote + 4, 0x81);
	json_object_set_new(json_array_get(m.log, 3), "digest", json_string("00"));
	refuses(*state, &m, "without a digest");
	json_object_set_new(json_array_get(m.log, 3), "imr", json_integer(4));
	refuses(*state, &m, "no register");
	unmake(&m);
	put_text(*state, "/x.json", "{}");
	assert_int_equal(measure_quote_load(&((struct fixture *)*state)->root, "/x.json", &quote,
					    &trouble), -EBADMSG);
	assert_non_null(strstr(trouble, "no quote"));
	free(trouble);
}

static void the_first_difference_is_named(void **state _unused_)
{
	struct measure_result other = { 0 };
	struct made m;

	make(&m, 4);
	measure_result_copy(&m.result, &other);
	assert_null(measure_first_difference(&m.result, &other));
	other.registers[MEASURE_RTMR2][0] ^= 1;
	assert_string_equal(measure_first_difference(&m.result, &other), "rtmr2");
	other.events[EVENT_INITRD][0] ^= 1;
	assert_string_equal(measure_first_difference(&m.result, &other), "initrd");
	other.registers[MEASURE_RTMR0][0] ^= 1;
	other.events[EVENT_ACPI_RSDP][0] ^= 1;
	other.events[EVENT_ACPI_TABLES][0] ^= 1;
	assert_string_equal(measure_first_difference(&m.result, &other), "acpi-rsdp");
	/* Without QEMU one side knows no RTMR0: that differs, too. */
	free(other.registers[MEASURE_RTMR0]);
	other.registers[MEASURE_RTMR0] = NULL;
	assert_string_equal(measure_first_difference(&m.result, &other), "acpi-rsdp");
	measure_result_free(&other);
	unmake(&m);
}

static void says(struct measure_result *r, const char *words, int wanted)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };

	measure_print(&out, "kms", r, 0);
	if ((strstr(out.data, words) != NULL) != wanted)
		fail_msg("%s \"%s\": %s", wanted ? "lacks" : "has", words, out.data);
}

static void what_is_assumed_is_said(void **state _unused_)
{
	struct made m;
	json_t *doc;

	make(&m, 4);
	m.result.command_line = xstrdup("running");
	m.result.sandbox = xstrdup("own");
	says(&m.result, "note:", 0);
	free(m.result.command_line);
	free(m.result.sandbox);
	m.result.command_line = xstrdup("last");
	m.result.sandbox = xstrdup("own");
	says(&m.result, "that of its last start", 1);
	free(m.result.command_line);
	free(m.result.sandbox);
	m.result.command_line = xstrdup("assumed");
	m.result.sandbox = xstrdup("caller");
	says(&m.result, "its command line is assumed", 1);
	says(&m.result, "QEMU was read as your user", 1);
	doc = measure_json("kms", &m.result);
	assert_string_equal(json_string_value(json_object_get(doc, "command_line")), "assumed");
	assert_string_equal(json_string_value(json_object_get(doc, "sandbox")), "caller");
	json_decref(doc);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_root(equal_in_every_form),
		with_root(the_first_event_that_differs_is_named),
		with_root(a_log_of_another_td_is_said),
		with_root(what_is_wrong_is_refused),
		cmocka_unit_test(the_first_difference_is_named),
		cmocka_unit_test(what_is_assumed_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
