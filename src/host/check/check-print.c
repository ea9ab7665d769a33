// SPDX-License-Identifier: Apache-2.0
/* Verdicts: printing. */
#include "host/check/check-print.h"

#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "base/utf8.h"
#include "host/json.h"

enum { ID = 28, STATUS = 5, DETAIL_AT = ID + STATUS + 1, CAUSE_AT = 9 };

struct check_summary check_summarize(const struct verdict *verdicts, const char *wanted)
{
	struct check_summary sum = { 0 };

	for (size_t i = 0; i < checks_count(); i++)
		if (wanted[i])
			sum.n[verdicts[i].outcome->status]++;
	return sum;
}

void verdicts_clean(struct verdict *verdicts)
{
	for (size_t i = 0; i < checks_count(); i++) {
		struct verdict *r = &verdicts[i];

		utf8_clean(r->found);
		utf8_clean(r->expected);
		utf8_clean(r->subject);
		utf8_clean(r->cause);
		utf8_clean(r->fix);
	}
}

static const char *colour_of(enum check_status status)
{
	static const char *const codes[] = { "\033[32m", "\033[33m", "\033[31m", "\033[2m" };

	return codes[status];
}

static void add_labelled(struct strbuf *out, const char *label, const char *text)
{
	if (!text)
		return;
	sb_addf(out, "  %-*s", CAUSE_AT - 2, label);
	text_wrap(out, text, CAUSE_AT);
}

static void add_row(struct strbuf *out, const struct verdict *r, int colour)
{
	const enum check_status status = r->outcome->status;
	/* The title says what would be true. */
	const char *detail = status == CHECK_OK	  ? r->found ? r->found : check_title(r->check) :
			     status == CHECK_SKIP || !r->found ? r->cause :
								 r->found;

	sb_addf(out, "%-*s%s%-*s%s ", ID, r->check->id, colour ? colour_of(status) : "", STATUS,
		check_status_name(status), colour ? "\033[0m" : "");
	text_wrap(out, detail, DETAIL_AT);
	if (status != CHECK_WARN && status != CHECK_FAIL)
		return;
	if (r->expected)
		add_labelled(out, "wanted", r->expected);
	if (strcmp(detail, r->cause) != 0)
		add_labelled(out, "cause", r->cause);
	add_labelled(out, "fix", r->fix);
}

static const struct verdict *first_with(const struct verdict *verdicts, const char *wanted,
					enum check_status status)
{
	for (size_t i = 0; i < checks_count(); i++)
		if (wanted[i] && verdicts[i].outcome->status == status && verdicts[i].fix)
			return &verdicts[i];
	return NULL;
}

void check_text(const struct verdict *verdicts, const char *wanted, int colour,
		struct strbuf *out)
{
	struct check_summary sum = check_summarize(verdicts, wanted);
	const struct verdict *next = first_with(verdicts, wanted, CHECK_FAIL);
	const char *group = "";

	for (size_t i = 0; i < checks_count(); i++) {
		if (!wanted[i])
			continue;
		if (strcmp(group, check_group_of(i)) != 0)
			sb_addf(out, "%s%s\n", *group ? "\n" : "", check_group_of(i));
		group = check_group_of(i);
		add_row(out, &verdicts[i], colour);
	}
	if (!next)
		next = first_with(verdicts, wanted, CHECK_WARN);
	sb_addf(out, "\n%u ok, %u warned, %u failed, %u skipped\nNext: %s\n", sum.n[CHECK_OK],
		sum.n[CHECK_WARN], sum.n[CHECK_FAIL], sum.n[CHECK_SKIP],
		next ? next->fix : "nothing to do");
}

static json_t *verdict_json(size_t i, const struct verdict *r)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:s?, s:s?, s:s?, s:i}", "id",
			 r->check->id, "group", check_group_of(i), "status",
			 check_status_name(r->outcome->status), "outcome", r->outcome->name,
			 "title", check_title(r->check), "found", r->found, "expected",
			 r->expected, "cause", r->cause, "fix", r->fix, "ms", (int)r->ms);
}

void check_json(const struct verdict *verdicts, const char *wanted, struct strbuf *out)
{
	struct check_summary sum = check_summarize(verdicts, wanted);
	json_t *list = json_array();

	for (size_t i = 0; i < checks_count(); i++)
		if (wanted[i])
			json_push(list, verdict_json(i, &verdicts[i]));
	json_write(out, json_pack("{s:s, s:{s:i, s:i, s:i, s:i}, s:o}", "schema",
				  "dstack-host.check/1", "summary", "ok", (int)sum.n[CHECK_OK],
				  "warn", (int)sum.n[CHECK_WARN], "fail",
				  (int)sum.n[CHECK_FAIL], "skip", (int)sum.n[CHECK_SKIP],
				  "checks", list));
}

void check_tap(const struct verdict *verdicts, const char *wanted, struct strbuf *out)
{
	struct check_summary sum = check_summarize(verdicts, wanted);
	unsigned n = 0;

	sb_addf(out, "TAP version 13\n1..%u\n", sum.n[CHECK_OK] + sum.n[CHECK_WARN] +
							 sum.n[CHECK_FAIL] + sum.n[CHECK_SKIP]);
	for (size_t i = 0; i < checks_count(); i++) {
		const struct verdict *r = &verdicts[i];
		const enum check_status status = r->outcome->status;

		if (!wanted[i])
			continue;
		sb_addf(out, "%s %u - %s: %s", status == CHECK_FAIL ? "not ok" : "ok", ++n,
			r->check->id, check_title(r->check));
		if (status == CHECK_SKIP)
			sb_addf(out, " # SKIP %s", r->cause);
		sb_addc(out, '\n');
		if (status == CHECK_WARN || status == CHECK_FAIL)
			sb_addf(out, "# %s: %s\n", check_status_name(status), r->cause);
		if ((status == CHECK_WARN || status == CHECK_FAIL) && r->fix)
			sb_addf(out, "# fix: %s\n", r->fix);
	}
}
