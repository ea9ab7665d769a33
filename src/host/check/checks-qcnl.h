// SPDX-License-Identifier: Apache-2.0
/* Evaluations of checks-qcnl.c and checks-registration.c. */
#pragma once

#include "host/check/check.h"

extern const struct outcome qcnl_file_outcomes[], qcnl_agree_outcomes[], qgs_conf_outcomes[],
	registration_outcomes[];
const char *eval_qcnl_file(const struct check_view *v, struct verdict *r);
const char *eval_qcnl_agree(const struct check_view *v, struct verdict *r);
const char *eval_qgs_conf(const struct check_view *v, struct verdict *r);
const char *eval_registration(const struct check_view *v, struct verdict *r);
