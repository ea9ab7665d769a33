// SPDX-License-Identifier: Apache-2.0
/* ISA-L's inflate, for the half that unpacks images (image-unpack.c). */
#pragma once

#include <isa-l/igzip_lib.h>

#include "base/dl.h"

#define LIBISAL_FUNCTIONS(X) X(isal_inflate) X(isal_inflate_init) X(isal_inflate_reset)

LIBISAL_FUNCTIONS(DL_DECLARE)

int libisal_load(void) _must_check_;
