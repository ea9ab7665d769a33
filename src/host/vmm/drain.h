// SPDX-License-Identifier: Apache-2.0
/* Ends virtual machines in the order that loses least: asked by their guest, then stopped. */
#pragma once

#include <stddef.h>

#include "base/macro.h"
#include "base/root.h"
#include "host/conf/settings.h"
#include "host/peer/peer.h"
#include "host/units.h"
#include "host/vmm/slice.h"
#include "host/vmm/vmm.h"

/* A mark that the supervisor's next start takes away, and so does a reboot. */
#define DRAINED_TARGET "dstack-drained.target"
#define DRAINED_END "sudo dstack-host drain --end"

struct drain_guest {
	char *id, *name;
	int pidfd; /* of its QEMU; -1: it has ended */
	/* Of this process; one that came back under its id starts anew. */
	int called; /* this drain has tried to end it */
	int asked; /* its guest has agreed to shut down */
};

struct drain {
	const struct root *root;
	const struct settings *settings;
	struct drain_guest *guests;
	size_t n, n_named;
	struct slice_processes rest; /* all of the slice, as of the last look */
};

/* From here on no supervisor starts (see drain_under_way()), until *ret_fd is closed. 0,
 * -EBUSY: another drain is under way, or -errno. */
int drain_hold(const struct root *root, int *ret_fd) _must_check_;
/* 1, 0 or -errno. */
int drain_under_way(const struct root *root) _must_check_;
/*
 * Who runs, by VMM and supervisor; can be asked again, and then adds to the list. The names of
 * those that no look before this one has named, the caller's, or NULL. With *trouble, the
 * caller's, nobody can be asked: they are processes of the slice.
 */
char *drain_look(struct drain *d, char **trouble) _must_check_;
/* Its parts: what the VMM shows, what the supervisor runs, who of them was not named yet. */
void drain_take_vms(struct drain *d, const struct vmm_vm *vms, size_t n);
void drain_take_processes(struct drain *d, const struct peer_answer *list);
char *drain_name_guests(struct drain *d) _must_check_;
char *drain_name_processes(struct drain *d, int named) _must_check_;
char *drain_name_new(struct drain *d, int processes) _must_check_;
/* Asks all guests at once to shut down and waits for those that agreed. */
void drain_ask(struct drain *d, unsigned wait_ms);
/* Stops, through the VMM, those that still run. */
void drain_stop(struct drain *d);
size_t drain_living(struct drain *d);
/* Those that nobody has asked: they came, or came back, after the last drain_ask(). */
size_t drain_unasked(struct drain *d);
/*
 * What ran before the drain runs again when the host comes back: the VMM takes a guest that
 * was asked to go for one that wants to stay away. Only while nothing can start it.
 */
void drain_mark_started(const struct drain *d);
/*
 * The same for whom this drain has ended, because it goes no further: a VMM that runs on starts
 * them within its auto_restart interval, or when it is restarted. Their names, the caller's, or NULL.
 */
char *drain_give_back(struct drain *d) _must_check_;
void drain_free(struct drain *d);
/* Was this host drained and not started since? 1 with *since_us (wall clock), 0 or -errno. */
int drained_since(struct units *u, uint64_t *since_us) _must_check_;
/* "drained since 2026-01-02 03:04 UTC", the caller's. */
char *drained_text(uint64_t since_us) _must_check_;

#define _cleanup_drain_ _cleanup_(drain_free)
