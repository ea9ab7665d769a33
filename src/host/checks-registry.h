// SPDX-License-Identifier: Apache-2.0
/* What the registry's probe and check have in common. */
#pragma once

#include "host/settings.h"

/* "/v2/NAME/manifests/sha256:…" of KMS_IMAGE where this host's registry is to have it; NULL
 * where it is unset or of another registry. The caller's. */
char *registry_manifest_path(const struct settings *s) _must_check_;
