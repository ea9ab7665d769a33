// SPDX-License-Identifier: Apache-2.0
/* What goes along with a bug report: the document, the journals' ends and the rendered files in
 * one archive, all without secrets. */
#pragma once

#include <jansson.h>

#include "base/strbuf.h"
#include "host/report/report.h"

/* 0 when there is no file at `path` (of this system, not below --root), or one that is regular
 * and this user's own; else -EEXIST or another -errno. NULL: 0. */
int bundle_may_write(const char *path) _must_check_;
/* Writes the archive (tar, gzip), mode 0600, in one step over what may be there; says in
 * `left_out`, a line each, what is not in it. 0 or -errno. */
int bundle_write(const char *path, const struct report_source *src, const json_t *doc,
		 struct strbuf *left_out) _must_check_;
