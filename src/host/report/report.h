// SPDX-License-Identifier: Apache-2.0
/*
 * This host as a document, dstack-host.report/1: one JSON document is built (report.c lists its
 * sections, report-*.c fill them), and both prints for people are made from that document. What
 * is secret is replaced in the document itself, so that no print can show it.
 */
#pragma once

#include <jansson.h>
#include <time.h>

#include "base/strbuf.h"
#include "host/check/check.h"
#include "host/report/redact.h"

#define REPORT_SCHEMA "dstack-host.report/1"

/* What a report is made from. */
struct report_source {
	const struct check_view *view;
	const struct verdict *verdicts; /* checks_count() of them, clean */
	const struct redactor *redactor;
	time_t taken;
};

/* A key of the document, in its order. */
struct report_key {
	const char *name;
	json_t *(*build)(const struct report_source *src);
};

extern const struct report_key report_keys[];
extern const size_t n_report_keys;

/* The document, the caller's. Asks nobody; reads files. */
json_t *report_build(const struct report_source *src) _must_check_;

/* --- small things that the builders share (report.c) --- */

/* Text that may come from anywhere; NULL: null. Line breaks and tabs stay. */
json_t *report_text(const char *s);
json_t *report_textf(const char *fmt, ...) _printf_(1, 2);
/* Sets a key; `value` is taken over. */
void report_set(json_t *object, const char *key, json_t *value);
/* What is in a file, without the secrets in it, the caller's; NULL when it cannot be read. */
char *report_file(const struct report_source *src, const char *path) _must_check_;
/* Words separated by blanks as a list. */
json_t *report_words(const char *words);
/* Names in a directory, sorted; NULL when it cannot be listed. */
json_t *report_entries(const struct root *root, const char *path);
const struct root *report_root(const struct report_source *src);
const struct settings *report_settings(const struct report_source *src);

/* --- builders, a file for each area --- */

json_t *report_system(const struct report_source *src);
json_t *report_services(const struct report_source *src);
json_t *report_containers(const struct report_source *src);
json_t *report_ports(const struct report_source *src);
json_t *report_devices(const struct report_source *src);
json_t *report_groups(const struct report_source *src);
json_t *report_configuration(const struct report_source *src);
json_t *report_directories(const struct report_source *src);
json_t *report_images(const struct report_source *src);
json_t *report_key_provider(const struct report_source *src);
json_t *report_registry(const struct report_source *src);
json_t *report_kms(const struct report_source *src);
json_t *report_packages(const struct report_source *src);
json_t *report_known_issues(const struct report_source *src);
json_t *report_verification(const struct report_source *src);
json_t *report_contracts(const struct report_source *src);
json_t *report_secrets(const struct report_source *src);
json_t *report_network(const struct report_source *src);
json_t *report_checklist(const struct report_source *src);
json_t *report_checks(const struct report_source *src);

/* A TOML file as an object; keys ("cvm.networking.mode") that `shown` refuses are there without
 * their value. NULL: it is not understood. */
json_t *report_toml(const char *text, int (*shown)(const char *path));

/* --- prints --- */

void report_json(const json_t *doc, struct strbuf *out);
void report_md(const json_t *doc, struct strbuf *out);
void report_html(const json_t *doc, struct strbuf *out);
