// SPDX-License-Identifier: Apache-2.0
/* Tells how far a pull is. */
#include "host/image/image-progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "host/progress.h"

enum { DRAW_MS = 200, SAY_MS = 1000, LOG_MS = 60000, BAR = 24, WIDTH = 79 };
#define MIB (1 << 20)

void pull_progress_begin(struct pull_progress *p, const char *what, uint64_t from)
{
	uint64_t now = clock_ms();

	*p = (struct pull_progress){ .what = what, .from = from, .begun_ms = now,
				     .logged_ms = now, .terminal = isatty(STDERR_FILENO) };
}

char *pull_progress_text(const struct pull_progress *p, uint64_t at, uint64_t now_ms)
{
	uint64_t ms = now_ms > p->begun_ms ? now_ms - p->begun_ms : 1;
	double rate = (double)(at - p->from) * 1000 / (double)ms;
	struct strbuf out = { 0 };

	sb_addf(&out, "%llu", (unsigned long long)(at / MIB));
	if (p->total)
		sb_addf(&out, " of %llu", (unsigned long long)(p->total / MIB));
	sb_addf(&out, " MiB, %.1f MiB/s", rate / MIB);
	if (p->total > at && rate > 1)
		sb_addf(&out, ", %.0f s left", (double)(p->total - at) / rate);
	return sb_steal(&out);
}

static void draw(const struct pull_progress *p, uint64_t at, const char *text)
{
	char bar[BAR + 1], line[256];
	/* The total is the server's word, where no manifest has it. */
	size_t n = at >= p->total ? (p->total ? BAR : 0) : (size_t)(at * BAR / p->total);

	memset(bar, ' ', BAR);
	memset(bar, '=', n);
	bar[BAR] = '\0';
	snprintf(line, sizeof(line), "%.20s [%s] %s", p->what, bar, text);
	/* To the line's end: the one before may have been longer. */
	dprintf(STDERR_FILENO, "\r%-*.*s", WIDTH, WIDTH, line);
}

void pull_progress_at(struct pull_progress *p, uint64_t at)
{
	uint64_t now = clock_ms();
	_cleanup_free_ char *text = NULL;

	if (now < p->said_ms + SAY_MS && !(p->terminal && now >= p->drawn_ms + DRAW_MS))
		return;
	text = pull_progress_text(p, at, now);
	if (p->terminal && now >= p->drawn_ms + DRAW_MS) {
		draw(p, at, text);
		p->drawn_ms = now;
	}
	if (now >= p->said_ms + SAY_MS) {
		progress_say("%s: %s", p->what, text);
		p->said_ms = now;
	}
	if (!p->terminal && now >= p->logged_ms + LOG_MS) {
		log_info("%s: %s", p->what, text);
		p->logged_ms = now;
	}
}

int pull_progress_interval(const struct pull_progress *p)
{
	return p->terminal ? DRAW_MS : SAY_MS;
}

void pull_progress_break(struct pull_progress *p)
{
	if (p->terminal && p->drawn_ms)
		dprintf(STDERR_FILENO, "\r%*s\r", WIDTH, "");
	p->drawn_ms = 0;
}
