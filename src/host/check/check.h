// SPDX-License-Identifier: Apache-2.0
/*
 * What `check` proves, as tables: a file checks-GROUP.c holds the rows of a group, each with
 * every way it can end, and check-table.c lists the groups. Looking (check_view_fill) is
 * separate from judging (checks_run), and that from printing (check-print.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "host/journal.h"
#include "host/check/machine.h"
#include "host/measure/measure-baseline.h"
#include "host/part/parts.h"
#include "host/peer/foreign.h"

enum check_status { CHECK_OK, CHECK_WARN, CHECK_FAIL, CHECK_SKIP };

/* One way for a check to end. A "%s" in cause and fix stands for the verdict's subject. */
struct outcome {
	const char *name;	  /* "wrong-name"; the last of a table has none */
	enum check_status status;
	const char *cause;	  /* of everything but CHECK_OK */
	const char *fix;	  /* what to type, or where to look; NULL: nothing is known */
};

/* Whose last words in the journal are looked at. */
enum check_journal { CHECK_JOURNAL_QGSD, CHECK_JOURNAL_PCCS, CHECK_JOURNAL_AESM, CHECK_JOURNAL_COUNT };

/* What checks with CHECK_AHEAD read of others' files. */
enum check_file {
	CHECK_FILE_IMAGE_SUMS,
	CHECK_FILE_IMAGE_METADATA,
	CHECK_FILE_KMS_COMPOSE,
	CHECK_FILE_COUNT,
};

struct check_view {
	struct part_view parts; /* root, settings, units, probes, processes */
	struct finding *findings; /* n_parts of them */
	struct unit_state slice; /* of the virtual machines; empty without systemd */
	int live;		/* units and daemons are those of the system at `root` */
	int privileged;		/* this process could look at everything */
	int simulated;		/* dstack-host-sim stands for the hardware */
	struct machine machine; /* what the kernel tells */
	struct journal_tail journal[CHECK_JOURNAL_COUNT];
	struct baseline *baselines; /* of sealed machines, compared */
	size_t n_baselines;
	int baselines_error; /* -errno: they could not be looked at */
	struct foreign_file file[CHECK_FILE_COUNT]; /* by check_files_read() */
	int files_error;
	struct verdict *ahead; /* checks_count(), of those with CHECK_AHEAD; NULL: none was */
};

struct verdict {
	const struct check *check;
	const struct outcome *outcome; /* NULL: not evaluated */
	char *found;	 /* what was seen, NULL: nothing to say */
	char *expected;  /* what should have been seen */
	char *subject;	 /* of cause and fix */
	char *cause, *fix; /* ready to be shown */
	unsigned ms;	 /* of the slowest probe it looks at */
};

enum check_flag {
	CHECK_HARDWARE = 1, /* skipped where hardware is simulated */
	CHECK_ROOT = 2,	    /* only root can look */
	CHECK_LIVE = 4,	    /* only the running system can be looked at */
	CHECK_LISTENERS = 8, /* looks at what is dear to look at (enum machine_look) */
	CHECK_GUARD = 16,
	CHECK_LEAKS = 32,
	CHECK_JOURNALS = 64, /* looks at check_view.journal */
	CHECK_BASELINES = 256, /* looks at check_view.baselines */
	CHECK_AHEAD = 128, /* takes its time and looks at no probe and no part: it is evaluated
			      while the probes are on their way, whatever comes of its needs */
};

struct check {
	const char *id;	   /* "pccs.tls"; that of a part has its name */
	const char *title; /* what is true when it is ok; NULL: the part's */
	const char *needs; /* ids of checks without which it says nothing, by blanks */
	unsigned flags;	   /* enum check_flag */
	uint64_t probes;   /* PROBE(...) that eval() looks at, or a fix */
	const struct outcome *outcomes;
	/* Sets what it found (verdict_*) and returns an outcome's name, its own or one of
	 * the common ones below. NULL: the part of that name, as `status` judges it. */
	const char *(*eval)(const struct check_view *v, struct verdict *r);
};

struct check_group {
	const char *name; /* "vmm" */
	const struct check *checks;
	size_t n;
};

/* Each at the end of its checks-NAME.c. */
extern const struct check_group group_platform, group_devices, group_settings,
	group_attestation, group_key_provider, group_registry, group_vmm, group_kms,
	group_chain, group_measure, group_host;

/* After a change of settings or secrets, in a fix. */
#define APPLY "sudo systemctl start dstack-host-start"

/* Outcomes that every check may have: all are CHECK_SKIP. */
#define SKIP_OFF "off"		     /* switched off by a setting */
#define SKIP_UNSET "unset"	     /* subject: the setting that would be needed */
#define SKIP_PRIVILEGE "privilege"   /* needs root */
#define SKIP_SIMULATED "simulated"
#define SKIP_OTHER_SYSTEM "other-system" /* --root */
#define SKIP_UNKNOWN "unknown"	     /* could not be looked at; found says why */
#define SKIP_NEEDS "needs"	     /* subject: the check that comes first */

void verdict_found(struct verdict *r, const char *fmt, ...) _printf_(2, 3);
void verdict_expected(struct verdict *r, const char *fmt, ...) _printf_(2, 3);
void verdict_subject(struct verdict *r, const char *fmt, ...) _printf_(2, 3);
/* Instead of the outcome's own words. */
void verdict_cause(struct verdict *r, const char *fmt, ...) _printf_(2, 3);
void verdict_fix(struct verdict *r, const char *fmt, ...) _printf_(2, 3);

/* SKIP_UNKNOWN with what there was instead of an answer, or NULL: there was one. */
const char *check_no_answer(const struct check_view *v, enum probe_id id, struct verdict *r);

/* As `status` judges that part: "ok", "waiting" and "failed", with words of its own, or a skip. */
const char *check_as_part(const struct check_view *v, const char *part, struct verdict *r);

/* All rows of all groups, in order. */
size_t checks_count(void);
const struct check *check_at(size_t i);
const char *check_group_of(size_t i);
/* Index, or -1. */
int check_find(const char *id);

/* wanted[checks_count()]: those that `word` (an id or a group) names are set to 1; how many. */
size_t checks_select(const char *word, char *wanted);
/* The probes of those and of what they need. */
uint64_t checks_probes(const char *wanted);

/* Looks; at what is dear for those of wanted[checks_count()] that need it. timeout_ms: no probe
 * takes longer. */
void check_view_fill(struct check_view *v, const struct root *root, const struct settings *s,
		     int settings_hidden, const char *wanted, uint64_t probes,
		     unsigned timeout_ms);
void check_view_free(struct check_view *v);
/* Judges those with CHECK_AHEAD, into v->ahead. */
void checks_ahead(struct check_view *v);
/* Judges all; verdicts[checks_count()] is the caller's. */
void checks_run(const struct check_view *v, struct verdict *verdicts);
void verdicts_free(struct verdict *verdicts, size_t n);

const char *check_status_name(enum check_status status);
const char *check_title(const struct check *check);
/* Ids, "" when there are none. */
const char *check_needs(const struct check *check);
/* The part that it stands for, or NULL. */
const struct part *check_part(const struct check *check);
