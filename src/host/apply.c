// SPDX-License-Identifier: Apache-2.0
/* Who reads which rendered file, and whether it has read the current one. */
#include "host/apply.h"

#include <string.h>

/*
 * The supervisor is not here and never will be: it reads nothing that is rendered, and its
 * end is the end of every virtual machine. The guard reloads, because for the moment of a
 * restart its table would be gone.
 */
const struct consumer consumers[] = {
	{ "guard", "dstack-guard.service", UNIT_RELOAD_OR_TRY_RESTART },
	{ "pccs", "pccs.service", UNIT_TRY_RESTART },
	{ "qcnl", "qgsd.service", UNIT_TRY_RESTART },
	{ "qcnl", "dstack-key-provider.service", UNIT_TRY_RESTART },
	{ "key-provider", "dstack-key-provider.service", UNIT_TRY_RESTART },
	{ "registry", "dstack-registry.service", UNIT_TRY_RESTART },
	{ "front", "dstack-front.service", UNIT_TRY_RESTART },
	{ "vmm", "dstack-vmm.service", UNIT_TRY_RESTART },
	{ "kms", "dstack-kms.service", UNIT_TRY_RESTART },
};
const size_t n_consumers = ARRAY_SIZE(consumers);

int consumer_is_stale(const struct unit_state *unit, const struct rendered *rendered)
{
	uint64_t changed_us = (uint64_t)rendered->changed.tv_sec * 1000000 +
			      (uint64_t)rendered->changed.tv_nsec / 1000;

	if (!unit->active || strcmp(unit->active, "active") != 0 || rendered->kept)
		return 0;
	return !rendered->present || changed_us > unit->main_us;
}
