// SPDX-License-Identifier: Apache-2.0
/* The operator's vmm.toml, which the VMM merges over the rendered one. */
#include "host/render/vmm-toml.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/render/render.h"

/* The VMM's own, for a run_path that is set and empty. */
#define VMM_HOME "/root/.dstack-vmm/vm"
/* Its working directory, by its unit. */
#define VMM_CWD "/run/dstack/vmm"

static int is_ours(const struct root *root)
{
	_cleanup_close_ int fd = root_openat(root, OPERATOR_TOML, O_PATH | O_NOFOLLOW, 0);
	char target[sizeof(RENDERED_TOML) + 1];
	ssize_t n = fd < 0 ? -1 : readlinkat(fd, "", target, sizeof(target));

	return n == (ssize_t)strlen(RENDERED_TOML) &&
	       memcmp(target, RENDERED_TOML, (size_t)n) == 0;
}

int vmm_toml_load(const struct root *root, const char *path, struct toml **ret,
		  struct toml_error *error)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = file_read(root, path, 1 << 20, &text, &len);

	*ret = NULL;
	if (r == -ENOENT)
		return 0;
	if (r == 0) {
		r = toml_parse(text, len, ret, error);
		explicit_bzero(text, len); /* it may hold a token */
	}
	return r;
}

int operator_toml(const struct root *root, struct toml **ret, struct toml_error *error)
{
	*ret = NULL;
	*error = (struct toml_error){ 0 };
	return is_ours(root) ? 0 : vmm_toml_load(root, OPERATOR_TOML, ret, error);
}

char *vmm_in_force(const struct root *root, const struct settings *s, const char *path,
		   enum key_id id)
{
	_cleanup_toml_ struct toml *own = NULL;
	struct toml_error error;
	const struct toml *value =
		operator_toml(root, &own, &error) == 0 ? toml_find(own, path) : NULL;

	if (value && value->type == TOML_STRING)
		return xstrdup(value->text);
	if (value && value->type == TOML_INTEGER)
		return xasprintf("%lld", (long long)value->integer);
	return xstrdup(setting(s, id));
}

char *vmm_dir(const struct root *root, const struct settings *s)
{
	_cleanup_free_ char *dir = vmm_in_force(root, s, "run_path", KEY_VM_DIR);

	if (!*dir)
		return xstrdup(VMM_HOME);
	return *dir == '/' ? steal_ptr(dir) : xasprintf(VMM_CWD "/%s", dir);
}
