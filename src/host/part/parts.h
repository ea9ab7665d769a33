// SPDX-License-Identifier: Apache-2.0
/*
 * The one table of parts, in bring-up order: what the host is made of. `status`, `up` and
 * `await` read it. Looking (part_view_fill) is separate from judging (parts_judge), which
 * needs neither systemd nor a network.
 */
#pragma once

#include <stdint.h>

#include "base/root.h"
#include "host/listeners.h"
#include "host/probe/probes.h"
#include "host/conf/settings.h"
#include "host/units.h"
#include "host/vmm/vmdir.h"

#define SIM_DEFAULTS DEFAULTS_DIR "/50-sim.conf"

enum part_state {
	PART_OK,
	PART_WAITING, /* for another part, a setting, or work under way: detail says which */
	PART_FAILED,
	PART_OFF,     /* switched off by a setting */
	PART_UNKNOWN, /* could not be looked at (no privilege, no systemd): said in detail */
	PART_SILENT,  /* of a judge only: no proper answer yet, unit and needs tell why */
};

/* What was found out about one part. */
struct finding {
	enum part_state state;
	char *detail;	/* one line; with PART_WAITING "for ..." */
	char *fix;	/* what to type, NULL when there is nothing to type */
	char *address;	/* where it listens, NULL when it does not */
	uint64_t since_us; /* wall clock, 0 unknown */
};

struct part_view {
	const struct root *root;
	const struct settings *settings;
	int settings_hidden; /* host.conf could not be read: defaults are shown */
	struct probe_result probe[PROBE_COUNT];
	int probes_error;    /* -errno: the network half could not be started */
	int units_error;     /* 0, UNITS_ABSENT or -errno */
	struct unit_state *unit; /* n_parts of them; those of parts without unit are empty */
	struct unit_state target;
	int drained;	     /* somebody has drained this host and not started it again */
	uint64_t drained_us; /* when; wall clock */
	struct vm_processes processes;
	uint64_t now_us;     /* wall clock */
	/* What needed no answer was judged while the others were awaited; NULL: not so. */
	struct finding **ahead;
	struct listeners public; /* by status_look() */
	int public_error;
	/* Of who wants to look at more meanwhile, when the units are known. NULL: nobody. */
	void (*look_too)(void *arg);
	void *look_too_arg;
};

struct part {
	const char *id;	     /* "vmm" */
	const char *group;   /* "files", "devices", "services", "containers", "cvms" */
	const char *title;
	const char *unit;    /* NULL when no unit stands for it */
	const char *without; /* what it means that the unit does not run, where that is not plain */
	const char *package; /* that brings the unit, where it is not ours */
	const char *needs;   /* ids separated by blanks that come before it */
	const char *settings; /* keys that must be set for it, separated by blanks */
	/* One more that the others make necessary and that is not set, or -1; NULL: there is none. */
	int (*also)(const struct settings *s);
	unsigned readers;    /* enum component: with bad settings it does not start */
	uint64_t probes;     /* PROBE(...) that judge() looks at */
	enum key_id address; /* the setting that says where it listens, KEY_COUNT: none */
	/* Why it is switched off, the caller's; NULL when it is not. */
	char *(*off)(const struct part_view *v);
	/* By its own protocol or files; NULL: the unit decides. */
	enum part_state (*judge)(const struct part_view *v, struct finding *f);
};

extern const struct part parts[];
extern const size_t n_parts;

/* Index, or -1. */
int part_find(const char *id);

/* A key that must be set for the part and is not, or -1. */
int part_missing(const struct settings *s, const struct part *p);

/* The probes of all parts. */
uint64_t parts_probes(void);
/* Looks at everything that `mask` (of PROBE()) and, if asked for, the units tell.
 * timeout_ms: see probes_ask(). settings_hidden and look_too are the caller's, before. */
void part_view_fill(struct part_view *v, const struct root *root, const struct settings *s,
		    uint64_t mask, unsigned timeout_ms, int with_units);
/* Its part of that: processes that live where the VMM keeps its machines. */
void part_look_at_processes(struct part_view *v);
void part_view_free(struct part_view *v);
/* Judges all parts; findings[i] belongs to parts[i]. */
void parts_judge(const struct part_view *v, struct finding *findings);
/* Judges one by its protocol or files alone, as `await` does. */
void part_judge_alone(const struct part_view *v, size_t i, struct finding *f);
void findings_free(struct finding *findings, size_t n);
/* The probes of all that it needs, and of what those need. */
uint64_t part_needs_probes(size_t i);
/* "key provider: failed (exit-code)": the first in bring-up order of what it needs that is not
 * ready, the caller's; NULL when all are. Parts of its own unit do not count. The view has
 * part_needs_probes() and units. */
char *part_cause(const struct part_view *v, size_t i) _must_check_;

const char *part_state_name(enum part_state state);
/* The command that comes next, the caller's; NULL when there is nothing to do.
 * privileged: this process could look at everything. */
char *parts_next(const struct finding *findings, int privileged) _must_check_;
/* All as it should be? */
int parts_fine(const struct finding *findings);
/* Fills in a finding; returns `state`. */
enum part_state finding_set(struct finding *f, enum part_state state, const char *fmt, ...)
	_printf_(3, 4);
void finding_fix(struct finding *f, const char *fmt, ...) _printf_(2, 3);

/* Loads the settings; where host.conf may not be read, those of a host without one, and
 * *hidden is set. 0 or -errno. */
int parts_settings(const struct root *root, struct settings *s, int *hidden) _must_check_;

/* Judges, by file. */
enum part_state judge_settings(const struct part_view *v, struct finding *f);
enum part_state judge_devices(const struct part_view *v, struct finding *f);
enum part_state judge_groups(const struct part_view *v, struct finding *f);
enum part_state judge_programs(const struct part_view *v, struct finding *f);
enum part_state judge_image(const struct part_view *v, struct finding *f);
enum part_state judge_files(const struct part_view *v, struct finding *f);
enum part_state judge_docker(const struct part_view *v, struct finding *f);
enum part_state judge_pccs(const struct part_view *v, struct finding *f);
enum part_state judge_qgs(const struct part_view *v, struct finding *f);
enum part_state judge_aesmd(const struct part_view *v, struct finding *f);
enum part_state judge_sealing(const struct part_view *v, struct finding *f);
enum part_state judge_key_provider(const struct part_view *v, struct finding *f);
enum part_state judge_supervisor(const struct part_view *v, struct finding *f);
enum part_state judge_vmm(const struct part_view *v, struct finding *f);
enum part_state judge_front(const struct part_view *v, struct finding *f);
enum part_state judge_registry(const struct part_view *v, struct finding *f);
enum part_state judge_cvms(const struct part_view *v, struct finding *f);
enum part_state judge_kms(const struct part_view *v, struct finding *f);
