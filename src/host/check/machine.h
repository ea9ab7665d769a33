// SPDX-License-Identifier: Apache-2.0
/*
 * What the machine itself tells beyond plain files: asked of the kernel once, before checks
 * judge. Nothing of it leaves this host or comes from another.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/macro.h"
#include "base/root.h"
#include "host/devices.h"
#include "host/guard.h"
#include "host/listeners.h"
#include "host/check/secret-audit.h"
#include "host/conf/settings.h"
#include "host/units.h"

enum tree { TREE_IMAGES, TREE_VMS, TREE_REGISTRY, TREE_DOCKER, TREE_LOGS, TREE_COUNT };

/* The file system below a directory, or below the nearest one above it that is there. */
struct tree_space {
	int error; /* -errno */
	char *path;
	uint64_t total, free; /* bytes; free: for whoever is not root */
	uint64_t inodes_free; /* UINT64_MAX where there is no such limit */
	dev_t dev;
	int on_root; /* the same file system as "/" */
};

/* What is dear to look at, and looked at for whom it is wanted only. */
enum machine_look {
	LOOK_LISTENERS = 1,
	LOOK_GUARD = 2,
	LOOK_SECRETS = 4, /* values of secrets where they must not be */
};

struct machine {
	int filled;
	struct device_report devices;
	struct tree_space tree[TREE_COUNT];
	int clock; /* 1: the kernel holds it for synchronised, 0: it does not, -errno */
	char *kernel_log; /* its lines about TDX, TME and SGX; NULL: see the error */
	int kernel_log_error;
	int kernel_log_cut; /* what was said at boot is no longer in it */

	unsigned looked; /* enum machine_look */
	struct listeners listeners;
	int listeners_error;
	struct guard_sight guard;
	struct secret_audit secrets; /* files always, leaks with LOOK_SECRETS */
};

/* "images", "VMs" */
const char *tree_name(enum tree tree);
/* The caller's. */
char *tree_path(const struct root *root, const struct settings *s, enum tree tree) _must_check_;

void machine_fill(struct machine *m, const struct root *root, const struct settings *s);
/* unit: n_units of the host's own; their processes' environments are looked at. */
void machine_look(struct machine *m, const struct root *root, unsigned looks,
		  const struct unit_state *unit, size_t n_units);
void machine_free(struct machine *m);
/* Keeps what says something about TDX, TME and SGX of a text of the kernel's messages. */
void kernel_log_keep(const char *text, char **ret);
