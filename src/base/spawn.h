// SPDX-License-Identifier: Apache-2.0
/* Running another program: argv, no shell. */
#pragma once

#include "macro.h"

/* Runs argv[0] (looked up in PATH) with this program's stdin, stdout and stderr and waits.
 * Its exit status, 128+signal, or -errno when it could not be started. */
int spawn_wait(const char *const argv[]) _must_check_;
