// SPDX-License-Identifier: Apache-2.0
/* Values are compared and wiped; what is reported is names and places. */
#include "host/check/secret-audit.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/utf8.h"
#include "host/journal.h"
#include "host/part/parts.h"
#include "host/conf/secrets.h"

#define DEBCONF_DIR "/var/cache/debconf"
enum { FILES_MAX = 256, LEAKS_MAX = 64, ARGV_MAX = 1 << 20, DEBCONF_MAX = 32 << 20 };
/* What is shorter than this is in every text. */
enum { VALUE_MIN = 8 };

struct values {
	char *of[SECRET_COUNT];
};

static void add_file(struct secret_audit *audit, char *path, const struct stat *st)
{
	audit->files = xrealloc(audit->files, (audit->n_files + 1) * sizeof(*audit->files));
	audit->files[audit->n_files++] =
		(struct secret_file){ path, st->st_mode, st->st_uid };
}

void secret_audit_files(const struct root *root, struct secret_audit *audit)
{
	/* The path alone can be looked at by everybody. */
	_cleanup_close_ int at = root_openat(root, SECRETS_DIR, O_PATH | O_DIRECTORY, 0);
	_cleanup_closedir_ DIR *d = root_opendir(root, SECRETS_DIR);
	const struct dirent *e;
	struct stat st;

	if (at < 0 || fstat(at, &st) < 0) {
		audit->error = at < 0 ? at : -errno;
	} else {
		add_file(audit, xstrdup(SECRETS_DIR), &st);
		audit->hidden = !d;
	}
	while (d && audit->n_files < FILES_MAX && (e = readdir(d)))
		if (e->d_name[0] != '.' &&
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			add_file(audit, xasprintf(SECRETS_DIR "/%s", e->d_name), &st);
			utf8_clean(audit->files[audit->n_files - 1].path);
		}
}

static void values_read(const struct root *root, struct values *v, struct secret_audit *audit)
{
	for (int i = 0; i < SECRET_COUNT; i++) {
		int r = secret_read(root, (enum secret_id)i, &v->of[i]);

		audit->partial |= r < 0 && r != -ENOENT;
		if (r == 0 && v->of[i] && strlen(v->of[i]) < VALUE_MIN)
			secret_free(&v->of[i]);
	}
}

static void values_free(struct values *v)
{
	for (int i = 0; i < SECRET_COUNT; i++)
		secret_free(&v->of[i]);
}

/* The caller's `where` is copied for each. */
static void search(struct secret_audit *audit, const struct values *v, enum leak_kind kind,
		   const char *text, size_t len, const char *where)
{
	for (int i = 0; i < SECRET_COUNT; i++) {
		if (!v->of[i] || !memmem(text, len, v->of[i], strlen(v->of[i])) ||
		    audit->n_leaks == LEAKS_MAX)
			continue;
		audit->leaks = xrealloc(audit->leaks,
					(audit->n_leaks + 1) * sizeof(*audit->leaks));
		audit->leaks[audit->n_leaks++] =
			(struct leak){ kind, secrets[i].name, xstrdup(where) };
	}
}

static void wipe(char **text, size_t len)
{
	if (*text)
		explicit_bzero(*text, len);
	free(*text);
	*text = NULL;
}

/* `where` may be NULL: the path. */
static void search_file(const struct root *root, struct secret_audit *audit,
			const struct values *v, enum leak_kind kind, const char *path,
			const char *where, size_t max)
{
	char *text = NULL;
	size_t len = 0;
	int r = file_read(root, path, max, &text, &len);

	if (r == 0)
		search(audit, v, kind, text, len, where ? where : path);
	/* A process that has ended is no gap. */
	audit->partial |= r < 0 && r != -ENOENT && r != -ESRCH;
	wipe(&text, len);
}

static char *process_text(const struct root *root, const char *pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s/comm", pid);
	_cleanup_free_ char *name = NULL;

	if (file_read(root, path, 64, &name, NULL) < 0)
		return xasprintf("process %s", pid);
	name[strcspn(name, "\n")] = '\0';
	utf8_clean(name);
	return xasprintf("process %s (%s)", pid, name);
}

static void search_argv(const struct root *root, struct secret_audit *audit,
			const struct values *v)
{
	_cleanup_closedir_ DIR *d = root_opendir(root, "/proc");
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		_cleanup_free_ char *path = NULL;
		size_t before = audit->n_leaks;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		path = xasprintf("/proc/%s/cmdline", e->d_name);
		search_file(root, audit, v, LEAK_ARGV, path, "", ARGV_MAX);
		/* Who it is is asked only of those that have one. */
		for (size_t i = before; i < audit->n_leaks; i++) {
			free(audit->leaks[i].where);
			audit->leaks[i].where = process_text(root, e->d_name);
		}
	}
}

static void search_environments(const struct root *root, const struct unit_state *unit,
				size_t n_units, struct secret_audit *audit,
				const struct values *v)
{
	for (size_t i = 0; i < n_units; i++) {
		_cleanup_free_ char *path = NULL, *pid = NULL, *where = NULL;

		if (!unit[i].main_pid)
			continue;
		pid = xasprintf("%u", unit[i].main_pid);
		path = xasprintf("/proc/%s/environ", pid);
		where = process_text(root, pid);
		search_file(root, audit, v, LEAK_ENVIRONMENT, path, where, ARGV_MAX);
	}
}

static void search_journal(const struct root *root, struct secret_audit *audit,
			   const struct values *v)
{
	_cleanup_free_ struct journal_tail *tails = xcalloc(n_parts, sizeof(*tails));
	_cleanup_free_ char **matches = xcalloc(n_parts, sizeof(*matches));
	_cleanup_free_ const char **units = xcalloc(n_parts, sizeof(*units));
	size_t n = 0;

	/* Another system's is not asked for. */
	if (!root_is_host(root) || !root_exists(root, "/run/systemd/system"))
		return;
	for (size_t i = 0; i < n_parts; i++)
		if (parts[i].unit) {
			units[n] = parts[i].unit;
			matches[n++] = xasprintf("_SYSTEMD_UNIT=%s", parts[i].unit);
		}
	journal_read((const char *const *)matches, n, tails);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < tails[i].n; j++) {
			const char *text = tails[i].lines[j].text;

			search(audit, v, LEAK_JOURNAL, text, strlen(text), units[i]);
		}
		audit->partial |= tails[i].error < 0;
		journal_tail_free(&tails[i]);
		free(matches[i]);
	}
}

void secret_audit_leaks(const struct root *root, const struct unit_state *unit, size_t n_units,
			struct secret_audit *audit)
{
	/* The one before the last of passwords.dat is root's as well, and holds for a while
	 * what was just removed; that of config.dat everybody can read. */
	static const char *const databases[] = {
		DEBCONF_DIR "/passwords.dat",
		DEBCONF_DIR "/config.dat",
		DEBCONF_DIR "/config.dat-old",
	};
	_cleanup_(values_free) struct values v = { 0 };

	values_read(root, &v, audit);
	search_argv(root, audit, &v);
	search_environments(root, unit, n_units, audit, &v);
	for (size_t i = 0; i < ARRAY_SIZE(databases); i++)
		search_file(root, audit, &v, LEAK_DEBCONF, databases[i], NULL, DEBCONF_MAX);
	search_journal(root, audit, &v);
}

void secret_audit_free(struct secret_audit *audit)
{
	for (size_t i = 0; i < audit->n_files; i++)
		free(audit->files[i].path);
	for (size_t i = 0; i < audit->n_leaks; i++)
		free(audit->leaks[i].where);
	free(audit->files);
	free(audit->leaks);
	*audit = (struct secret_audit){ 0 };
}
