// SPDX-License-Identifier: Apache-2.0
/* What the VMM is configured with: the operator's own file where there is one wins. */
#pragma once

#include "base/root.h"
#include "host/conf/settings.h"
#include "host/tomlread.h"

/* A file of either kind; *ret NULL: there is none. 0, -EBADMSG with *error, or -errno. */
int vmm_toml_load(const struct root *root, const char *path, struct toml **ret,
		  struct toml_error *error) _must_check_;
/* The operator's file; *ret NULL: there is none, or it is ours. Else as above. */
int operator_toml(const struct root *root, struct toml **ret, struct toml_error *error)
	_must_check_;
/* A text or number in force: the operator's, else the setting; the caller's. */
char *vmm_in_force(const struct root *root, const struct settings *s, const char *path,
		   enum key_id id) _must_check_;
/* Where the VMM keeps its machines, the caller's. Nothing else looks for them at VM_DIR. */
char *vmm_dir(const struct root *root, const struct settings *s) _must_check_;
