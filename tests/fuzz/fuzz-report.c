// SPDX-License-Identifier: Apache-2.0
/*
 * First byte which: a text in a report (its prints hold no markup and no control character of
 * it, its secrets are gone), a state file of metrics (what is read prints as it was read), a label.
 */
#include "fuzz.h"

#include <jansson.h>

#include "host/json.h"
#include "host/report/metrics.h"
#include "host/report/redact.h"
#include "host/report/report.h"

#define SECRET "s3cret-canary"

static struct redactor *redactor;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct root root = { .fd = -1 };
	struct settings s = { 0 };

	(void)argc;
	(void)argv;
	/* A tree without settings and secrets. */
	require(root_open("/dev", &root) == 0);
	require(redact_load(&root, &s, &redactor) == 0);
	root_close(&root);
	redact_add(redactor, SECRET, "(gone)");
	return 0;
}

static void has_no_control(const char *s)
{
	for (; *s; s++)
		require((unsigned char)*s >= 0x20 || *s == '\n' || *s == '\t');
}

static void in_a_report(const char *text)
{
	static void (*const prints[])(const json_t *, struct strbuf *) = { report_md, report_html,
									   report_json };
	json_t *doc = json_object(), *row = json_object(), *list = json_array(), *file;
	_cleanup_free_ char *shown = redact_text(redactor, text);

	require(strstr(shown, SECRET) == NULL);
	report_set(row, "id", report_text(text));
	report_set(row, "status", report_text(text));
	report_set(row, "cause", report_text(text));
	json_push(list, row);
	report_set(doc, "checks", list);
	file = json_object();
	report_set(file, "path", report_text(text));
	report_set(file, "text", report_text(text));
	list = json_array();
	json_push(list, file);
	report_set(doc, "configuration", list);
	redact_json(redactor, doc);
	for (size_t i = 0; i < ARRAY_SIZE(prints); i++) {
		_cleanup_strbuf_ struct strbuf out = { 0 };

		prints[i](doc, &out);
		has_no_control(out.data);
		require(strstr(out.data, SECRET) == NULL);
		require(i != 1 || (!strstr(out.data, "<script") && !strstr(out.data, "<img")));
	}
	json_decref(doc);
}

static void as_a_state(const char *text)
{
	_cleanup_(slow_state_free) struct slow_state first, second = { 0 };
	_cleanup_strbuf_ struct strbuf once = { 0 }, twice = { 0 };

	if (slow_state_parse(text, &first) < 0)
		return;
	slow_state_print(&first, &once);
	require(slow_state_parse(once.data, &second) == 0);
	slow_state_print(&second, &twice);
	require(strcmp(once.data, twice.data) == 0);
}

static void as_a_label(const char *text)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };

	metrics_label(&out, text);
	require(strchr(out.data, '\n') == NULL);
	/* Only its own quotes stand bare. */
	for (size_t i = 1; i + 1 < out.len; i++) {
		if (out.data[i] == '\\')
			i++;
		else
			require(out.data[i] != '"');
		require(i + 1 < out.len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = NULL;

	if (size < 1)
		return 0;
	text = fuzz_text(data + 1, size - 1);
	if (data[0] % 3 == 0)
		in_a_report(text);
	else if (data[0] % 3 == 1)
		as_a_state(text);
	else
		as_a_label(text);
	return 0;
}
