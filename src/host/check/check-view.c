// SPDX-License-Identifier: Apache-2.0
/* What checks look at: everything that `status` sees, and the probes that only they need. */
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "host/check/check-files.h"
#include "host/check/check.h"
#include "host/render/vmm-toml.h"

static void look_at_slice(struct check_view *v)
{
	_cleanup_units_ struct units *u = NULL;

	if (v->live && !v->parts.units_error && units_open(v->parts.root, &u) == 0 &&
	    units_get(u, "dstackcvm.slice", &v->slice) < 0)
		unit_state_free(&v->slice);
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

static void look_at_baselines(struct check_view *v, uint64_t deadline)
{
	_cleanup_free_ char *dir = vmm_dir(v->parts.root, v->parts.settings);

	v->baselines_error = baselines_look(v->parts.root, dir, deadline, &v->baselines,
					    &v->n_baselines);
}

static unsigned flags_of(const char *wanted)
{
	unsigned flags = 0;

	for (size_t i = 0; i < checks_count(); i++)
		if (wanted[i])
			flags |= check_at(i)->flags;
	return flags;
}

struct look {
	struct check_view *view;
	unsigned flags;
	uint64_t deadline;
};

/* While the probes are on their way. */
static void look(void *arg)
{
	const struct look *l = arg;
	struct check_view *v = l->view;
	unsigned looks = 0;

	look_at_slice(v);
	machine_fill(&v->machine, v->parts.root, v->parts.settings);
	if (l->flags & CHECK_LISTENERS)
		looks |= LOOK_LISTENERS;
	if (l->flags & CHECK_GUARD)
		looks |= LOOK_GUARD;
	if (l->flags & CHECK_JOURNALS)
		read_journals(v);
	if (l->flags & CHECK_LEAKS)
		looks |= LOOK_SECRETS;
	machine_look(&v->machine, v->parts.root, looks, v->parts.unit, n_parts);
	check_files_read(v);
	checks_ahead(v);
	if (l->flags & CHECK_BASELINES && v->privileged)
		look_at_baselines(v, l->deadline);
}

void check_view_fill(struct check_view *v, const struct root *root, const struct settings *s,
		     int settings_hidden, const char *wanted, uint64_t probes,
		     unsigned timeout_ms)
{
	struct look l = { v, root_is_host(root) ? flags_of(wanted) : 0, clock_ms() + timeout_ms };

	*v = (struct check_view){
		.findings = xcalloc(n_parts, sizeof(*v->findings)),
		.live = root_is_host(root),
		.privileged = geteuid() == 0,
		.simulated = root_exists(root, SIM_DEFAULTS),
	};
	v->parts.settings_hidden = settings_hidden;
	v->parts.look_too = look;
	v->parts.look_too_arg = &l;
	part_view_fill(&v->parts, root, s, probes, timeout_ms, 1);
	parts_judge(&v->parts, v->findings);
}

void check_view_free(struct check_view *v)
{
	if (v->findings)
		findings_free(v->findings, n_parts);
	free(v->findings);
	if (v->ahead)
		verdicts_free(v->ahead, checks_count());
	free(v->ahead);
	check_files_free(v);
	part_view_free(&v->parts);
	unit_state_free(&v->slice);
	machine_free(&v->machine);
	baselines_free(v->baselines, v->n_baselines);
	for (int i = 0; i < CHECK_JOURNAL_COUNT; i++)
		journal_tail_free(&v->journal[i]);
	*v = (struct check_view){ 0 };
}
