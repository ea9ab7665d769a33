// SPDX-License-Identifier: Apache-2.0
/* Looking at everything. */
#include "host/report/looked.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/check/check-print.h"

void looked_judge(struct looked *l)
{
	size_t n = checks_count();

	findings_free(l->view.findings, n_parts);
	parts_judge(&l->view.parts, l->view.findings);

	if (l->verdicts)
		verdicts_free(l->verdicts, n);
	else
		l->verdicts = xcalloc(n, sizeof(*l->verdicts));
	checks_run(&l->view, l->verdicts);
	verdicts_clean(l->verdicts);
}

int looked_fill(const struct root *root, uint64_t without, struct looked *ret)
{
	_cleanup_free_ char *wanted = xcalloc(checks_count(), 1);
	int hidden, r;

	*ret = (struct looked){ 0 };
	r = parts_settings(root, &ret->settings, &hidden);
	if (r < 0)
		return r;
	memset(wanted, 1, checks_count());
	check_view_fill(&ret->view, root, &ret->settings, hidden, wanted,
			checks_probes(wanted) & ~without, LOOK_TIMEOUT_MS);
	looked_judge(ret);
	/* After the halves were forked: no secret is to be in their memory. */
	return redact_load(root, &ret->settings, &ret->redactor);
}

void looked_free(struct looked *l)
{
	if (l->verdicts)
		verdicts_free(l->verdicts, checks_count());
	free(l->verdicts);
	check_view_free(&l->view);
	redact_free(&l->redactor);
	settings_free(&l->settings);
}
