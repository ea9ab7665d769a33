// SPDX-License-Identifier: Apache-2.0
/* Status: printing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/text.h"
#include "host/json.h"
#include "host/part/status.h"
#include "host/vmm/drain.h"

enum { TITLE = 29, STATE = 8 };
enum { DETAIL_AT = TITLE + STATE + 1 };

static const char *colour_of(enum part_state state)
{
	static const char *const codes[] = {
		[PART_OK] = "\033[32m",	  [PART_WAITING] = "\033[33m",
		[PART_FAILED] = "\033[31m", [PART_OFF] = "\033[2m",
		[PART_UNKNOWN] = "\033[35m", [PART_SILENT] = "",
	};

	return codes[state];
}

static void add_row(struct strbuf *out, const struct part *p, const struct finding *f,
		    int colour)
{
	_cleanup_free_ char *detail =
		f->address && f->state == PART_OK ?
			xasprintf("%s, %s", f->detail, f->address) :
			xstrdup(f->detail ? f->detail : "");

	sb_addf(out, "%-*s%s%-*s%s ", TITLE, p->title, colour ? colour_of(f->state) : "", STATE,
		part_state_name(f->state), colour ? "\033[0m" : "");
	text_wrap(out, detail, DETAIL_AT);
}

static void add_public(struct strbuf *out, const struct status *s)
{
	if (s->public_error < 0) {
		sb_addf(out, "\nListening for others: unknown (%s)\n",
			strerror(-s->public_error));
		return;
	}
	sb_add(out, s->public->n ? "\nListening for others:\n" :
				  "\nListening for others: nothing\n");
	for (size_t i = 0; i < s->public->n; i++) {
		const struct listener *l = &s->public->items[i];
		_cleanup_free_ char *at = xasprintf(strchr(l->address, ':') ? "[%s]:%u" : "%s:%u",
						    l->address, l->port);

		if (l->process)
			sb_addf(out, "  tcp %-*s %s\n", TITLE + STATE - 6, at, l->process);
		else
			sb_addf(out, "  tcp %s\n", at);
	}
}

static void add_drained(struct strbuf *out, const struct status *s)
{
	_cleanup_free_ char *text = drained_text(s->drained_us);

	if (s->drained)
		sb_addf(out, "This host has been %s; " DRAINED_END "\nstarts it.\n\n", text);
}

void status_text(const struct status *s, int colour, struct strbuf *out)
{
	sb_addf(out, "dstack host%s%s%s\n\n", *s->domain ? " " : "", s->domain,
		s->simulated ? " (simulated)" : "");
	add_drained(out, s);
	for (size_t i = 0; i < n_parts; i++)
		add_row(out, &parts[i], &s->findings[i], colour);
	add_public(out, s);
	if (s->n_problems)
		sb_add(out, "\nProblems:\n");
	for (size_t i = 0; i < s->n_problems; i++) {
		sb_add(out, "  ");
		text_wrap(out, s->problems[i], 2);
	}
	sb_addf(out, "\nNext: %s\n", s->next ? s->next : "nothing to do");
}

static json_t *time_json(uint64_t us)
{
	time_t t = (time_t)(us / 1000000);
	struct tm tm;
	char text[32];

	if (!us || !gmtime_r(&t, &tm))
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static json_t *part_json(const struct part *p, const struct finding *f)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:s?, s:o, s:s?}", "id", p->id,
			 "group", p->group, "title", p->title, "state",
			 part_state_name(f->state), "detail", f->detail ? f->detail : "", "unit",
			 p->unit, "address", f->address, "since", time_json(f->since_us), "fix",
			 f->fix);
}

void status_json(const struct status *s, struct strbuf *out)
{
	json_t *list = json_array(), *public = json_array(), *problems = json_array();

	for (size_t i = 0; i < n_parts; i++)
		json_push(list, part_json(&parts[i], &s->findings[i]));
	for (size_t i = 0; i < s->public->n; i++) {
		const struct listener *l = &s->public->items[i];

		json_push(public, json_pack("{s:s, s:s, s:i, s:s?}", "protocol", "tcp", "address",
					 l->address, "port", (int)l->port, "process", l->process));
	}
	for (size_t i = 0; i < s->n_problems; i++)
		json_push(problems, json_string(s->problems[i]));
	json_write(out, json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:s?}", "schema",
				  "dstack-host.status/1", "simulated", s->simulated, "drained",
				  s->drained ? time_json(s->drained_us) : json_null(), "parts", list, "public", public, "problems", problems, "next",
				  s->next));
}
