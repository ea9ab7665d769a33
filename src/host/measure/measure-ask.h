// SPDX-License-Identifier: Apache-2.0
/*
 * What the rest of the product asks: the registers of a configuration, and by what they differ
 * first from earlier ones. `image verify` asks what an image measures to, `artifact use` whether a
 * new VMM's command line changes what is measured, the guard over apt the same of a QEMU.
 *
 * A configuration is made by config_from_args(), config_from_size() with config_set_image(), or
 * comes with a machine from measure_vms() (measure-config.h, measure-vm.h); an earlier result is
 * that of another answer, or a file's (measure_load() in measure-print.h).
 */
#pragma once

#include "host/measure/measure-run.h"

struct measure_answer {
	struct measure_result result; /* registers and events, hex; see measure-run.h */
	/* Against the earlier result; without one: 1, NULL, NULL. */
	int same;
	const char *first; /* "acpi-tables", or a register where no event tells: "mrtd" */
	char *differences; /* "the ACPI tables, the kernel differ"; "" when nothing does */
};

/* Reads and computes; some 0.1 s, at most the time that `options` (NULL: the usual ones) give.
 * qemu NULL: without, then there is no RTMR0. before NULL: nothing is compared. 0, or -EBADMSG with
 * the reason; then there is no answer. Needs no privilege; as root QEMU gets a user of its own. */
int measure_ask(const struct root *root, const struct measure_config *config,
		const struct measure_qemu *qemu, const struct measure_options *options,
		const struct measure_result *before, struct measure_answer *ret, char **trouble)
	_must_check_;
void measure_answer_free(struct measure_answer *answer);

/* The first event that differs, else the first register; NULL: none does. */
const char *measure_first_difference(const struct measure_result *a,
				     const struct measure_result *b);
