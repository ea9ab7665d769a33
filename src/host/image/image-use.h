// SPDX-License-Identifier: Apache-2.0
/* The images that are installed, and who needs them. */
#pragma once

#include <stddef.h>

#include "base/root.h"
#include "host/conf/settings.h"
#include "host/image/image-manifest.h"
#include "host/sha256.h"

struct installed_image {
	char *name;
	char digest[SHA256_HEX + 1]; /* as its digest.txt says; "": it says none */
	char *user;		     /* one who needs it; NULL: nobody */
	int known;		     /* a manifest has it, with this digest */
	int fetchable;		     /* and tells from where */
	int simulated;		     /* none has it, and dstack-host-sim says to have made it */
};

struct image_list {
	struct installed_image *items; /* by name */
	size_t n;
};

/* Who needs image `name`: a virtual machine, the settings, the deployed KMS. *ret is the
 * caller's, NULL: nobody. A machine whose manifest cannot be read may need any. 0 or -errno. */
int image_user(const struct root *root, const struct settings *s, const char *name, char **ret)
	_must_check_;
/* The same of virtual machines alone. */
int image_vm_user(const struct root *root, const struct settings *s, const char *name,
		  char **ret) _must_check_;
/* Directories in IMAGE_DIR with a metadata.json. 0 or -errno. */
int image_list(const struct root *root, const struct settings *s, const struct manifest *m,
	       struct image_list *ret) _must_check_;
/* Takes it away in one step, then removes its files. 0; 1: somebody needs it, *user says who;
 * or -errno. */
int image_remove(const struct root *root, const struct settings *s, const char *name,
		 char **user) _must_check_;
/* Is it the name of a directory in IMAGE_DIR? */
int image_is_name(const char *name);
void image_list_free(struct image_list *list);

#define _cleanup_image_list_ _cleanup_(image_list_free)
