// SPDX-License-Identifier: Apache-2.0
/* SMBIOS: which memory slots are filled. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

#define DMI_TABLE "/sys/firmware/dmi/tables/DMI"
#define DMI_TABLE_MAX (1 << 20)
#define DMI_ARRAYS_MAX 32

/* Slots of one memory array, which with most vendors is a socket's. */
struct dmi_array {
	uint16_t handle;
	unsigned slots, filled;
	uint64_t mb; /* of those whose size is known */
};

struct dmi_memory {
	struct dmi_array array[DMI_ARRAYS_MAX];
	size_t n;
	unsigned slots, filled;
	int sizes_differ; /* modules of different sizes */
};

/* 0, or -EBADMSG: no table of structures, or one that breaks off. */
int dmi_read_memory(const void *table, size_t len, struct dmi_memory *ret) _must_check_;
