// SPDX-License-Identifier: Apache-2.0
/* A guest image's files as facts; run in a half. */
#pragma once

#include "host/peer/peer.h"

/* sha256sum.txt: "sum" = "HASH NAME" for each file. */
void image_digest_sums(const struct peer_reply *reply, struct peer_emit *emit);
/* metadata.json: "shared_ro" where guests cannot write to what the host gives them. */
void image_digest_share(const struct peer_reply *reply, struct peer_emit *emit);
/* metadata.json: "bios", "kernel", "initrd", "rootfs", the names of files; "cmdline" where it
 * has one, and from that "rootfs_hash" and "rootfs_size"; "shared_ro"; "simulated" where
 * dstack-host-sim says that it has made it. */
void image_digest_metadata(const struct peer_reply *reply, struct peer_emit *emit);
/* digest.txt: "digest". */
void image_digest_digest(const struct peer_reply *reply, struct peer_emit *emit);
