// SPDX-License-Identifier: Apache-2.0
/* Ends virtual machines in the order that loses least: asked by their guest, then stopped. */
#pragma once

#include <stddef.h>

#include "base/macro.h"
#include "base/root.h"
#include "host/conf/settings.h"

struct drain_guest {
	char *id, *name;
	int pidfd; /* of its QEMU; -1: it has ended */
	int asked; /* its guest has agreed to shut down */
};

struct drain {
	const struct root *root;
	const struct settings *settings;
	struct drain_guest *guests;
	size_t n;
};

/* From here on no supervisor starts (see drain_under_way()), until *ret_fd is closed. 0,
 * -EBUSY: another drain is under way, or -errno. */
int drain_hold(const struct root *root, int *ret_fd) _must_check_;
/* 1, 0 or -errno. */
int drain_under_way(const struct root *root) _must_check_;
/* Who runs, by VMM and supervisor. 0, or -errno with what is wrong in *trouble, the
 * caller's: then nobody can be asked. */
int drain_find(const struct root *root, const struct settings *s, struct drain *ret,
	       char **trouble) _must_check_;
/* Asks all guests at once to shut down and waits for those that agreed. */
void drain_ask(struct drain *d, unsigned wait_ms);
/* Stops, through the VMM, those that still run. */
void drain_stop(struct drain *d);
size_t drain_living(struct drain *d);
/*
 * What ran before the drain runs again when the host comes back: the VMM takes a guest that
 * was asked to go for one that wants to stay away. Only while nothing can start it.
 */
void drain_mark_started(const struct drain *d);
void drain_free(struct drain *d);

#define _cleanup_drain_ _cleanup_(drain_free)
