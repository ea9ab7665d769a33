// SPDX-License-Identifier: Apache-2.0
/* The guest image's files, and the directories of virtual machines, beside what the VMM tells. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/check/check-files.h"
#include "host/check/checks-vmm.h"
#include "host/image/image-record.h"
#include "host/vmm/vmm.h"

/* --- image.files --- */

const struct outcome image_files_outcomes[] = {
	{ "complete", CHECK_OK },
	{ "no-list", CHECK_FAIL, "sha256sum.txt lists no files: the image is not a release's",
	  NULL },
	{ "lacks", CHECK_FAIL, "sha256sum.txt lists %s, which is not there", NULL },
	{ "differs", CHECK_FAIL, "%s is not the file that sha256sum.txt lists: it was changed",
	  NULL },
	{ "unreadable", CHECK_FAIL, "%s is there and cannot be read", NULL },
	{ "unverified", CHECK_WARN, "nobody knows whether they are as listed: %s. They are too "
	  "large for every look, and were not read since they came or were changed",
	  "sudo dstack-host check --full image.files" },
	{ "writable-share", CHECK_WARN,
	  "metadata.json has no \"shared_ro\": true: guests could write to what the host gives "
	  "them, and tell no boot progress", NULL },
	{ 0 },
};

/* A fact is "HASH NAME". */
static const char *judge_listed(const struct root *root, const char *dir,
				const struct peer_answer *list, struct strbuf *unread,
				struct verdict *r)
{
	_cleanup_free_ char *record = image_record_load(root);
	char own[SHA256_HEX + 1];
	size_t n = 0;

	for (size_t i = 0; i < list->n_facts; i++) {
		const char *hash = list->facts[i].value, *name = hash + SHA256_HEX + 1;
		_cleanup_free_ char *path = NULL;
		int e;

		if (strcmp(list->facts[i].key, "sum") != 0 || strlen(hash) < SHA256_HEX + 2)
			continue;
		n++;
		path = xasprintf("%s/%s", dir, name);
		e = image_hash(root, path, record, own);
		if (e == 0 && strncmp(own, hash, SHA256_HEX) == 0)
			continue;
		if (e == IMAGE_UNREAD) {
			sb_addf(unread, "%s%.60s", unread->len ? ", " : "", name);
			continue;
		}
		verdict_found(r, "%.60s: %s", name, e ? strerror(-e) : "another content");
		verdict_subject(r, "%.60s", name);
		if ((e == -EACCES || e == -EPERM) && geteuid() != 0)
			return SKIP_PRIVILEGE;
		return !e ? "differs" : e == -ENOENT ? "lacks" : "unreadable";
	}
	return n ? NULL : "no-list";
}

static void fix_of(const char *dir, const char *outcome, struct verdict *r)
{
	if (strcmp(outcome, "lacks") == 0)
		verdict_fix(r, "sudo dstack-host image pull --replace");
	else if (strcmp(outcome, "unverified") != 0)
		verdict_fix(r, "sudo dstack-host image verify %s", strrchr(dir, '/') + 1);
}

const char *eval_image_files(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *dir = image_directory(v->parts.settings);
	_cleanup_strbuf_ struct strbuf unread = { 0 };
	const char *outcome = NULL;
	int e, ignored;
	const struct foreign_file *sums = check_file(v, CHECK_FILE_IMAGE_SUMS, &e);
	const struct foreign_file *metadata = check_file(v, CHECK_FILE_IMAGE_METADATA, &ignored);

	if (e < 0 && e != -EBADMSG) {
		verdict_subject(r, "%s/sha256sum.txt: %s", dir, strerror(-e));
		outcome = SKIP_UNKNOWN;
	}
	if (!outcome)
		outcome = judge_listed(v->parts.root, dir, &sums->answer, &unread, r);
	if (!outcome) {
		verdict_found(r, unread.len ? "not verified: %s; the others are as listed" :
					      "all are as listed%s",
			      unread.len ? unread.data : "");
		verdict_subject(r, "%s", unread.len ? unread.data : "");
		outcome = !peer_get(&metadata->answer, "shared_ro") ? "writable-share" :
			  unread.len				   ? "unverified" :
								     NULL;
	}
	if (outcome)
		fix_of(dir, outcome, r);
	return outcome ? outcome : "complete";
}

/* --- vmm.images --- */

const struct outcome images_outcomes[] = {
	{ "listed", CHECK_OK },
	{ "missing", CHECK_FAIL, "the VMM does not offer %s: it skips what it cannot load without "
	  "a word", "sudo dstack-host check image image.files vmm.config" },
	{ "refused", CHECK_FAIL, "the VMM does not list its images: %s",
	  "sudo journalctl -b -e -u dstack-vmm.service" },
	{ 0 },
};

const char *eval_vmm_images(const struct check_view *v, struct verdict *r)
{
	const struct probe_result *result = &v->parts.probe[PROBE_VMM_IMAGES];
	_cleanup_free_ char *trouble = NULL;
	_cleanup_free_ char *wanted = xasprintf("dstack-%s",
						setting(v->parts.settings, KEY_IMAGE_VERSION));
	size_t n = 0;
	int there = 0;

	if (!probe_answered(result, 200, &trouble)) {
		verdict_found(r, "%s", trouble);
		verdict_subject(r, "%s", trouble);
		return "refused";
	}
	for (size_t i = 0; i < result->answer.n_facts; i++) {
		if (strcmp(result->answer.facts[i].key, "image") != 0)
			continue;
		n++;
		there |= strcmp(result->answer.facts[i].value, wanted) == 0;
	}
	verdict_found(r, there ? "%s, one of %zu" : "%s is not among %zu", wanted, n);
	verdict_subject(r, "%s", wanted);
	return there ? "listed" : "missing";
}

/* --- vmm.ghosts --- */

const struct outcome ghosts_outcomes[] = {
	{ "none", CHECK_OK },
	{ "unloaded", CHECK_WARN,
	  "the VMM could not load what is in these directories, and so neither shows nor starts "
	  "it: %s", "sudo journalctl -b -e -u dstack-vmm.service" },
	{ "ghost", CHECK_WARN,
	  "what is left in the VMM's memory of a creation that failed, until it is restarted: %s",
	  "sudo systemctl restart dstack-vmm" },
	{ 0 },
};

struct vms {
	struct vmm_vm *items;
	size_t n;
};

static void vms_free(struct vms *vms)
{
	vmm_list_free(vms->items, vms->n);
}

static int is_shown(const struct vms *vms, const char *id)
{
	for (size_t i = 0; i < vms->n; i++)
		if (strcmp(vms->items[i].id, id) == 0)
			return 1;
	return 0;
}

/* 0 or -errno. */
static int list_unloaded(const struct root *root, const char *path, const struct vms *vms,
			 struct strbuf *out)
{
	_cleanup_closedir_ DIR *dir = root_opendir(root, path);
	const struct dirent *e;

	if (!dir)
		return -errno;
	while ((e = readdir(dir)))
		if (vmm_is_id(e->d_name) && !is_shown(vms, e->d_name))
			sb_addf(out, "%s%s/%s", out->len ? ", " : "", path, e->d_name);
	return 0;
}

static void list_ghosts(const struct root *root, const char *path, const struct vms *vms,
			struct strbuf *out)
{
	for (size_t i = 0; i < vms->n; i++) {
		const struct vmm_vm *vm = &vms->items[i];
		_cleanup_free_ char *dir = xasprintf("%s/%s", path, vm->id);

		if (vmm_is_id(vm->id) && strcmp(vm->status, "stopped") == 0 &&
		    !root_exists(root, dir))
			sb_addf(out, "%s%.60s (%s)", out->len ? ", " : "", vm->name, vm->id);
	}
}

const char *eval_vmm_ghosts(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *dir = vmm_dir(v->parts.root, v->parts.settings);
	_cleanup_strbuf_ struct strbuf unloaded = { 0 }, ghosts = { 0 };
	_cleanup_(vms_free) struct vms vms = { 0 };
	const char *what;
	int e = vmm_list(&v->parts.probe[PROBE_VMM].answer, &vms.items, &vms.n);

	if (e == 0)
		e = list_unloaded(v->parts.root, dir, &vms, &unloaded);
	/* Before the first machine there is no directory. */
	if (e < 0 && e != -ENOENT) {
		verdict_subject(r, "%s: %s", dir, strerror(-e));
		return SKIP_UNKNOWN;
	}
	list_ghosts(v->parts.root, dir, &vms, &ghosts);
	what = unloaded.len ? unloaded.data : ghosts.data;
	if (!what)
		return "none";
	verdict_found(r, "%.300s", what);
	verdict_subject(r, "%.300s", what);
	return unloaded.len ? "unloaded" : "ghost";
}
