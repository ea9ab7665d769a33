// SPDX-License-Identifier: Apache-2.0
/* Known error codes in the journals of qgsd, PCCS and aesmd, translated. */
#include <errno.h>
#include <string.h>

#include "host/check/checks-attestation.h"

/* Lines of one failure: a library that tries again does it for about a minute. */
#define BURST_US (UINT64_C(120) * 1000000)

const struct outcome dcap_log_outcomes[] = {
	{ "quiet", CHECK_OK },
	{ "before", CHECK_OK }, /* it was started since, or has answered: the next quote will show */
	{ "error", CHECK_FAIL, "%s", NULL },
	{ 0 },
};

const struct dcap_code *dcap_last(const struct journal_tail *tail, enum dcap_speaker speaker,
				  uint64_t *at_us)
{
	const struct dcap_code *last = NULL;

	for (size_t i = 0; i < tail->n; i++) {
		const struct journal_line *line = &tail->lines[i];
		const struct dcap_code *code;

		if (dcap_is_success(speaker, line->text) ||
		    (last && line->at_us + BURST_US < *at_us))
			break;
		code = dcap_code_in(speaker, line->text);
		if (!code || (last && code->depth <= last->depth))
			continue;
		if (!last)
			*at_us = line->at_us;
		last = code;
	}
	return last;
}

uint64_t part_started_us(const struct check_view *v, const char *part)
{
	const struct unit_state *u = v->parts.unit ? &v->parts.unit[part_find(part)] : NULL;

	return !u ? 0 : u->main_us ? u->main_us : u->active_us;
}

/* Does a check that looks at the cause itself fail? */
static int fails(const struct check_view *v, const char *id)
{
	const struct check *c = check_at((size_t)check_find(id));
	struct verdict scratch = { .check = c };
	const struct outcome *o = c->outcomes;
	const char *name;

	if ((c->flags & CHECK_HARDWARE) && v->simulated)
		return 0;
	name = c->eval(v, &scratch);
	while (o->name && strcmp(o->name, name) != 0)
		o++;
	verdicts_free(&scratch, 1);
	return o->name && o->status == CHECK_FAIL;
}

static const char *explained_by(const struct check_view *v)
{
	static const char *const causes[] = { "pccs.intel", "pccs.api-key", "registration" };

	for (size_t i = 0; i < ARRAY_SIZE(causes); i++)
		if (fails(v, causes[i]))
			return causes[i];
	return NULL;
}

static void tell(const struct check_view *v, struct verdict *r, const struct dcap_code *code,
		 uint64_t at_us)
{
	uint64_t ago = v->parts.now_us > at_us ? (v->parts.now_us - at_us) / 60000000 : 0;

	if (code->code >= 0x1000)
		verdict_found(r, "0x%x %s, %llu minutes ago", code->code, code->name,
			      (unsigned long long)ago);
	else if (code->code)
		verdict_found(r, "AESM error %u %s, %llu minutes ago", code->code, code->name,
			      (unsigned long long)ago);
	else
		verdict_found(r, "%s, %llu minutes ago", code->name, (unsigned long long)ago);
	verdict_subject(r, "%s", code->cause);
}

/* started_us: what was said before has been tried to be mended. */
static const char *eval_log(const struct check_view *v, struct verdict *r,
			    enum check_journal journal, enum dcap_speaker speaker,
			    uint64_t started_us)
{
	const struct journal_tail *tail = &v->journal[journal];
	const struct dcap_code *code;
	const char *cause;
	uint64_t at_us = 0;

	if (tail->error == -EACCES || tail->error == -EPERM)
		return SKIP_PRIVILEGE;
	if (tail->error) {
		verdict_subject(r, "the journal: %s", strerror(-tail->error));
		return SKIP_UNKNOWN;
	}
	code = dcap_last(tail, speaker, &at_us);
	if (!code)
		return "quiet";
	cause = speaker == DCAP_PCCS ? NULL : explained_by(v);
	if (cause) {
		verdict_subject(r, "%s", cause);
		return SKIP_NEEDS;
	}
	tell(v, r, code, at_us);
	/* qgsd has just answered: that check comes first. */
	if (at_us < started_us || (speaker == DCAP_QGSD && dcap_is_of_devices(code)))
		return "before";
	verdict_fix(r, "%s", code->fix);
	return "error";
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* A refused key has a check of its own, which asks Intel. */
const char *eval_pccs_errors(const struct check_view *v, struct verdict *r)
{
	if (fails(v, "pccs.intel") || fails(v, "pccs.api-key")) {
		verdict_subject(r, "%s", fails(v, "pccs.intel") ? "pccs.intel" : "pccs.api-key");
		return SKIP_NEEDS;
	}
	return eval_log(v, r, CHECK_JOURNAL_PCCS, DCAP_PCCS, part_started_us(v, "pccs"));
}

const char *eval_qgsd_errors(const struct check_view *v, struct verdict *r)
{
	return eval_log(v, r, CHECK_JOURNAL_QGSD, DCAP_QGSD,
			later(part_started_us(v, "qgsd"), part_started_us(v, "pccs")));
}

const char *eval_aesm_errors(const struct check_view *v, struct verdict *r)
{
	return eval_log(v, r, CHECK_JOURNAL_AESM, DCAP_AESM,
			later(part_started_us(v, "aesmd"), part_started_us(v, "pccs")));
}
