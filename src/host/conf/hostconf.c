// SPDX-License-Identifier: Apache-2.0
/* Reading, editing and writing KEY=value files. */
#include "host/conf/hostconf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/strbuf.h"

static int is_comment(const char *line, size_t n)
{
	size_t blank = strspn(line, " \t");

	return blank >= n || line[blank] == '#';
}

/* The key of "KEY=value", or NULL. */
static char *key_of_line(const char *line, size_t n, const char **value)
{
	const char *eq = memchr(line, '=', n);

	if (!eq)
		return NULL;
	*value = eq + 1;
	return xstrndup(line, (size_t)(eq - line));
}

static void take_line(struct hostconf *hc, struct diag *diag, const char *line, size_t n,
		      unsigned number)
{
	_cleanup_free_ char *name = NULL;
	const char *value;
	int id;

	if (is_comment(line, n))
		return;
	if (n && line[n - 1] == '\r')
		n--;
	name = key_of_line(line, n, &value);
	if (!name) {
		diag_add(diag, hc->path, number, NULL, "not KEY=value");
		return;
	}
	id = key_find(name);
	if (id < 0) {
		_cleanup_free_ char *shown = xstrndup(name, 64), *hint = key_hint(name);

		for (char *p = shown; *p; p++)
			if ((unsigned char)*p <= 0x20 || (unsigned char)*p > 0x7e)
				*p = '?';
		diag_add(diag, hc->path, number, shown, "unknown key; %s", hint);
		return;
	}
	if (hc->value[id]) {
		diag_add(diag, hc->path, number, name, "set twice, first on line %u",
			 hc->line[id]);
		return;
	}
	hc->value[id] = xstrndup(value, n - (size_t)(value - line));
	hc->line[id] = number;
}

static void parse_text(struct hostconf *hc, struct diag *diag)
{
	unsigned number = 1;

	for (const char *p = hc->text; *p; number++) {
		size_t n = strcspn(p, "\n");

		take_line(hc, diag, p, n, number);
		p += n + (p[n] == '\n');
	}
}

static unsigned line_of_offset(const char *text, size_t offset)
{
	unsigned line = 1;

	for (size_t i = 0; i < offset; i++)
		line += text[i] == '\n';
	return line;
}

int hostconf_load(const struct root *root, const char *path, struct hostconf *ret,
		  struct diag *diag)
{
	size_t len = 0;
	int r;

	*ret = (struct hostconf){ .path = xasprintf("%s%s", root->path, path) };
	r = file_read(root, path, HOSTCONF_MAX, &ret->text, &len);
	ret->exists = r != -ENOENT;
	if (r < 0)
		ret->text = xstrdup("");
	if (r == -ENOENT)
		return 0;
	if (r == -EFBIG) {
		ret->unreadable = 1;
		diag_add(diag, ret->path, 0, NULL, "larger than %d KiB: not a configuration",
			 HOSTCONF_MAX / 1024);
		return 0;
	}
	if (r < 0)
		return r;
	if (strlen(ret->text) != len) {
		ret->unreadable = 1;
		diag_add(diag, ret->path, line_of_offset(ret->text, strlen(ret->text)), NULL,
			 "holds a NUL byte");
		return 0;
	}
	parse_text(ret, diag);
	return 0;
}

static int line_sets(const char *line, size_t n, const char *name)
{
	size_t len = strlen(name);

	return n > len && memcmp(line, name, len) == 0 && line[len] == '=';
}

void hostconf_edit(struct hostconf *hc, enum key_id id, const char *value)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	const char *name = keys[id].name;
	int done = value == NULL;

	for (const char *p = hc->text; *p;) {
		size_t n = strcspn(p, "\n");

		if (!line_sets(p, n, name)) {
			sb_addn(&sb, p, n);
			sb_addc(&sb, '\n');
		} else if (!done) {
			sb_addf(&sb, "%s=%s\n", name, value);
			done = 1;
		}
		p += n + (p[n] == '\n');
	}
	if (!done)
		sb_addf(&sb, "%s=%s\n", name, value);
	free(hc->text);
	hc->text = sb_steal(&sb);
	free(hc->value[id]);
	hc->value[id] = value ? xstrdup(value) : NULL;
}

int hostconf_save(const struct root *root, const struct hostconf *hc)
{
	struct file_spec spec = {
		.data = hc->text,
		.len = strlen(hc->text),
		.mode = 0600,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	int r = hc->unreadable ? -EBADMSG : root_mkdirs(root, "/etc/dstack", 0755);

	return r < 0 ? r : file_replace(root, HOSTCONF_PATH, &spec);
}

void hostconf_free(struct hostconf *hc)
{
	free(hc->path);
	free(hc->text);
	for (int i = 0; i < KEY_COUNT; i++)
		free(hc->value[i]);
	*hc = (struct hostconf){ 0 };
}
