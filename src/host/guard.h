// SPDX-License-Identifier: Apache-2.0
/*
 * The nftables table that says what virtual machines may reach on this host. It belongs to
 * the netlink socket that loaded it: nobody else can change it, and it goes with the process,
 * unless that leaves it behind.
 */
#pragma once

#include "base/macro.h"

#define GUARD_TABLE "dstack_guard"
#define GUARD_FILE "/run/dstack/guard/guard.nft"
/* The slice that virtual machines run in, at the top of the tree of control groups. */
#define GUARD_SLICE "dstackcvm.slice"

struct guard;

/* Opens the netlink socket. 0, or -errno where this kernel has no nftables or the right is
 * missing. */
int guard_open(struct guard **ret) _must_check_;
/* Puts `rules` in place of what is there, all or nothing, a table without an owner too. 0, or
 * -EINVAL with what nftables says about it in *trouble, the caller's. */
int guard_load(struct guard *g, const char *rules, char **trouble) _must_check_;
/* The same without an owner: it stays when this process goes. */
int guard_leave(struct guard *g, const char *rules, char **trouble) _must_check_;
/* The table goes, unless it was left. */
void guard_close(struct guard **g);

/* Is the table there, whoever owns it, and does it name the slice as it is now (a slice made
 * anew is another one to the kernel)? 1, 0 or -errno. */
int guard_is_loaded(void) _must_check_;

/* The table as the kernel lists it. */
struct guard_sight {
	int error;     /* -errno: it could not be asked */
	char *listing; /* NULL: there is none */
};

void guard_look(struct guard_sight *ret);
void guard_sight_free(struct guard_sight *sight);
/* Does the listing name the slice as it is now? */
int guard_names_slice(const char *listing) _must_check_;

#define _cleanup_guard_ _cleanup_(guard_close)
