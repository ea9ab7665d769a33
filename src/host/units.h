// SPDX-License-Identifier: Apache-2.0
/*
 * systemd's units, asked over sd-bus: the system bus, or for root systemd's own socket where
 * there is no D-Bus. Every call ends after two seconds.
 */
#pragma once

#include <stdint.h>

#include "base/macro.h"
#include "base/root.h"

/* Outcome of units_open(): this system was not booted with systemd, or is another one
 * (--root): there are no units to ask about. */
enum { UNITS_ABSENT = 1 };

struct units;

struct unit_state {
	char *load;	   /* "loaded", "not-found", "masked", ... */
	char *active;	   /* "active", "inactive", "failed", "activating", ... */
	char *sub;	   /* "running", "exited", "auto-restart", ... */
	char *result;	   /* "success", "exit-code", "exec-condition", ... */
	char *status;	   /* what the service says it is doing, "" when nothing */
	char *file_state;  /* "enabled", "static", ... */
	char *cgroup;	   /* below /sys/fs/cgroup, "" when there is none */
	char *condition;   /* "ConditionPathExists=/x" that kept it from starting, or NULL */
	uint32_t main_pid;
	uint64_t since_us; /* wall clock: when it left "inactive"; 0 never */
	uint64_t active_us; /* when it became active, 0 never */
	uint64_t main_us;  /* when its main process was started, 0 never */
	int job;	   /* a start, stop or restart is queued */
	int stoppable;	   /* an operator may stop it (no RefuseManualStop) */
};

enum unit_verb {
	UNIT_START,
	UNIT_STOP,
	UNIT_RESTART,		    /* and a start when it is not active */
	UNIT_TRY_RESTART,	    /* only when it is active */
	UNIT_RELOAD_OR_TRY_RESTART, /* the same, gently where it can reload */
	UNIT_RESET_FAILED,	    /* forgets the failures that count against a start */
};

/* 0, UNITS_ABSENT or -errno. */
int units_open(const struct root *root, struct units **ret) _must_check_;
void units_close(struct units **u);
/* A unit that does not exist is no error: load is "not-found". 0 or -errno. */
int units_get(struct units *u, const char *name, struct unit_state *ret) _must_check_;
/* Queues the job and returns at once (systemctl --no-block). 0 or -errno. */
int units_do(struct units *u, enum unit_verb verb, const char *name) _must_check_;
/* "running", "degraded", "starting", ...: the caller's. 0 or -errno. */
int units_system_state(struct units *u, char **ret) _must_check_;
void unit_state_free(struct unit_state *s);

#define _cleanup_units_ _cleanup_(units_close)
#define _cleanup_unit_state_ _cleanup_(unit_state_free)
