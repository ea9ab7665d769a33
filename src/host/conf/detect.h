// SPDX-License-Identifier: Apache-2.0
/* What the machine itself tells about a setting; nothing is sent anywhere. */
#pragma once

#include "base/macro.h"
#include "base/root.h"
#include "host/conf/keys.h"

/* *ret is the detected value, the caller's, or NULL where this machine does not tell it.
 * 0, or -errno: it would tell, but could not be asked. */
int detect_setting(const struct root *root, enum key_id id, char **ret) _must_check_;
