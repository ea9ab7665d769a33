// SPDX-License-Identifier: Apache-2.0
/* Bytes: of file systems, of files, and as people write them. */
#pragma once

#include <stdint.h>

#include "base/macro.h"
#include "base/root.h"

struct disk {
	uint64_t size, available; /* to all but root */
};

/* The file system that `path` is on. 0 or -errno. */
int disk_look(const struct root *root, const char *path, struct disk *ret) _must_check_;
/* The sum of the regular files in a directory, not below it; 0 when it cannot be listed. */
uint64_t disk_files(const struct root *root, const char *path);
/* "98G", "1.0T", the caller's. */
char *disk_size_text(uint64_t bytes) _must_check_;
