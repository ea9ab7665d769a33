// SPDX-License-Identifier: Apache-2.0
/* Configurations of this host's virtual machines. */
#pragma once

#include "host/measure/measure-config.h"
#include "host/peer/peer.h"
#include "host/conf/settings.h"

struct measure_vm {
	char *id, *name;
	char *pid; /* NULL: it does not run */
	struct measure_config config;
	char *trouble; /* why it cannot be told; NULL: it is */
};

/* All machines: those that run as the supervisor runs them, the others as the VMM would start
 * them. 0, or -EBADMSG with the reason. */
int measure_vms(const struct root *root, const struct settings *settings,
		struct measure_vm **ret, size_t *n, char **trouble) _must_check_;
/* One fact of measure_digest_list(), or of a record; others are passed over. 0 or -EBADMSG. */
int measure_vm_take(struct measure_vm *vm, const struct peer_fact *fact) _must_check_;
void measure_vm_free(struct measure_vm *vm);
void measure_vms_free(struct measure_vm *vms, size_t n);

/* In the half: facts of one machine after the other. */
void measure_digest_list(const struct peer_reply *reply, struct peer_emit *emit);
