// SPDX-License-Identifier: Apache-2.0
/* What checks look at: everything that `status` sees, and the probes that only they need. */
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/check.h"

static void look_at_slice(struct check_view *v)
{
	_cleanup_units_ struct units *u = NULL;

	if (v->live && !v->parts.units_error && units_open(v->parts.root, &u) == 0 &&
	    units_get(u, "dstackcvm.slice", &v->slice) < 0)
		unit_state_free(&v->slice);
}

void check_view_fill(struct check_view *v, const struct root *root, const struct settings *s,
		     int settings_hidden, uint64_t probes, unsigned timeout_ms)
{
	*v = (struct check_view){
		.findings = xcalloc(n_parts, sizeof(*v->findings)),
		.live = root_is_host(root),
		.privileged = geteuid() == 0,
		.simulated = root_exists(root, SIM_DEFAULTS),
	};
	v->parts.settings_hidden = settings_hidden;
	part_view_fill(&v->parts, root, s, probes, timeout_ms, 1);
	parts_judge(&v->parts, v->findings);
	look_at_slice(v);
	machine_fill(&v->machine, root, s);
}

static void read_journals(struct check_view *v)
{
	/* A unit is known to the journal by its own name, not by an alias. */
	static const char *const who[CHECK_JOURNAL_COUNT] = {
		[CHECK_JOURNAL_QGSD] = "_SYSTEMD_UNIT=qgsd.service "
				       "_SYSTEMD_UNIT=dstack-sim-qgsd.service",
		[CHECK_JOURNAL_PCCS] = "_SYSTEMD_UNIT=pccs.service "
				       "_SYSTEMD_UNIT=dstack-sim-pccs.service",
		[CHECK_JOURNAL_AESM] = "CONTAINER_NAME=" CONTAINER_AESMD
				       " CONTAINER_NAME=" CONTAINER_KEY_PROVIDER,
	};

	journal_read(who, CHECK_JOURNAL_COUNT, v->journal);
}

void check_view_look(struct check_view *v, const char *wanted)
{
	unsigned flags = 0, looks = 0;

	for (size_t i = 0; v->live && i < checks_count(); i++)
		if (wanted[i])
			flags |= check_at(i)->flags;
	if (flags & CHECK_LISTENERS)
		looks |= LOOK_LISTENERS;
	if (flags & CHECK_GUARD)
		looks |= LOOK_GUARD;
	if (flags & CHECK_JOURNALS)
		read_journals(v);
	if (flags & CHECK_LEAKS)
		looks |= LOOK_SECRETS;
	machine_look(&v->machine, v->parts.root, looks, v->parts.unit, n_parts);
}

void check_view_free(struct check_view *v)
{
	if (v->findings)
		findings_free(v->findings, n_parts);
	free(v->findings);
	part_view_free(&v->parts);
	unit_state_free(&v->slice);
	machine_free(&v->machine);
	for (int i = 0; i < CHECK_JOURNAL_COUNT; i++)
		journal_tail_free(&v->journal[i]);
	*v = (struct check_view){ 0 };
}
