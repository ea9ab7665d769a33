// SPDX-License-Identifier: Apache-2.0
/* One writer at a time: every verb that changes the host holds this lock. */
#pragma once

#include "macro.h"
#include "root.h"

/* Waits at most `seconds` for the lock below root; it is held until *ret_fd is closed.
 * 0, -EAGAIN when another process kept it, or -errno. */
int lock_take(const struct root *root, unsigned seconds, int *ret_fd) _must_check_;
