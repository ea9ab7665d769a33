// SPDX-License-Identifier: Apache-2.0
/* The files of a guest image, as its metadata.json names them; a half reads that. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/peer/foreign.h"
#include "host/json.h"
#include "host/measure/measure-config.h"

void measure_digest_image(const struct peer_reply *reply, struct peer_emit *emit)
{
	static const char *const names[] = { "bios", "kernel", "initrd", "cmdline" };
	json_t *doc = json_read(reply->body, reply->len, 0);

	if (!json_is_object(doc))
		peer_fact(emit, "bad", "not a JSON object");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = json_string_value(json_object_get(doc, names[i]));

		if (value)
			peer_fact(emit, names[i], value);
	}
	if (json_is_true(json_object_get(doc, "kernel_header_normalized")))
		peer_fact(emit, "normalized", "");
	json_decref(doc);
}

/* The name of a file beside metadata.json. */
static char *beside(const char *dir, const char *name)
{
	if (!name || !*name || strchr(name, '/') || strcmp(name, "..") == 0)
		return NULL;
	return xasprintf("%s/%s", dir, name);
}

static int take(const struct peer_answer *a, const char *dir, struct measure_config *c,
		char **trouble)
{
	char *firmware = beside(dir, peer_get(a, "bios"));
	char *kernel = beside(dir, peer_get(a, "kernel"));
	char *initrd = beside(dir, peer_get(a, "initrd"));
	const char *cmdline = peer_get(a, "cmdline");

	free(c->firmware);
	free(c->kernel);
	free(c->initrd);
	free(c->cmdline);
	c->firmware = firmware;
	c->kernel = kernel;
	c->initrd = initrd;
	c->cmdline = xstrdup(cmdline ? cmdline : "");
	c->normalized = peer_get(a, "normalized") != NULL;
	if (firmware && kernel && initrd)
		return 0;
	*trouble = xasprintf("%s/metadata.json names no %s beside it", dir,
			     !firmware ? "bios" : !kernel ? "kernel" : "initrd");
	return -EBADMSG;
}

char *config_image_dir(const char *image, const char *images)
{
	if (strchr(image, '/'))
		return xstrdup(image);
	return xasprintf("%s/%s", images, image);
}

int config_set_image(const struct root *root, const char *dir, struct measure_config *config,
		     char **trouble)
{
	_cleanup_free_ char *path = xasprintf("%s/metadata.json", dir);
	struct foreign_file file = { .path = path, .digest = measure_digest_image };
	int r = foreign_read(root, &file, 1);

	if (r == 0)
		r = file.error;
	if (r == 0)
		r = take(&file.answer, dir, config, trouble);
	else
		*trouble = xasprintf("%s: %s; an image is a directory with metadata.json", path,
				     r == -EBADMSG ? "is no such file" : strerror(-r));
	file.path = NULL;
	foreign_free(&file, 1);
	return r;
}

static char *metadata_beside(const char *kernel)
{
	const char *slash = kernel ? strrchr(kernel, '/') : NULL;

	return slash ? xasprintf("%.*s/metadata.json", (int)(slash - kernel), kernel) : NULL;
}

/* Does it speak of that kernel? */
static int is_of(const struct foreign_file *file, const char *kernel)
{
	const char *name = peer_get(&file->answer, "kernel");

	return name && strcmp(name, strrchr(kernel, '/') + 1) == 0;
}

void config_set_normalized(const struct root *root, struct measure_config **configs, size_t n)
{
	struct foreign_file *files = xcalloc(n + 1, sizeof(*files));
	size_t *file_of = xcalloc(n + 1, sizeof(*file_of)), n_files = 0;

	for (size_t i = 0; i < n; i++) {
		char *path = metadata_beside(configs[i]->kernel);
		size_t f = 0;

		while (path && f < n_files && strcmp(files[f].path, path) != 0)
			f++;
		file_of[i] = path ? f : SIZE_MAX;
		if (path && f == n_files)
			files[n_files++] = (struct foreign_file){
				.path = steal_ptr(path), .digest = measure_digest_image,
			};
		free(path);
	}
	/* Without it an image is of before 0.6, which has none. */
	if (n_files && foreign_read(root, files, n_files) < 0)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		const struct foreign_file *f = file_of[i] < n_files ? &files[file_of[i]] : NULL;

		if (f && f->error == 0 && peer_get(&f->answer, "normalized") &&
		    is_of(f, configs[i]->kernel))
			configs[i]->normalized = 1;
	}
	foreign_free(files, n_files);
	free(files);
	free(file_of);
}
