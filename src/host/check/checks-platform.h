// SPDX-License-Identifier: Apache-2.0
/* Evaluations of the group platform; its table is in checks-platform.c. */
#pragma once

#include "host/check/check.h"

typedef const char *check_eval(const struct check_view *v, struct verdict *r);

/* checks-platform-msr.c */
extern const struct outcome tme_outcomes[], key_split_outcomes[], seam_outcomes[],
	mcheck_outcomes[], feature_outcomes[], production_outcomes[];
check_eval eval_tme, eval_key_split, eval_seam, eval_mcheck, eval_feature, eval_production;

/* checks-platform-tdx.c */
extern const struct outcome tdx_outcomes[], cmdline_outcomes[];
check_eval eval_tdx, eval_cmdline;

/* checks-platform-size.c */
extern const struct outcome memory_outcomes[], space_outcomes[], vm_disk_outcomes[],
	clock_outcomes[];
check_eval eval_memory, eval_space, eval_vm_disk, eval_clock;

/* The first CPU of /proc/cpuinfo: a field's value, the caller's, or NULL. */
char *cpu_field(const char *cpuinfo, const char *name) _must_check_;
/* Reads it; NULL after setting the verdict's subject. */
char *cpu_info(const struct check_view *v, struct verdict *r) _must_check_;
int cpu_has(const char *flags, const char *flag);
/* Is the word on the kernel's command line? */
int cmdline_has(const char *cmdline, const char *word);
