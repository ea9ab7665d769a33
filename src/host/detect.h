// SPDX-License-Identifier: Apache-2.0
/* What the machine itself tells about a setting; nothing is sent anywhere. */
#pragma once

#include "base/macro.h"
#include "base/root.h"
#include "host/keys.h"

/* The detected value, the caller's, or NULL. */
char *detect_setting(const struct root *root, enum key_id id) _must_check_;
