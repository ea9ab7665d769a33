// SPDX-License-Identifier: Apache-2.0
/* What checks of the KMS want to know of its Ethereum endpoint. */
#pragma once

#include "host/check/check.h"

/* The outcome of chain.endpoint, NULL when it was not asked. */
const char *chain_first(const struct check_view *v);
