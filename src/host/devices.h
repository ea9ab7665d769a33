// SPDX-License-Identifier: Apache-2.0
/*
 * SGX device nodes and the groups that open them, compared by name: minors and GIDs are
 * given out by kernel and system and differ between hosts.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/macro.h"
#include "base/root.h"

enum device_state {
	DEVICE_OK,
	DEVICE_WRONG,  /* there, but not as it should be */
	DEVICE_ABSENT,
	DEVICE_NOTE,   /* for information: nothing is wrong either way */
};

enum device_kind { DEVICE_NODE, DEVICE_GROUP, DEVICE_MEMBER, DEVICE_OTHER };

struct device_row {
	enum device_kind kind;
	const char *name; /* "/dev/sgx_enclave", "sgx_prv", "qgsd" */
	const char *wanted;
	enum device_state state;
	char *found; /* "0660 sgx", "gid 1001" */
	char *cause; /* what is wrong, NULL when nothing is */
};

struct device_report {
	struct device_row *rows;
	size_t n;
};

/* Looks; changes nothing. */
void devices_check(const struct root *root, struct device_report *ret);
void device_report_free(struct device_report *report);
/* The first row of this kind that is wrong or absent, or NULL. */
const struct device_row *devices_bad(const struct device_report *report,
				     enum device_kind kind);
/* What is wrong with a node of this mode and group, or NULL. */
const char *device_judge(mode_t mode, const char *group, const char *wanted_group);

/* One step of mending: a program to run, or a node whose owner and mode are set. */
struct device_step {
	char *argv[8]; /* NULL-terminated; empty for a node */
	const char *node, *group;
};

struct device_plan {
	struct device_step *steps;
	size_t n;
	char *refused; /* what is wrong and will not be touched, or NULL */
	int member;    /* qgsd's groups change: it must be started again */
};

/* What mends the report: groups are made, sgx_prv gets a system GID, qgsd joins, nodes get
 * group and mode back. */
void devices_plan(const struct root *root, const struct device_report *report,
		  struct device_plan *ret);
/* One step as a line; the caller frees. */
char *device_step_text(const struct device_step *step) _must_check_;
/* 0, the program's exit status, or -errno. */
int device_step_do(const struct root *root, const struct device_step *step) _must_check_;
void device_plan_free(struct device_plan *plan);

#define _cleanup_device_report_ _cleanup_(device_report_free)
#define _cleanup_device_plan_ _cleanup_(device_plan_free)
