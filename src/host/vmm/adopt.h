// SPDX-License-Identifier: Apache-2.0
/*
 * A VMM and supervisor that somebody has put in /usr/local/bin become this host's: copied, so
 * that what is built there later changes nothing here.
 */
#pragma once

#include "base/root.h"

#define ADOPT_FROM "/usr/local/bin"

/* Is there a pair to be adopted, and are there no programs yet? */
int adopt_possible(const struct root *root);
/* Copies both to PROGRAMS_DIR/VERSION and makes `current` lead there. Whatever happens, there
 * is no half of a pair. 0, or -errno with *trouble, the caller's, where there is more to say. */
int adopt_pair(const struct root *root, char **trouble) _must_check_;
