// SPDX-License-Identifier: Apache-2.0
/* What the VMM keeps about virtual machines, read without asking it. */
#include "host/vmm/vmdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/peer/foreign.h"

struct machine_files {
	struct foreign_file *items; /* state and compose of each, in turn */
	size_t n;
};

static void add_file(struct machine_files *list, char *path,
		     void (*digest)(const struct peer_reply *, struct peer_emit *))
{
	list->items = xrealloc(list->items, (list->n + 1) * sizeof(*list->items));
	list->items[list->n++] = (struct foreign_file){ .path = path, .digest = digest };
}

static int list_machines(const struct root *root, const char *dir, struct machine_files *list)
{
	_cleanup_closedir_ DIR *d = root_opendir(root, dir);
	const struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || e->d_type == DT_REG)
			continue;
		add_file(list, xasprintf("%s/%s/vm-state.json", dir, e->d_name),
			 foreign_digest_state);
		add_file(list, xasprintf("%s/%s/shared/app-compose.json", dir, e->d_name),
			 foreign_digest_compose);
	}
	return 0;
}

/* A file that is not there says no, one that cannot be understood says yes. */
static int says(const struct foreign_file *file, const char *fact)
{
	if (file->error)
		return file->error != -ENOENT;
	return peer_get(&file->answer, fact) != NULL;
}

static int any_sealed(const struct root *root, const char *dir, int started)
{
	struct machine_files list = { 0 };
	int found = 0, r = list_machines(root, dir, &list);

	if (r == 0)
		r = foreign_read(root, list.items, list.n);
	for (size_t i = 0; r == 0 && i < list.n; i += 2)
		found |= (!started || says(&list.items[i], "started")) &&
			 says(&list.items[i + 1], "local-key");
	foreign_free(list.items, list.n);
	free(list.items);
	return r < 0 ? r : found;
}

int vmdir_needs_key_provider(const struct root *root, const char *dir)
{
	return any_sealed(root, dir, 1);
}

int vmdir_has_sealed(const struct root *root, const char *dir)
{
	return any_sealed(root, dir, 0);
}

int vmdir_sealed(const struct root *root, const char *dir, char ***ids, size_t *n)
{
	struct machine_files list = { 0 };
	int r = list_machines(root, dir, &list);

	*n = 0;
	*ids = xcalloc(list.n / 2 + 1, sizeof(**ids));
	if (r == 0)
		r = foreign_read(root, list.items, list.n);
	for (size_t i = 0; r == 0 && i < list.n; i += 2) {
		/* DIR/ID/vm-state.json */
		const char *id = list.items[i].path + strlen(dir) + 1;

		if (!list.items[i + 1].error && peer_get(&list.items[i + 1].answer, "local-key"))
			(*ids)[(*n)++] = xstrndup(id, strcspn(id, "/"));
	}
	foreign_free(list.items, list.n);
	free(list.items);
	return r;
}

void vmdir_names(const struct root *root, const char *dir, const char *const *ids, size_t n,
		 char **names)
{
	struct machine_files list = { 0 };
	int r;

	for (size_t i = 0; i < n; i++)
		add_file(&list, xasprintf("%s/%s/vm-manifest.json", dir, ids[i]),
			 foreign_digest_manifest);
	r = foreign_read(root, list.items, n);
	for (size_t i = 0; i < n; i++) {
		const struct foreign_file *file = &list.items[i];
		const char *name = r == 0 && !file->error ? peer_get(&file->answer, "name") : NULL;

		names[i] = name ? xstrdup(name) : NULL;
	}
	foreign_free(list.items, list.n);
	free(list.items);
}
