// SPDX-License-Identifier: Apache-2.0
/* Foreign files that several checks look at (enum check_file). */
#pragma once

#include "host/check/check.h"

/* One half reads them all; how that ends is check_file()'s. */
void check_files_read(struct check_view *v);
void check_files_free(struct check_view *v);
/* One of them, and what reading it has come to: 0 or -errno. */
const struct foreign_file *check_file(const struct check_view *v, enum check_file id, int *error);
