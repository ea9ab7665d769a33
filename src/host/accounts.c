// SPDX-License-Identifier: Apache-2.0
/* /etc/passwd and /etc/group through libc's parsers. */
#include "host/accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/strbuf.h"

/* NULL and errno when it cannot be opened. */
static FILE *open_file(const struct root *root, const char *path)
{
	int fd = root_openat(root, path, O_RDONLY | O_NONBLOCK, 0);
	FILE *f;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	f = fdopen(fd, "r");
	if (!f)
		out_of_memory();
	return f;
}

/* What a search that found nothing in f means: not there, or not readable to its end. */
static int close_file(FILE *f, int r)
{
	int error = errno;

	/* fgetgrent(3) and fgetpwent(3) then end as at the end of the file. */
	if (r < 0 && error == ENOMEM)
		out_of_memory();
	if (f && r < 0 && (ferror(f) || error == EIO))
		r = -(error ? error : EIO);
	else if (!f && error)
		r = -error;
	if (f)
		fclose(f);
	return r;
}

/* Any other errno of getgrnam(3) and getgrgid(3) may mean that there is none: see their
 * NOTES. */
static int is_failure(int error)
{
	return error == EINTR || error == EIO || error == EMFILE || error == ENFILE ||
	       error == ENOMEM;
}

static char *join_members(char *const *names)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	sb_addc(&sb, ' ');
	for (; names && *names; names++)
		sb_addf(&sb, "%s ", *names);
	return sb_steal(&sb);
}

static void take_group(const struct group *g, struct account *ret)
{
	*ret = (struct account){ .gid = g->gr_gid, .members = join_members(g->gr_mem) };
}

int group_lookup(const struct root *root, const char *name, struct account *ret)
{
	FILE *f = open_file(root, "/etc/group");
	const struct group *g;
	int r = -ENOENT;

	while (f && r < 0 && (errno = 0, g = fgetgrent(f)))
		if (strcmp(g->gr_name, name) == 0) {
			take_group(g, ret);
			r = 0;
		}
	r = close_file(f, r);
	/* A site may have it in its directory. */
	if (r != -ENOENT || !root_is_host(root))
		return r;
	errno = 0;
	g = getgrnam(name);
	if (g)
		take_group(g, ret);
	else if (is_failure(errno))
		return -errno;
	return g ? 0 : -ENOENT;
}

int user_lookup(const struct root *root, const char *name, struct account *ret)
{
	FILE *f = open_file(root, "/etc/passwd");
	const struct passwd *p;
	int r = -ENOENT;

	while (f && r < 0 && (errno = 0, p = fgetpwent(f)))
		if (strcmp(p->pw_name, name) == 0) {
			*ret = (struct account){ .uid = p->pw_uid, .gid = p->pw_gid };
			r = 0;
		}
	return close_file(f, r);
}

int group_name(const struct root *root, gid_t gid, char **ret)
{
	FILE *f = open_file(root, "/etc/group");
	const struct group *g;
	int r = -ENOENT;

	*ret = NULL;
	while (f && r < 0 && (errno = 0, g = fgetgrent(f)))
		if (g->gr_gid == gid) {
			*ret = xstrdup(g->gr_name);
			r = 0;
		}
	r = close_file(f, r);
	if (r != -ENOENT || !root_is_host(root))
		return r;
	errno = 0;
	g = getgrgid(gid);
	if (!g)
		return is_failure(errno) ? -errno : -ENOENT;
	*ret = xstrdup(g->gr_name);
	return 0;
}

/* 0, -ENOENT or -errno. */
static int gid_of_user(const struct root *root, gid_t gid)
{
	FILE *f = open_file(root, "/etc/passwd");
	const struct passwd *p;
	int r = -ENOENT;

	while (f && r < 0 && (errno = 0, p = fgetpwent(f)))
		if (p->pw_gid == gid || p->pw_uid == gid)
			r = 0;
	return close_file(f, r);
}

int group_free_gid(const struct root *root, gid_t *ret)
{
	/* From above, as groupadd --system does. */
	for (gid_t gid = FIRST_USER_GID - 1; gid >= 100; gid--) {
		_cleanup_free_ char *name = NULL;
		int r = group_name(root, gid, &name);

		if (r == -ENOENT)
			r = gid_of_user(root, gid);
		*ret = gid;
		if (r < 0)
			return r == -ENOENT ? 0 : r;
	}
	return -ENOSPC;
}

int account_has_member(const struct account *group, const char *user)
{
	_cleanup_free_ char *word = xasprintf(" %s ", user);

	return strstr(group->members, word) != NULL;
}

void account_free(struct account *a)
{
	free(a->members);
	*a = (struct account){ 0 };
}
