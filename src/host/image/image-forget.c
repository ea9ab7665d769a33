// SPDX-License-Identifier: Apache-2.0
/* What pulls that nobody went on with have left. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "host/image/image-pull.h"
#include "host/image/image-stage.h"

int pull_forget(const struct root *root, const char *images, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/.pull/%s", images, name);
	struct stage s;
	int r;

	if (!root_exists(root, path) || hash_load() < 0 || stage_open(root, images, name, &s) < 0)
		return 0;
	r = stage_clear(&s);
	if (r < 0)
		log_warning("cannot remove what is left in %s", path);
	stage_close(&s);
	return r == 0;
}

char *pull_forget_all(const struct root *root, const char *images)
{
	_cleanup_free_ char *path = xasprintf("%s/.pull", images);
	int fd = root_openat(root, path, O_RDONLY | O_DIRECTORY, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct strbuf names = { 0 };
	const struct dirent *e;

	closep(d ? &(int){ -1 } : &fd);
	while (d && (e = readdir(d)))
		if (tar_is_name(e->d_name) && pull_forget(root, images, e->d_name))
			sb_addf(&names, "%s\n", e->d_name);
	if (d)
		closedir(d);
	return sb_steal(&names);
}
