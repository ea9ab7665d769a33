// SPDX-License-Identifier: Apache-2.0
/* What the reference document asks an operator to look at, and the checks that do. */
#pragma once

struct report_proof {
	const char *id, *text;
	const char *command; /* that shows it; NULL: none of its own */
	const char *checks;  /* ids and groups by blanks */
};

/* The last of each has no id. */
extern const struct report_proof report_commands[], report_boxes[], report_issues[];
