// SPDX-License-Identifier: Apache-2.0
/* The document: its keys in order, and what their builders share. */
#include "host/report/report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "host/json.h"

enum { FILE_MAX = 1 << 20, ENTRIES_MAX = 1000 };

/* The reference document's own keys, and the verdicts. */
const struct report_key report_keys[] = {
	{ "system", report_system },
	{ "services", report_services },
	{ "containers", report_containers },
	{ "ports", report_ports },
	{ "devices", report_devices },
	{ "groups", report_groups },
	{ "configuration", report_configuration },
	{ "directories", report_directories },
	{ "images", report_images },
	{ "key_provider", report_key_provider },
	{ "registry", report_registry },
	{ "kms", report_kms },
	{ "packages", report_packages },
	{ "known_issues", report_known_issues },
	{ "verification", report_verification },
	{ "contracts", report_contracts },
	{ "secrets_locations", report_secrets },
	{ "network", report_network },
	{ "checklist", report_checklist },
	{ "checks", report_checks },
};
const size_t n_report_keys = ARRAY_SIZE(report_keys);

const struct root *report_root(const struct report_source *src)
{
	return src->view->parts.root;
}

const struct settings *report_settings(const struct report_source *src)
{
	return src->view->parts.settings;
}

static void clean(char *text)
{
	for (char *line = text; *line;) {
		size_t n = strcspn(line, "\n\t");
		char end = line[n];

		line[n] = '\0';
		utf8_clean(line);
		line[n] = end;
		line += n + (end != '\0');
	}
}

json_t *report_text(const char *s)
{
	_cleanup_free_ char *copy = NULL;
	json_t *value;

	if (!s)
		return json_null();
	copy = xstrdup(s);
	clean(copy);
	value = json_string(copy);
	if (!value)
		out_of_memory();
	return value;
}

json_t *report_textf(const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	return report_text(text);
}

void report_set(json_t *object, const char *key, json_t *value)
{
	if (!value || json_object_set_new(object, key, value) < 0)
		out_of_memory();
}

char *report_file(const struct report_source *src, const char *path)
{
	_cleanup_free_ char *text = NULL;

	if (file_read(report_root(src), path, FILE_MAX, &text, NULL) < 0)
		return NULL;
	return redact_text(src->redactor, text);
}

static int push_word(const char *word, void *arg)
{
	json_push(arg, report_text(word));
	return 0;
}

json_t *report_words(const char *words)
{
	json_t *list = json_array();

	for_each_word(words, push_word, list);
	return list;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

json_t *report_entries(const struct root *root, const char *path)
{
	_cleanup_closedir_ DIR *d = root_opendir(root, path);
	json_t *list = json_array();
	const struct dirent *e;
	char **names = NULL;
	size_t n = 0;

	if (!d) {
		json_decref(list);
		return NULL;
	}
	while (n < ENTRIES_MAX && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		names = xrealloc(names, (n + 1) * sizeof(*names));
		names[n++] = xstrdup(e->d_name);
	}
	if (n)
		qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++) {
		json_push(list, report_text(names[i]));
		free(names[i]);
	}
	free(names);
	return list;
}

/* Releases lie side by side below /var/lib/dstack/bin, and `current` is a link to one. */
static json_t *release(const struct report_source *src)
{
	_cleanup_close_ int dir = -1;
	const char *base, *name;
	char target[256];
	ssize_t n;

	dir = root_open_parent(report_root(src), "/var/lib/dstack/bin/current", &base);
	n = dir < 0 ? -1 : readlinkat(dir, base, target, sizeof(target) - 1);
	if (n <= 0)
		return json_null();
	target[n] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	return check_version(name) ? json_null() : report_text(name);
}

static json_t *when(time_t t)
{
	struct tm tm;
	char text[32] = "";

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return report_text(text);
}

json_t *report_build(const struct report_source *src)
{
	json_t *doc = json_object();

	report_set(doc, "schema", json_string(REPORT_SCHEMA));
	report_set(doc, "kind", json_string("host"));
	report_set(doc, "taken", when(src->taken));
	report_set(doc, "dstack_version", release(src));
	report_set(doc, "simulated", json_boolean(src->view->simulated));
	report_set(doc, "complete", json_boolean(src->view->privileged));
	for (size_t i = 0; i < n_report_keys; i++)
		report_set(doc, report_keys[i].name, report_keys[i].build(src));
	redact_json(src->redactor, doc);
	return doc;
}

void report_json(const json_t *doc, struct strbuf *out)
{
	json_write(out, json_incref((json_t *)(uintptr_t)doc));
}
