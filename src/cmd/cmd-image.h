// SPDX-License-Identifier: Apache-2.0
/* Between cmd-image.c and cmd-image-pull.c only. */
#pragma once

#include "cmd/cmd.h"
#include "host/conf/settings.h"
#include "host/image/image-manifest.h"
#include "host/image/image-verify.h"

struct image_ctx {
	const struct cmd_ctx *ctx;
	struct settings settings;
	struct manifest manifest;
};

struct pull_options {
	int replace, missing;
	const char *digest, *sha256;
	unsigned stall_s;
};

/* The image in `path` has been looked at to the last byte: so `check` need not. */
void image_looked_at(const struct image_ctx *c, const char *path);
/* Of an image of which metadata.json says so. */
int image_is_simulated(const struct image_ctx *c, int says_so);
/* Made by dstack-host-sim, on a host that has it: no manifest's, and not wrong for that. As
 * image_verify(), which has said `r`. */
int image_verify_simulated(const struct image_ctx *c, int dir, int r, struct image_facts *facts,
			   char **trouble) _must_check_;
/* One image; `what` NULL: the one of the settings. */
int image_pull(const struct image_ctx *c, const struct pull_options *o, const char *what);
