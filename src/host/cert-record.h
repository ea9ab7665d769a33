// SPDX-License-Identifier: Apache-2.0
/*
 * What has been found good is not looked at again while nobody has touched it: the record of
 * a leaf holds its names, until when it and its CA are good, and of each of the three files
 * what changes with every write (inode, size, times; no program can set a ctime). So the
 * frequent case needs no libcrypto, which alone takes several times the memory of the rest.
 */
#pragma once

#include <time.h>

#include "base/root.h"
#include "host/cert.h"

/* 1 and the pair, when the record says that it is good; else 0 and it must be looked at. */
int cert_recall(const struct root *root, const char *name, const char *san,
		struct cert_pair *ret);
/* When a look begins: later changes have a ctime that is not before it. */
struct timespec cert_look_begins(void);
/* All three files are good until then, by a look that began at `begun`. What has changed
 * since is recorded by a later look. The caller holds the lock. */
void cert_remember(const struct root *root, const char *name, const char *san, time_t until,
		   struct timespec begun);
