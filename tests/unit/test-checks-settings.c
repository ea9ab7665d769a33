// SPDX-License-Identifier: Apache-2.0
/* Checks of what was set. */
#include "check-cases.h"

static void refuse_an_answer(struct host *h _unused_, struct check_view *v _unused_,
			     const struct fixture *f)
{
	put_text(f, "/var/lib/dstack/rejected", "DOMAIN: has a blank in it\n");
}

static const struct check_case cases[] = {
	{ "settings.answers", "stored" },
	{ "settings.answers", "refused", refuse_an_answer },
};

CHECK_CASES_MAIN(group_settings, cases)
