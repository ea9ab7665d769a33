// SPDX-License-Identifier: Apache-2.0
/* Looks through IMAGE_DIR and the manifests of virtual machines. */
#include "host/image/image-use.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/image/image-digest.h"
#include "host/image/image-stage.h"
#include "host/image/image-tar.h"
#include "host/image/image-verify.h"
#include "host/kms/kms.h"
#include "host/peer/foreign.h"
#include "host/render/vmm-toml.h"

#define REMOVED ".pull/.removed"

struct manifests {
	struct foreign_file *items;
	size_t n;
};

int image_is_name(const char *name)
{
	return tar_is_name(name);
}

static int list_machines(const struct root *root, const char *dir, struct manifests *list)
{
	_cleanup_closedir_ DIR *d = root_opendir(root, dir);
	const struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (errno = 0, (e = readdir(d))) {
		if (e->d_name[0] == '.' || e->d_type == DT_REG)
			continue;
		list->items = xrealloc(list->items, (list->n + 1) * sizeof(*list->items));
		list->items[list->n++] = (struct foreign_file){
			.path = xasprintf("%s/%s/vm-manifest.json", dir, e->d_name),
			.digest = foreign_digest_manifest,
		};
	}
	return -errno;
}

/* By its manifest; one without has never been a machine. */
static char *uses(const struct foreign_file *file, const char *name)
{
	const char *image = file->error ? NULL : peer_get(&file->answer, "image");

	if (file->error == -ENOENT)
		return NULL;
	if (!image)
		return xasprintf("perhaps a virtual machine: %s cannot be read", file->path);
	if (strcmp(image, name) != 0)
		return NULL;
	image = peer_get(&file->answer, "name");
	return xasprintf("the virtual machine %.60s (%s)", image ? image : "?", file->path);
}

int image_vm_user(const struct root *root, const struct settings *s, const char *name,
		  char **ret)
{
	_cleanup_free_ char *dir = vmm_dir(root, s);
	_cleanup_toml_ struct toml *own = NULL;
	struct manifests list = { 0 };
	struct toml_error error = { 0 };
	/* Where it cannot be read, vmm_dir() is a guess, and this is no place for one. */
	int r = operator_toml(root, &own, &error);

	if (r == 0)
		r = list_machines(root, dir, &list);
	*ret = NULL;
	if (r == 0)
		r = foreign_read(root, list.items, list.n);
	for (size_t i = 0; r == 0 && !*ret && i < list.n; i++)
		*ret = uses(&list.items[i], name);
	foreign_free(list.items, list.n);
	free(list.items);
	return r;
}

int image_user(const struct root *root, const struct settings *s, const char *name, char **ret)
{
	const char *version = setting(s, KEY_IMAGE_VERSION);
	struct kms_record kms = { 0 };
	int r = image_vm_user(root, s, name, ret);

	if (r < 0 || *ret)
		return r;
	if (strncmp(name, "dstack-", 7) == 0 && strcmp(name + 7, version) == 0) {
		*ret = xasprintf("IMAGE_VERSION=%s in the settings", version);
		return 0;
	}
	r = kms_record_load(root, &kms);
	if (r == -EBADMSG)
		*ret = xstrdup("perhaps the KMS: " KMS_RECORD " cannot be read");
	else if (r == 0 && strcmp(kms.image, name) == 0)
		*ret = xstrdup("the KMS, whose disk is sealed to it (" KMS_RECORD ")");
	kms_record_free(&kms);
	return r == -EBADMSG || r == KMS_NO_RECORD ? 0 : r;
}

static int is_image(int dir, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/metadata.json", name);

	return image_is_name(name) && faccessat(dir, path, F_OK, 0) == 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct installed_image *)a)->name,
		      ((const struct installed_image *)b)->name);
}

static int says_simulated(const struct root *root, const struct settings *s, const char *name)
{
	struct foreign_file file = {
		.path = xasprintf("%s/%s/metadata.json", setting(s, KEY_IMAGE_DIR), name),
		.digest = image_digest_metadata,
	};
	int r = foreign_read(root, &file, 1);

	r = r == 0 && !file.error && peer_get(&file.answer, "simulated");
	foreign_free(&file, 1);
	return r;
}

static int add_image(const struct root *root, const struct settings *s, const struct manifest *m,
		     int dir, struct installed_image *ret)
{
	const struct artifact *a = manifest_find(m, ret->name);
	_cleanup_close_ int fd = openat(dir, ret->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || image_read_digest(fd, ret->digest) < 0)
		*ret->digest = '\0';
	ret->known = a && *ret->digest && strcmp(a->digest, ret->digest) == 0;
	ret->fetchable = ret->known && a->n_urls;
	ret->simulated = !ret->known && says_simulated(root, s, ret->name);
	return image_user(root, s, ret->name, &ret->user);
}

int image_list(const struct root *root, const struct settings *s, const struct manifest *m,
	       struct image_list *ret)
{
	DIR *d = root_opendir(root, setting(s, KEY_IMAGE_DIR));
	const struct dirent *e;
	int r = 0;

	*ret = (struct image_list){ 0 };
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && (e = readdir(d))) {
		if (!is_image(dirfd(d), e->d_name))
			continue;
		ret->items = xrealloc(ret->items, (ret->n + 1) * sizeof(*ret->items));
		ret->items[ret->n] = (struct installed_image){ .name = xstrdup(e->d_name) };
		r = add_image(root, s, m, dirfd(d), &ret->items[ret->n++]);
	}
	closedir(d);
	if (ret->n)
		qsort(ret->items, ret->n, sizeof(*ret->items), compare);
	return r;
}

/* A machine may have been made since it was looked for: then it comes back. */
static int take_away(const struct root *root, const struct settings *s, int dir,
		     const char *name, char **user)
{
	int r = mkdirat(dir, ".pull", 0700) < 0 && errno != EEXIST ? -errno : 0;

	/* Of a removal that was cut short. */
	if (r == 0)
		r = stage_remove_dir(dir, REMOVED);
	if (r == -ENOENT)
		r = 0;
	if (r == 0 && renameat2(dir, name, dir, REMOVED, RENAME_NOREPLACE) < 0)
		return -errno;
	if (r == 0)
		r = image_user(root, s, name, user);
	if (r == 0 && !*user)
		return 0;
	if (renameat2(dir, REMOVED, dir, name, RENAME_NOREPLACE) < 0 && r == 0)
		r = -errno;
	return r < 0 ? r : 1;
}

int image_remove(const struct root *root, const struct settings *s, const char *name,
		 char **user)
{
	_cleanup_close_ int dir = root_openat(root, setting(s, KEY_IMAGE_DIR),
					      O_RDONLY | O_DIRECTORY, 0);
	int r = dir < 0 ? dir : image_user(root, s, name, user);

	if (r < 0 || *user)
		return r < 0 ? r : 1;
	if (!is_image(dir, name))
		return -ENOENT;
	r = take_away(root, s, dir, name, user);
	if (r)
		return r;
	if (fsync(dir) < 0)
		return -errno;
	r = stage_remove_dir(dir, REMOVED);
	unlinkat(dir, ".pull", AT_REMOVEDIR);
	return r;
}

void image_list_free(struct image_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->items[i].name);
		free(list->items[i].user);
	}
	free(list->items);
	*list = (struct image_list){ 0 };
}
