// SPDX-License-Identifier: Apache-2.0
/* libnftables, for the guard (guard.c). */
#pragma once

#include <nftables/libnftables.h>

#include "base/dl.h"

#define LIBNFTABLES_FUNCTIONS(X) \
	X(nft_ctx_buffer_error) X(nft_ctx_buffer_output) X(nft_ctx_free) \
	X(nft_ctx_get_error_buffer) X(nft_ctx_get_output_buffer) X(nft_ctx_new) \
	X(nft_run_cmd_from_buffer)

LIBNFTABLES_FUNCTIONS(DL_DECLARE)

int libnftables_load(void) _must_check_;
