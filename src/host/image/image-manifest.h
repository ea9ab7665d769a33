// SPDX-License-Identifier: Apache-2.0
/*
 * What may be brought onto a host: /usr/share/dstack-host/artifacts.json, and the files of
 * operators in /etc/dstack/artifacts.d, by name, of which a later one wins. Both are root's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/root.h"
#include "host/sha256.h"

#define ARTIFACTS_FILE "/usr/share/dstack-host/artifacts.json"
#define ARTIFACTS_DIR "/etc/dstack/artifacts.d"

enum artifact_kind { ARTIFACT_IMAGE, ARTIFACT_BINARY, ARTIFACT_CONTAINER, ARTIFACT_DEB };
enum artifact_state { ARTIFACT_REFERENCE, ARTIFACT_SUPPORTED, ARTIFACT_VULNERABLE };

struct artifact {
	char *name, *version;
	char *full; /* NAME-VERSION: an image's directory */
	enum artifact_kind kind;
	enum artifact_state state;
	uint64_t size, unpacked; /* 0: not known */
	char sha256[SHA256_HEX + 1]; /* of the archive; "": not known */
	char digest[SHA256_HEX + 1]; /* of an image's sha256sum.txt; "": not known */
	char **urls;
	size_t n_urls;
};

struct manifest {
	struct artifact *items;
	size_t n;
	struct diag diag; /* what is wrong in the files; such entries are left out */
};

/* 0 or -errno; files that are not there are none. */
int manifest_load(const struct root *root, struct manifest *ret) _must_check_;
/* One file's text. */
void manifest_read(struct manifest *m, const char *file, const char *text, size_t len);
/* By NAME-VERSION, or by VERSION where NAME is "dstack"; NULL: none. */
const struct artifact *manifest_find(const struct manifest *m, const char *what);
/* By the name of a URL's last part. */
const struct artifact *manifest_find_file(const struct manifest *m, const char *file);
/* Takes over `a`. */
void manifest_add(struct manifest *m, struct artifact *a);
/* Writes ARTIFACTS_DIR/NAME-VERSION.json durably. 0, FILE_UNCHANGED or -errno. */
int manifest_record(const struct root *root, const struct artifact *a) _must_check_;
/* The file name in a URL or a path. */
const char *manifest_base(const char *url);
const char *artifact_state_name(enum artifact_state state);
void artifact_free(struct artifact *a);
void manifest_free(struct manifest *m);

#define _cleanup_manifest_ _cleanup_(manifest_free)
