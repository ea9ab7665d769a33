// SPDX-License-Identifier: Apache-2.0
/* Running another program: argv, no shell. */
#pragma once

#include <stddef.h>

#include "macro.h"

/* Runs argv[0] (looked up in PATH) with this program's stdin, stdout and stderr and waits.
 * Its exit status, 128+signal, or -errno when it could not be started. */
int spawn_wait(const char *const argv[]) _must_check_;
/* Runs a program that is not trusted, argv[0] (a path), as nobody where this one is root: no
 * input, no environment, no new privileges. Its output goes to `ret`, which has `size` bytes
 * and is terminated; what is more is lost. Ended after `ms`. Its exit status, 128+signal,
 * -ETIMEDOUT or -errno. */
int spawn_stranger(const char *const argv[], unsigned ms, char *ret, size_t size) _must_check_;
