// SPDX-License-Identifier: Apache-2.0
/* dstack-host image: guest images, from their source to where the VMM finds them, and away. */
#include "cmd/cmd-image.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/parse.h"
#include "host/image/image-hash.h"
#include "host/image/image-pull.h"
#include "host/image/image-record.h"
#include "host/image/image-use.h"
#include "host/image/image-verify.h"
#include "host/json.h"
#include "host/part/parts.h"

enum { STALL_S = 60, STALL_S_MAX = 3600 };

struct options {
	int json, dry_run;
	struct pull_options pull;
};

/* --- list --- */

/* Where nothing is simulated, an image that says so is as wrong as any other. */
int image_is_simulated(const struct image_ctx *c, int says_so)
{
	return says_so && root_exists(&c->ctx->root, SIM_DEFAULTS);
}

static const char *state_of(const struct image_ctx *c, const struct installed_image *i)
{
	const struct artifact *a = manifest_find(&c->manifest, i->name);

	return image_is_simulated(c, i->simulated) ? "simulated" :
	       !a ? "unknown" : i->known ? artifact_state_name(a->state) : "another one";
}

static json_t *image_json(const struct image_ctx *c, const struct installed_image *i)
{
	json_t *obj = json_pack("{ss ss ss}", "name", i->name, "state", state_of(c, i), "digest",
				i->digest);

	json_object_set_new(obj, "user", i->user ? json_string(i->user) : json_null());
	return obj;
}

static int is_installed(const struct image_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->items[i].name, name) == 0)
			return 1;
	return 0;
}

static void list_json(const struct image_ctx *c, const struct image_list *l)
{
	json_t *there = json_array(), *known = json_array();
	struct strbuf out = { 0 };

	for (size_t i = 0; i < l->n; i++)
		json_push(there, image_json(c, &l->items[i]));
	for (size_t i = 0; i < c->manifest.n; i++)
		if (c->manifest.items[i].kind == ARTIFACT_IMAGE)
			json_push(known, json_string(c->manifest.items[i].full));
	json_write(&out, json_pack("{so so}", "images", there, "known", known));
	fputs(out.data, stdout);
	sb_free(&out);
}

static int list(const struct image_ctx *c, const struct options *o)
{
	_cleanup_image_list_ struct image_list l = { 0 };
	int r = image_list(&c->ctx->root, &c->settings, &c->manifest, &l);

	if (r < 0)
		return cmd_failed(r, "list the images in %s", setting(&c->settings, KEY_IMAGE_DIR));
	if (o->json) {
		list_json(c, &l);
		return EXIT_FINE;
	}
	for (size_t i = 0; i < l.n; i++)
		printf("%-20s %-11s %.16s  %s%s\n", l.items[i].name, state_of(c, &l.items[i]),
		       *l.items[i].digest ? l.items[i].digest : "no digest",
		       l.items[i].user ? "needed by " : "needed by nobody",
		       l.items[i].user ? l.items[i].user : "");
	for (size_t i = 0; i < c->manifest.n; i++) {
		const struct artifact *a = &c->manifest.items[i];

		if (a->kind == ARTIFACT_IMAGE && !is_installed(&l, a->full))
			printf("%-20s %-11s %.16s  not here: sudo dstack-host image pull %s\n",
			       a->full, artifact_state_name(a->state), a->digest, a->full);
	}
	return EXIT_FINE;
}

/* --- verify --- */

void image_looked_at(const struct image_ctx *c, const char *path)
{
	int r = image_record_make(&c->ctx->root, path);

	/* Who is not root may look, and leaves no word. */
	if (r < 0 && r != -EACCES && r != -EPERM)
		log_warning(IMAGE_RECORD ": %s; check will not know that %s was looked at: "
			    "sudo dstack-host check --full image.files", strerror(-r), path);
}

int image_verify_simulated(const struct image_ctx *c, int dir, int r, struct image_facts *facts,
			   char **trouble)
{
	if (r != 1 || !image_is_simulated(c, facts->simulated))
		return r;
	free(*trouble);
	image_facts_free(facts);
	return image_verify(dir, NULL, facts, trouble);
}

static int say_damage(const char *path, const struct artifact *a, int simulated,
		      const char *trouble)
{
	if (simulated)
		log_error("%s, simulated, is not whole: %s; to make it again: sudo systemctl "
			  "restart dstack-sim-image", path, trouble);
	else if (!a)
		log_error("%s is not whole: %s; no manifest knows it: bring it again from its maker "
			  "(dstack-host image pull FILE --digest HEX --replace)", path, trouble);
	else
		log_error("%s is not as it should be: %s; to bring it again (virtual machines run "
			  "on): sudo dstack-host image pull --replace %s", path, trouble, a->full);
	return EXIT_FAILED;
}

static void say_whole(const char *name, const struct image_facts *facts, const struct artifact *a)
{
	int other = a && strcmp(a->digest, facts->digest) != 0;
	int small = facts->bytes < 1 << 20;

	printf("%-20s whole, %llu %s, digest %s%s\n", name,
	       (unsigned long long)(facts->bytes >> (small ? 10 : 20)), small ? "KiB" : "MiB",
	       facts->digest,
	       other ? " (simulated: made by dstack-host-sim, boots nothing)" :
	       a     ? "" :
		       " (no manifest knows it: whole, but of unknown origin)");
}

static int verify_one(const struct image_ctx *c, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", setting(&c->settings, KEY_IMAGE_DIR), name);
	_cleanup_close_ int dir = root_openat(&c->ctx->root, path, O_RDONLY | O_DIRECTORY, 0);
	const struct artifact *a = manifest_find(&c->manifest, name);
	_cleanup_facts_ struct image_facts facts = { 0 };
	_cleanup_free_ char *trouble = NULL;
	int r;

	if (dir == -ENOENT) {
		log_error("there is no image %s in %s; dstack-host image list shows those that are "
			  "there", name, setting(&c->settings, KEY_IMAGE_DIR));
		return EXIT_FAILED;
	}
	if (dir < 0)
		return cmd_failed(dir, "open %s", path);
	r = image_verify(dir, a ? a->digest : NULL, &facts, &trouble);
	r = image_verify_simulated(c, dir, r, &facts, &trouble);
	if (r < 0)
		return cmd_failed(r, "verify %s", path);
	image_looked_at(c, path);
	if (r)
		return say_damage(path, a, image_is_simulated(c, facts.simulated), trouble);
	say_whole(name, &facts, a);
	if (facts.unbound)
		log_warning("%s/%s: no digest of the image tells anything of this file", path,
			    facts.unbound);
	return EXIT_FINE;
}

static int verify(const struct image_ctx *c, char *names[], int n)
{
	_cleanup_image_list_ struct image_list l = { 0 };
	int code = EXIT_FINE;
	int r = n ? 0 : image_list(&c->ctx->root, &c->settings, &c->manifest, &l);

	if (r < 0)
		return cmd_failed(r, "list the images in %s", setting(&c->settings, KEY_IMAGE_DIR));
	for (int i = 0; i < n; i++)
		if (!image_is_name(names[i]))
			return cmd_usage_error(&cmd_image, "\"%.64s\" is no name of an image", names[i]);
	if (!n && !l.n) {
		log_error("there is no image in %s; to bring the one of the settings: sudo dstack-host "
			  "image pull", setting(&c->settings, KEY_IMAGE_DIR));
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < (n ? (size_t)n : l.n); i++)
		if (verify_one(c, n ? names[i] : l.items[i].name) != EXIT_FINE)
			code = EXIT_FAILED;
	return code;
}

/* --- rm, gc --- */

static int remove_one(const struct image_ctx *c, const char *name)
{
	_cleanup_free_ char *user = NULL;
	int r = image_remove(&c->ctx->root, &c->settings, name, &user);

	if (r == -ENOENT)
		log_error("there is no image %s in %s", name, setting(&c->settings, KEY_IMAGE_DIR));
	else if (r < 0)
		cmd_failed(r, "remove %s from %s", name, setting(&c->settings, KEY_IMAGE_DIR));
	else if (r)
		log_error("%s stays: it is needed by %s", name, user);
	else
		log_info("%s is removed", name);
	return r ? EXIT_FAILED : EXIT_FINE;
}

static int rm(const struct image_ctx *c, char *names[], int n)
{
	_cleanup_close_ int lock = -1;
	int code;

	if (n == 0)
		return cmd_usage_error(&cmd_image, "rm NAME...");
	for (int i = 0; i < n; i++)
		if (!image_is_name(names[i]))
			return cmd_usage_error(&cmd_image, "\"%.64s\" is no name of an image", names[i]);
	code = cmd_lock(c->ctx, &lock);
	for (int i = 0; i < n && (code == EXIT_FINE || code == EXIT_FAILED) && lock >= 0; i++)
		if (remove_one(c, names[i]) != EXIT_FINE)
			code = EXIT_FAILED;
	return code;
}

static void gc_pulls(const struct image_ctx *c)
{
	_cleanup_free_ char *names = pull_forget_all(&c->ctx->root,
						     setting(&c->settings, KEY_IMAGE_DIR));

	for (char *at = names, *end; (end = strchr(at, '\n')); at = end + 1)
		printf("%-20.*s what a pull has left is removed\n", (int)(end - at), at);
}

/* What nobody needs and what a pull brings again, and nothing else. */
static int gc(const struct image_ctx *c, const struct options *o)
{
	_cleanup_image_list_ struct image_list l = { 0 };
	_cleanup_close_ int lock = -1;
	int r, code = o->dry_run ? EXIT_FINE : cmd_lock(c->ctx, &lock);

	if (code != EXIT_FINE)
		return code;
	r = image_list(&c->ctx->root, &c->settings, &c->manifest, &l);
	if (r < 0)
		return cmd_failed(r, "list the images in %s", setting(&c->settings, KEY_IMAGE_DIR));
	for (size_t i = 0; i < l.n; i++) {
		const struct installed_image *image = &l.items[i];

		if (image->user)
			printf("%-20s stays: needed by %s\n", image->name, image->user);
		else if (!image->fetchable)
			printf("%-20s stays: no manifest could bring it again (image rm %s)\n",
			       image->name, image->name);
		else if (o->dry_run)
			printf("%-20s would be removed\n", image->name);
		else if (remove_one(c, image->name) != EXIT_FINE)
			code = EXIT_FAILED;
	}
	if (!o->dry_run)
		gc_pulls(c);
	return code;
}

/* --- all --- */

static int load(struct image_ctx *c)
{
	int hidden, r = parts_settings(&c->ctx->root, &c->settings, &hidden);

	if (r < 0)
		return cmd_failed(r, "read the settings");
	r = manifest_load(&c->ctx->root, &c->manifest);
	if (r < 0)
		return cmd_failed(r, "read " ARTIFACTS_FILE " and " ARTIFACTS_DIR);
	diag_print(&c->manifest.diag);
	return EXIT_FINE;
}

static int dispatch(const struct image_ctx *c, const struct options *o, int argc, char *argv[])
{
	const char *verb = argc ? argv[0] : "";

	if (strcmp(verb, "list") == 0 && argc == 1)
		return list(c, o);
	if (strcmp(verb, "pull") == 0 && argc <= 2)
		return image_pull(c, &o->pull, argc == 2 ? argv[1] : NULL);
	if (strcmp(verb, "verify") == 0)
		return verify(c, argv + 1, argc - 1);
	if (strcmp(verb, "rm") == 0)
		return rm(c, argv + 1, argc - 1);
	if (strcmp(verb, "gc") == 0 && argc == 1)
		return gc(c, o);
	return cmd_usage_error(&cmd_image, "one of list, pull, verify, rm, gc");
}

static int is_hash(const char *hex)
{
	unsigned char hash[HASH_LEN];

	return hash_parse(hex, hash) == 0;
}

/* A negative number, or the exit code when all is said. */
static int parse(int argc, char *argv[], struct options *o)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },	  { "dry-run", no_argument, NULL, 'n' },
		{ "replace", no_argument, NULL, 'r' },	  { "missing", no_argument, NULL, 'm' },
		{ "digest", required_argument, NULL, 'd' }, { "sha256", required_argument, NULL, 's' },
		{ "timeout", required_argument, NULL, 't' }, { "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	uint64_t seconds = STALL_S;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			cmd_help(&cmd_image);
			return EXIT_FINE;
		}
		if (c == '?')
			return EXIT_USAGE;
		if ((c == 'd' || c == 's') && !is_hash(optarg))
			return cmd_usage_error(&cmd_image, "a digest has 64 digits, 0-9 and a-f");
		if (c == 't' && parse_uint(optarg, 1, STALL_S_MAX, &seconds))
			return cmd_usage_error(&cmd_image, "--timeout takes 1 to %d seconds", STALL_S_MAX);
		o->json |= c == 'j';
		o->dry_run |= c == 'n';
		o->pull.replace |= c == 'r';
		o->pull.missing |= c == 'm';
		o->pull.digest = c == 'd' ? optarg : o->pull.digest;
		o->pull.sha256 = c == 's' ? optarg : o->pull.sha256;
	}
	o->pull.stall_s = (unsigned)seconds;
	return -1;
}

static int run(const struct cmd_ctx *ctx, int argc, char *argv[])
{
	struct image_ctx c = { .ctx = ctx };
	struct options o = { 0 };
	int code = parse(argc, argv, &o);

	if (code >= 0)
		return code;
	code = load(&c);
	if (code == EXIT_FINE)
		code = dispatch(&c, &o, argc - optind, argv + optind);
	manifest_free(&c.manifest);
	settings_free(&c.settings);
	return code;
}

const struct command cmd_image = {
	.name = "image",
	.usage = "list [--json] | pull [NAME|VERSION|URL|FILE|DIR] [--digest HEX] [--sha256 HEX]\n"
		 "       [--replace] [--missing] [--timeout SECONDS] | verify [NAME...] | rm NAME... |\n"
		 "       gc [--dry-run]\n"
		 "  list    what is here and who needs it; what is known and not here\n"
		 "  pull    fetches, verifies, shows it to the VMM; without a word the one of IMAGE_VERSION\n"
		 "          --replace: in the place of a damaged one; a machine's sealed disk still opens\n"
		 "  verify  looks at every byte of all images, or of those named; exit 1: one is not whole\n"
		 "  rm, gc  keep what a virtual machine, the settings or the KMS need; gc removes only what\n"
		 "          pull could bring again",
	.summary = "Brings guest images onto this host, verifies and removes them.",
	.run = run,
};
