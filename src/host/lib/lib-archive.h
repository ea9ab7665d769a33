// SPDX-License-Identifier: Apache-2.0
/* libarchive, for who writes archives (bundle.c) or unpacks packages inside a jail (deb.c). */
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include "base/dl.h"

#define LIBARCHIVE_FUNCTIONS(X) \
	X(archive_entry_filetype) X(archive_entry_free) X(archive_entry_hardlink) \
	X(archive_entry_new) X(archive_entry_pathname) X(archive_entry_perm) \
	X(archive_entry_set_filetype) X(archive_entry_set_mtime) \
	X(archive_entry_set_pathname) X(archive_entry_set_perm) X(archive_entry_set_size) \
	X(archive_entry_symlink) X(archive_errno) X(archive_error_string) \
	X(archive_read_data) X(archive_read_free) X(archive_read_new) \
	X(archive_read_next_header) X(archive_read_open) X(archive_read_open_fd) \
	X(archive_read_support_filter_bzip2) X(archive_read_support_filter_gzip) \
	X(archive_read_support_filter_xz) X(archive_read_support_filter_zstd) \
	X(archive_read_support_format_ar) X(archive_read_support_format_tar) \
	X(archive_write_add_filter_gzip) X(archive_write_close) X(archive_write_data) \
	X(archive_write_free) X(archive_write_header) X(archive_write_new) \
	X(archive_write_open_fd) X(archive_write_set_format_ustar)

LIBARCHIVE_FUNCTIONS(DL_DECLARE)

int libarchive_load(void) _must_check_;
