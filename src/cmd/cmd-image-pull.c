// SPDX-License-Identifier: Apache-2.0
/* dstack-host image pull: what is meant, whether it is there already, and what came of it. */
#include "cmd/cmd-image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/parse.h"
#include "host/image/image-pull.h"
#include "host/image/image-use.h"
#include "host/image/image-verify.h"

struct wanted {
	struct artifact artifact; /* a copy */
	char *local;		  /* a file on this machine, or the URL that was named */
	int is_new;		  /* no manifest has it: it is recorded once it is verified */
};

/* --- what is meant --- */

static void copy_artifact(const struct artifact *from, struct artifact *to)
{
	*to = *from;
	to->name = xstrdup(from->name);
	to->version = xstrdup(from->version);
	to->full = xstrdup(from->full);
	to->urls = xcalloc(from->n_urls + 1, sizeof(*to->urls));
	for (size_t i = 0; i < from->n_urls; i++)
		to->urls[i] = xstrdup(from->urls[i]);
}

/* NAME-VERSION.tar.gz */
static int name_from_file(const char *file, struct artifact *a)
{
	static const char *const ends[] = { ".tar.gz", ".tgz" };
	size_t len = strlen(file);

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t n = strlen(ends[i]);

		if (len > n && strcmp(file + len - n, ends[i]) == 0)
			a->full = xstrndup(file, len - n);
		if (a->full)
			break;
	}
	for (const char *dash = a->full; dash && (dash = strchr(dash, '-')); dash++)
		if (dash > a->full && !check_version(dash + 1)) {
			a->name = xstrndup(a->full, (size_t)(dash - a->full));
			a->version = xstrdup(dash + 1);
			return image_is_name(a->full) ? 0 : -EINVAL;
		}
	return -EINVAL;
}

static int new_artifact(const struct pull_options *o, const char *source, struct wanted *w)
{
	struct artifact *a = &w->artifact;

	if (!o->digest) {
		log_error("no manifest knows %s; to trust it, name the digest (of its sha256sum.txt) "
			  "from its maker: --digest HEX", manifest_base(source));
		return EXIT_CONFIG;
	}
	if (name_from_file(manifest_base(source), a) < 0) {
		log_error("%s is not called NAME-VERSION.tar.gz", manifest_base(source));
		return EXIT_USAGE;
	}
	a->state = ARTIFACT_SUPPORTED;
	a->urls = xcalloc(2, sizeof(*a->urls));
	if (!check_url(source))
		a->urls[a->n_urls++] = xstrdup(source);
	w->is_new = 1;
	return EXIT_FINE;
}

static int find_by_name(const struct image_ctx *c, const char *what, struct wanted *w)
{
	const struct artifact *a = manifest_find(&c->manifest, what);

	if (!a) {
		log_error("no manifest knows an image %.64s (%s, %s); dstack-host image list shows "
			  "those that are known", what, ARTIFACTS_FILE, ARTIFACTS_DIR);
		return EXIT_CONFIG;
	}
	copy_artifact(a, &w->artifact);
	return EXIT_FINE;
}

/* The archive of the configured image, by the name that its URL has. */
static int find_in_dir(const struct image_ctx *c, const char *dir, struct wanted *w)
{
	int code = find_by_name(c, setting(&c->settings, KEY_IMAGE_VERSION), w);
	const struct artifact *a = &w->artifact;

	if (code == EXIT_FINE && a->n_urls)
		w->local = xasprintf("%s/%s", dir, manifest_base(a->urls[0]));
	else if (code == EXIT_FINE)
		w->local = xasprintf("%s/%s.tar.gz", dir, a->full);
	return code;
}

static int find(const struct image_ctx *c, const struct pull_options *o, const char *what,
		struct wanted *w)
{
	const struct artifact *a;
	struct stat st;
	int is_url;

	if (!what)
		return find_by_name(c, setting(&c->settings, KEY_IMAGE_VERSION), w);
	is_url = strstr(what, "://") != NULL;
	if (is_url && strncmp(what, "file:///", 8) != 0 && check_url(what))
		return cmd_usage_error(&cmd_image, "\"%.100s\" is no http, https or file URL", what);
	if (!is_url && stat(what, &st) < 0) {
		if (!strchr(what, '/'))
			return find_by_name(c, what, w);
		log_error("%s: %s", what, strerror(errno));
		return EXIT_FAILED;
	}
	if (!is_url && S_ISDIR(st.st_mode))
		return find_in_dir(c, what, w);
	w->local = xstrdup(what);
	a = manifest_find_file(&c->manifest, manifest_base(what));
	if (!a)
		return new_artifact(o, what, w);
	copy_artifact(a, &w->artifact);
	return EXIT_FINE;
}

static int take_digests(const struct pull_options *o, struct wanted *w)
{
	struct artifact *a = &w->artifact;

	if (o->digest && *a->digest && strcmp(o->digest, a->digest) != 0) {
		log_error("%s has the digest %s in its manifest, not %s", a->full, a->digest,
			  o->digest);
		return EXIT_CONFIG;
	}
	if (o->sha256 && *a->sha256 && strcmp(o->sha256, a->sha256) != 0) {
		log_error("%s has the SHA-256 %s in its manifest, not %s", a->full, a->sha256,
			  o->sha256);
		return EXIT_CONFIG;
	}
	if (o->digest)
		memcpy(a->digest, o->digest, sizeof(a->digest));
	if (o->sha256)
		memcpy(a->sha256, o->sha256, sizeof(a->sha256));
	if (a->state == ARTIFACT_VULNERABLE)
		log_warning("%s has known weaknesses; dstack-host image list shows others", a->full);
	return EXIT_FINE;
}

/* --- what is there --- */

static void say_kept(const char *images, const struct artifact *a, const char *user,
		     const char *own, const char *trouble)
{
	if (strcmp(own, a->digest) != 0)
		log_error("%s stays as it is: it is another image (digest %.64s), needed by %s, whose "
			  "sealed disk opens with the very same image only. The manifest's can come "
			  "when that machine is removed", a->full, *own ? own : "not readable", user);
	else
		log_error("%s stays as it is: it is needed by %s, and differs in what is measured "
			  "or in the list of it (%s). If that machine was first started with this very copy, its disk opens "
			  "with no other: leave it. If the copy went bad later, put it aside, keep it, "
			  "and bring the good one; machines that run go on: sudo mv %s/%s %s-kept-%s && "
			  "sudo dstack-host image pull %s", a->full, user, trouble, images, a->full,
			  images, a->full, a->full);
}

/* Nothing may take away from a machine what its sealed disk opens with; the very same bytes may
 * come in their place, even while it runs: QEMU keeps the files that it has open. */
static int may_replace(const struct image_ctx *c, const struct artifact *a, int say)
{
	const char *images = setting(&c->settings, KEY_IMAGE_DIR);
	_cleanup_free_ char *user = NULL, *trouble = NULL;
	_cleanup_free_ char *path = xasprintf("%s/%s", images, a->full);
	_cleanup_close_ int dir = root_openat(&c->ctx->root, path, O_RDONLY | O_DIRECTORY, 0);
	int r = image_vm_user(&c->ctx->root, &c->settings, a->full, &user);
	char own[SHA256_HEX + 1] = "";

	if (r < 0) {
		cmd_failed(r, "look which virtual machines need %s", a->full);
		return r;
	}
	if (!user || dir == -ENOENT)
		return 0;
	r = dir < 0 ? dir : image_verify_measured(dir, a->digest, &trouble);
	if (r < 0)
		cmd_failed(r, "look what of %s is measured", path);
	else if (r == 0 && say)
		log_info("%s is needed by %s: what is measured stays the same to the byte, so its "
			 "sealed disk opens as before; while it runs, it keeps the old files, and takes "
			 "the new ones when it is started again", a->full, user);
	if (r <= 0)
		return r;
	if (image_read_digest(dir, own) < 0)
		*own = '\0';
	say_kept(images, a, user, own, trouble);
	return -EBUSY;
}

/* A negative number: go on; else the exit code. */
static int look_at_old(const struct image_ctx *c, const struct pull_options *o,
		       const struct artifact *a)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", setting(&c->settings, KEY_IMAGE_DIR), a->full);
	_cleanup_close_ int dir = root_openat(&c->ctx->root, path, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_facts_ struct image_facts facts = { 0 };
	_cleanup_free_ char *trouble = NULL;
	int r;

	if (dir == -ENOENT)
		return -1;
	if (dir < 0)
		return cmd_failed(dir, "look at %s", path);
	if (o->missing) {
		log_info("%s is there", path);
		return EXIT_FINE;
	}
	r = image_verify(dir, a->digest, &facts, &trouble);
	if (r < 0)
		return cmd_failed(r, "verify %s", path);
	image_looked_at(c, path);
	if (r == 0) {
		log_info("%s is there and whole", path);
		pull_forget(&c->ctx->root, setting(&c->settings, KEY_IMAGE_DIR), a->full);
		return EXIT_FINE;
	}
	if (!o->replace) {
		log_error("%s is there, and is %s: %s; to put the right one in its place: sudo "
			  "dstack-host image pull --replace %s", path,
			  image_is_simulated(c, facts.simulated) ?
				  "simulated, made by dstack-host-sim" :
				  "not as the manifest has it", trouble, a->full);
		return EXIT_FAILED;
	}
	return may_replace(c, a, 1) < 0 ? EXIT_FAILED : -1;
}

/* --- what came of it --- */

struct before {
	const struct image_ctx *c;
	const struct artifact *a;
	int replace;
};

static int before_it_is_shown(void *arg)
{
	const struct before *b = arg;

	return b->replace ? may_replace(b->c, b->a, 0) : 0;
}

static int record(const struct image_ctx *c, struct wanted *w, const struct pull_result *res)
{
	struct artifact *a = &w->artifact;
	int r;

	memcpy(a->sha256, res->sha256, sizeof(a->sha256));
	a->size = res->size;
	a->unpacked = res->unpacked;
	r = manifest_record(&c->ctx->root, a);
	if (r < 0)
		return cmd_failed(r, "record what was verified in " ARTIFACTS_DIR);
	log_info("recorded in " ARTIFACTS_DIR "/%s.json", a->full);
	return EXIT_FINE;
}

static int fetch(const struct image_ctx *c, const struct pull_options *o, struct wanted *w)
{
	const struct artifact *a = &w->artifact;
	const char *const local[] = { w->local };
	struct before before = { c, a, o->replace };
	struct pull_request q = {
		.artifact = a,
		.images = setting(&c->settings, KEY_IMAGE_DIR),
		.sources = w->local ? local : (const char *const *)a->urls,
		.n_sources = w->local ? 1 : a->n_urls,
		.proxy = setting(&c->settings, KEY_PROXY),
		.no_proxy = setting(&c->settings, KEY_NO_PROXY),
		.stall_s = o->stall_s,
		.replace = o->replace,
		.before = before_it_is_shown,
		.arg = &before,
	};
	_cleanup_free_ char *path = xasprintf("%s/%s", q.images, a->full);
	struct pull_result res;
	enum pull_outcome outcome = pull_image(&c->ctx->root, &q, &res);
	_cleanup_free_ char *trouble = res.trouble;

	if (outcome == PULL_DONE) {
		if (res.resumed)
			log_info("%llu MiB were there from an earlier run",
				 (unsigned long long)(res.resumed >> 20));
		image_looked_at(c, path);
		log_info("%s is in %s: %llu MiB, digest %s", a->full, q.images,
			 (unsigned long long)(res.unpacked >> 20), a->digest);
		return w->is_new ? record(c, w, &res) : EXIT_FINE;
	}
	log_error("%s: %s%s", a->full, trouble,
		  outcome == PULL_URL ? "; what has come is kept, and the same command goes on" :
		  outcome == PULL_CONTENT ? "; nothing of it is kept: fetch it from elsewhere "
					    "(dstack-host image pull URL)" : "");
	return outcome == PULL_LOCKED ? EXIT_LOCKED : EXIT_FAILED;
}

int image_pull(const struct image_ctx *c, const struct pull_options *o, const char *what)
{
	struct wanted w = { 0 };
	int code = find(c, o, what, &w);

	if (code == EXIT_FINE)
		code = take_digests(o, &w);
	if (code == EXIT_FINE) {
		code = look_at_old(c, o, &w.artifact);
		if (code < 0)
			code = fetch(c, o, &w);
	}
	artifact_free(&w.artifact);
	free(w.local);
	return code;
}
