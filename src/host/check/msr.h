// SPDX-License-Identifier: Apache-2.0
/* Model-specific registers of the first CPU: what the BIOS has set, as the CPU sees it. */
#pragma once

#include <stdint.h>

#include "base/macro.h"
#include "base/root.h"

enum msr {
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_MICROCODE = 0x8b,
	MSR_MKTME_PARTITIONING = 0x87,
	MSR_MCHECK = 0xa0,
	MSR_PLATFORM_INFO = 0xce,
	MSR_SGX_DEBUG_MODE = 0x503,
	MSR_TME_CAPABILITY = 0x981,
	MSR_TME_ACTIVATE = 0x982,
	MSR_SEAMRR_PHYS_MASK = 0x1401,
};

/* From the module msr's device; in a tree that is not a machine's, from a file
 * /dev/cpu/0/msr.d/0x982 that holds a number. 0, -ENOENT (no module), -EACCES, -EPERM, -EIO
 * (the CPU has no such register) or another -errno. */
int msr_read(const struct root *root, enum msr number, uint64_t *ret) _must_check_;
