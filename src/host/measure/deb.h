// SPDX-License-Identifier: Apache-2.0
/* Packages as files: unpacked, never installed; their scripts are not even looked at. */
#pragma once

#include "base/macro.h"

/* Before a jail is made: nothing can be loaded in there. 0 or -errno. */
int deb_load(void) _must_check_;
/* In a jail: the files of the package that `fd` reads go below the directory `dir`. 0, or
 * -EBADMSG after writing why not to `err`. */
int deb_unpack(int fd, int dir, int err) _must_check_;
