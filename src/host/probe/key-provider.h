// SPDX-License-Identifier: Apache-2.0
/* Which key provider has sealed this host's disks. */
#pragma once

#include "base/macro.h"
#include "base/root.h"
#include "host/conf/settings.h"

/* One line: "sha256:" and the id of the container image, which holds the enclave. */
#define KEY_PROVIDER_RECORD "/var/lib/dstack/kms/key-provider"

/* The caller's. 0, -ENOENT when nothing was recorded, or -errno. */
int key_provider_recorded(const struct root *root, char **ret) _must_check_;
/* Once a KMS has its CA on record: the image of the container that runs, unless one is on
 * record already. What cannot be recorded is warned of; the next time it will be. */
void key_provider_record(const struct root *root, const struct settings *s);
