// SPDX-License-Identifier: Apache-2.0
/* The attestation checks' evaluations, which lie in several files. */
#pragma once

#include "host/check/check.h"
#include "host/check/dcap-codes.h"
#include "host/journal.h"

/* checks-pccs.c */
extern const struct outcome pccs_tls_outcomes[], pccs_intel_outcomes[], pccs_fill_outcomes[],
	pccs_tokens_outcomes[], pccs_key_outcomes[];
const char *eval_pccs_tls(const struct check_view *v, struct verdict *r);
const char *eval_pccs_intel(const struct check_view *v, struct verdict *r);
const char *eval_pccs_fill(const struct check_view *v, struct verdict *r);
const char *eval_pccs_tokens(const struct check_view *v, struct verdict *r);
const char *eval_pccs_key(const struct check_view *v, struct verdict *r);

/* checks-dcap-log.c */
extern const struct outcome dcap_log_outcomes[];
const char *eval_pccs_errors(const struct check_view *v, struct verdict *r);
const char *eval_qgsd_errors(const struct check_view *v, struct verdict *r);
const char *eval_aesm_errors(const struct check_view *v, struct verdict *r);
/* The last thing that went wrong and was not followed by a success; NULL: nothing. */
const struct dcap_code *dcap_last(const struct journal_tail *tail, enum dcap_speaker speaker,
				  uint64_t *at_us);
/* When the unit of a part was last started, wall clock; 0 unknown. */
uint64_t part_started_us(const struct check_view *v, const char *part);
