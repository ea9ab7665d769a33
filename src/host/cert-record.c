// SPDX-License-Identifier: Apache-2.0
/* The records of leaves that have been found good. */
#include "host/cert-record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/strbuf.h"

#define RECORD_MAX 8192
#define PEM_MAX 65536
#define FORMAT "dstack-host 1\nnames %s\nuntil %lld\nlooked at %lld.%09ld\n"

static int is_before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

struct timespec cert_look_begins(void)
{
	struct timespec ts;

	/* The clock that file systems use; the precise one is ahead of it. */
	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return ts;
}

static int add_identity(const struct root *root, const char *path, struct timespec before,
			struct strbuf *out)
{
	_cleanup_close_ int fd = root_openat(root, path, O_PATH | O_NOFOLLOW, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || !is_before(st.st_ctim, before))
		return -ESTALE;
	sb_addf(out, "%s %u:%u %" PRIuMAX " %o %u:%u %lld %lld.%09ld %lld.%09ld\n", path,
		major(st.st_dev), minor(st.st_dev), (uintmax_t)st.st_ino, st.st_mode, st.st_uid,
		st.st_gid, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	return 0;
}

/* The record of how things are now; -ESTALE when a file has changed since `begun`. */
static int describe(const struct root *root, const char *leaf, const char *san,
		    time_t until, struct timespec begun, struct strbuf *out)
{
	const char *paths[] = { CERT_CA_KEY, CERT_CA_CRT, leaf };
	int r = 0;

	sb_addf(out, FORMAT, san, (long long)until, (long long)begun.tv_sec, begun.tv_nsec);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(paths); i++)
		r = add_identity(root, paths[i], begun, out);
	return r;
}

/* Are these the words of a record that still holds? The leaf was read before. */
static int holds(const struct root *root, const char *leaf, const char *san,
		 const char *record)
{
	_cleanup_strbuf_ struct strbuf now = { 0 };
	const char *times = strstr(record, "\nuntil ");
	struct timespec begun = { 0 };
	long long until, seconds;

	if (!times || sscanf(times, "\nuntil %lld\nlooked at %lld.%09ld\n", &until, &seconds,
			     &begun.tv_nsec) != 3)
		return 0;
	begun.tv_sec = (time_t)seconds;
	return time(NULL) < (time_t)until &&
	       describe(root, leaf, san, (time_t)until, begun, &now) == 0 &&
	       strcmp(now.data, record) == 0;
}

static int split(const char *pem, struct cert_pair *ret)
{
	const char *crt = strstr(pem, "-----BEGIN CERTIFICATE-----");

	if (!crt)
		return 0;
	ret->key = xstrndup(pem, (size_t)(crt - pem));
	ret->crt = xstrdup(crt);
	return 1;
}

int cert_recall(const struct root *root, const char *name, const char *san,
		struct cert_pair *ret)
{
	_cleanup_free_ char *leaf = xasprintf("%s/%s.pem", CERT_LEAF_DIR, name);
	_cleanup_free_ char *path = xasprintf("%s/%s.good", CERT_LEAF_DIR, name);
	_cleanup_free_ char *record = NULL, *pem = NULL;
	size_t len = 0;
	int good;

	/* In this order: a record that holds at the end held when the leaf was read. */
	if (file_read(root, path, RECORD_MAX, &record, NULL) < 0 ||
	    file_read(root, leaf, PEM_MAX, &pem, &len) < 0)
		return 0;
	good = holds(root, leaf, san, record) && split(pem, ret);
	explicit_bzero(pem, len);
	return good;
}

void cert_remember(const struct root *root, const char *name, const char *san, time_t until,
		   struct timespec begun)
{
	_cleanup_free_ char *leaf = xasprintf("%s/%s.pem", CERT_LEAF_DIR, name);
	_cleanup_free_ char *path = xasprintf("%s/%s.good", CERT_LEAF_DIR, name);
	_cleanup_strbuf_ struct strbuf text = { 0 };
	struct file_spec spec = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int r = describe(root, leaf, san, until, begun, &text);

	spec.data = text.data;
	spec.len = text.len;
	if (r == 0)
		r = file_replace(root, path, &spec);
	if (r >= 0 || r == -ESTALE)
		return;
	/* Without it the next run looks again. */
	log_debug("cannot write %s%s: %s", root->path, path, strerror(-r));
	if (file_remove(root, path) < 0)
		log_debug("cannot remove it either");
}
