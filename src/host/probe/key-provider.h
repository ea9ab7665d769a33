// SPDX-License-Identifier: Apache-2.0
/*
 * Which key provider has sealed this host's disks, and whether its image is still what would be
 * started: another image holds another enclave, whose keys open none of them.
 */
#pragma once

#include "base/macro.h"
#include "base/root.h"
#include "host/conf/settings.h"
#include "host/probe/probes.h"

#define KEY_PROVIDER_UNIT "dstack-key-provider.service"
/* One line: "sha256:" and the id of the container image, which holds the enclave. A second one,
 * "simulated", where that was the simulation's. */
#define KEY_PROVIDER_RECORD "/var/lib/dstack/kms/key-provider"

/* The caller's. 0, -ENOENT when nothing was recorded, or -errno. */
int key_provider_recorded(const struct root *root, char **ret) _must_check_;
/* Once there is a disk that it seals, the KMS's or another machine's: the image of the container
 * that is there, unless one is on record already. What cannot be recorded is warned of; the next
 * time it will be. */
void key_provider_record(const struct root *root, const struct settings *s);
/* Puts `id` on record in place of what is there. */
int key_provider_record_as(const struct root *root, const char *id) _must_check_;

/* What key_provider_refused() looks at. */
#define KEY_PROVIDER_PROBES (PROBE(PROBE_SEALING_INSPECT) | PROBE(PROBE_SEALING_IMAGE))

/* NULL: what KEY_PROVIDER_IMAGE names may be started. Else why not, and what brings the image
 * back that has sealed; the caller's. Where nobody knows, it may not. Images of the simulation
 * take each other's place: their keys are not the image's. */
char *key_provider_refused(const struct root *root, const struct settings *s,
			   const struct probe_result results[PROBE_COUNT]) _must_check_;
/* The same, for who is about to start it: asks Docker, and before the container can be replaced
 * puts on record what is not there yet. */
char *key_provider_start_refused(const struct root *root, const struct settings *s) _must_check_;
