// SPDX-License-Identifier: Apache-2.0
/* Evaluations of the group host; its table is in checks-host.c. */
#pragma once

#include "host/check/check.h"

typedef const char *check_eval(const struct check_view *v, struct verdict *r);

/* checks-host-net.c */
extern const struct outcome listener_outcomes[], port_outcomes[], guard_outcomes[];
check_eval eval_listeners, eval_ports, eval_guard;

/* checks-host-dns.c */
extern const struct outcome name_outcomes[], caa_outcomes[];
check_eval eval_registry_name, eval_kms_name, eval_caa;

/* checks-host-secrets.c */
extern const struct outcome secret_outcomes[], leak_outcomes[];
check_eval eval_secrets, eval_leaks;
