// SPDX-License-Identifier: Apache-2.0
/*
 * What the guest image's files hash to. Large ones would take longer than all other checks
 * together: they are read when somebody asks for it (`image pull`, `image verify`, `check --full`),
 * and that is true of them for as long as device, inode, size and both times stay what they were.
 */
#pragma once

#include "base/macro.h"
#include "base/root.h"
#include "host/conf/settings.h"
#include "host/sha256.h"

/* Lines "HASH DEVICE INODE SIZE MTIME CTIME PATH". */
#define IMAGE_RECORD "/var/lib/dstack/image-hashes"

enum { IMAGE_FILE_SMALL = 1 << 20 };
/* Outcome of image_hash(): large, and not read since it was changed. */
enum { IMAGE_UNREAD = 1 };

/* "IMAGE_DIR/dstack-VERSION", the caller's. */
char *image_directory(const struct settings *s) _must_check_;
/* The record, the caller's; NULL: there is none that can be read. */
char *image_record_load(const struct root *root) _must_check_;
/* 0, IMAGE_UNREAD or -errno. */
int image_hash(const struct root *root, const char *path, const char *record,
	       char ret[SHA256_HEX + 1]) _must_check_;
/* Reads every large file that the sha256sum.txt in `dir` lists, as long as it takes; what cannot
 * be read has no line afterwards. Lines of other images stay while they are true. 0 or -errno. */
int image_record_make(const struct root *root, const char *dir) _must_check_;
