// SPDX-License-Identifier: Apache-2.0
/* Between cmd-image.c and cmd-image-pull.c only. */
#pragma once

#include "cmd/cmd.h"
#include "host/conf/settings.h"
#include "host/image/image-manifest.h"

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

/* One image; `what` NULL: the one of the settings. */
int image_pull(const struct image_ctx *c, const struct pull_options *o, const char *what);
