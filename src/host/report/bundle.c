// SPDX-License-Identifier: Apache-2.0
/* Packing the bundle; the only user of libarchive. */
#include "host/report/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "host/check/check-print.h"
#include "host/journal.h"
#include "host/lib/lib-archive.h"
#include "host/render/render.h"

#define TOP "dstack-report/"
enum { JOURNAL_LINES = 500 };

struct bundle {
	struct archive *a;
	const struct report_source *src;
	struct strbuf *left_out;
	int error; /* the first -errno */
};

int bundle_may_write(const char *path)
{
	struct stat st;

	if (!path)
		return 0;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1 ? 0 : -EEXIST;
}

static void failed(struct bundle *b)
{
	int e = sym_archive_errno(b->a);

	if (!b->error)
		b->error = e > 0 ? -e : -EIO;
}

static void add(struct bundle *b, const char *name, const char *text)
{
	_cleanup_free_ char *path = xasprintf(TOP "%s", name);
	struct archive_entry *e = sym_archive_entry_new();
	size_t len = strlen(text);

	if (!e)
		out_of_memory();
	sym_archive_entry_set_pathname(e, path);
	sym_archive_entry_set_filetype(e, AE_IFREG);
	sym_archive_entry_set_perm(e, 0600);
	sym_archive_entry_set_size(e, (la_int64_t)len);
	sym_archive_entry_set_mtime(e, b->src->taken, 0);
	if (sym_archive_write_header(b->a, e) != ARCHIVE_OK ||
	    sym_archive_write_data(b->a, text, len) != (la_ssize_t)len)
		failed(b);
	sym_archive_entry_free(e);
}

static void add_redacted(struct bundle *b, const char *name, const char *text)
{
	_cleanup_free_ char *shown = redact_text(b->src->redactor, text);

	add(b, name, shown);
}

static void add_document(struct bundle *b, const json_t *doc)
{
	static const struct {
		const char *name;
		void (*print)(const json_t *doc, struct strbuf *out);
	} prints[] = { { "report.json", report_json }, { "report.md", report_md },
		       { "report.html", report_html } };
	_cleanup_free_ char *wanted = xcalloc(checks_count(), 1);
	_cleanup_strbuf_ struct strbuf checks = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(prints); i++) {
		_cleanup_strbuf_ struct strbuf out = { 0 };

		prints[i].print(doc, &out);
		add(b, prints[i].name, out.data);
	}
	memset(wanted, 1, checks_count());
	check_json(b->src->verdicts, wanted, &checks);
	add_redacted(b, "check.json", checks.data);
}

static void add_packages(struct bundle *b, const json_t *doc)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	json_t *item;
	size_t i;

	json_array_foreach(json_object_get(doc, "packages"), i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));
		const char *version = json_string_value(json_object_get(item, "version"));

		sb_addf(&out, "%s %s%s\n", name ? name : "?", version ? version : "?",
			json_is_true(json_object_get(item, "held")) ? " (held)" : "");
	}
	add(b, "packages.txt", out.data ? out.data : "");
}

/* Whole files of secrets are not even looked at. */
static int is_closed(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && (strcmp(dot, ".pem") == 0 || strcmp(dot, ".map") == 0 ||
		       strcmp(dot, ".crt") == 0);
}

static void add_rendered(struct bundle *b)
{
	for (const struct target *t = targets; t->name; t++) {
		_cleanup_free_ char *name = NULL;
		_cleanup_free_ char *text = is_closed(t->path) ? NULL :
								 report_file(b->src, t->path);

		if (is_closed(t->path))
			sb_addf(b->left_out, "  %s: keys, digests or certificates\n", t->path);
		if (!text)
			continue;
		name = xasprintf("rendered%s", t->path + strlen("/run/dstack"));
		add(b, name, text);
	}
}

static char *journal_text(const struct journal_tail *tail)
{
	struct strbuf out = { 0 };

	for (size_t i = tail->n; i-- > 0;) {
		time_t at = (time_t)(tail->lines[i].at_us / 1000000);
		char when[32] = "";
		struct tm tm;

		if (gmtime_r(&at, &tm))
			strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
		utf8_clean(tail->lines[i].text);
		sb_addf(&out, "%s %s\n", when, tail->lines[i].text);
	}
	return sb_steal(&out);
}

static void add_journal(struct bundle *b, const char *unit)
{
	/* Some bear another name in a rehearsal: pccs.service is dstack-sim-pccs.service. */
	_cleanup_free_ char *match = xasprintf("_SYSTEMD_UNIT=%s _SYSTEMD_UNIT=dstack-sim-%s",
					       unit, unit);
	_cleanup_free_ char *name = xasprintf("journal/%s.txt", unit), *text = NULL;
	struct journal_tail tail;

	journal_read_max(match, JOURNAL_LINES, &tail);
	if (tail.error)
		sb_addf(b->left_out, "  the journal of %s: %s\n", unit, strerror(-tail.error));
	text = journal_text(&tail);
	if (*text)
		add_redacted(b, name, text);
	journal_tail_free(&tail);
}

static void add_journals(struct bundle *b)
{
	static const char *const more[] = { "dstack-host-start.service",
					    "dstack-host-metrics.service" };

	if (!b->src->view->live)
		return;
	for (size_t i = 0; i < n_parts; i++) {
		int before = !parts[i].unit;

		for (size_t j = 0; j < i && !before; j++)
			before = parts[j].unit && strcmp(parts[j].unit, parts[i].unit) == 0;
		if (!before)
			add_journal(b, parts[i].unit);
	}
	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		add_journal(b, more[i]);
}

static int pack(struct bundle *b, const json_t *doc, int fd)
{
	b->a = sym_archive_write_new();
	if (!b->a)
		out_of_memory();
	if (sym_archive_write_add_filter_gzip(b->a) != ARCHIVE_OK ||
	    sym_archive_write_set_format_ustar(b->a) != ARCHIVE_OK ||
	    sym_archive_write_open_fd(b->a, fd) != ARCHIVE_OK)
		failed(b);
	if (!b->error) {
		add_document(b, doc);
		add_packages(b, doc);
		add_rendered(b);
		add_journals(b);
	}
	if (sym_archive_write_close(b->a) != ARCHIVE_OK)
		failed(b);
	sym_archive_write_free(b->a);
	return b->error;
}

/* Nobody sees half an archive under its name, and no link at the name is followed. */
static int put_in_place(struct bundle *b, const json_t *doc, const char *path)
{
	_cleanup_free_ char *tmp = xasprintf("%s.XXXXXX", path);
	_cleanup_close_ int fd = mkostemp(tmp, O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = pack(b, doc, fd);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0)
		r = bundle_may_write(path);
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(tmp);
	return r;
}

int bundle_write(const char *path, const struct report_source *src, const json_t *doc,
		 struct strbuf *left_out)
{
	struct bundle b = { .src = src, .left_out = left_out };
	int r = libarchive_load();

	if (r < 0)
		return r;
	sb_add(left_out, "Not in it:\n"
			 "  secrets: their values are replaced, their files are not read\n"
			 "  an operator's own vmm.toml: values of harmless keys only\n"
			 "  environment and credentials of an operator's own dstack-vmm.service\n");
	r = put_in_place(&b, doc, path);
	sb_add(left_out, "In it are the host's names and public address, and names of virtual "
			 "machines where journals and findings tell them: read it before you hand it "
			 "on.\n");
	return r;
}
