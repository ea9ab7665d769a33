// SPDX-License-Identifier: Apache-2.0
/* Reads the journal from its end, no further back than is asked for. */
#include "host/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/lib/lib-systemd.h"

void journal_tail_add(struct journal_tail *tail, uint64_t at_us, const char *text, size_t len)
{
	size_t max = tail->max ? tail->max : JOURNAL_LINES_MAX;

	if (tail->n == max)
		return;
	if (!tail->lines)
		tail->lines = xcalloc(max, sizeof(*tail->lines));
	tail->lines[tail->n++] = (struct journal_line){
		.at_us = at_us,
		.text = xstrndup(text, len < JOURNAL_TEXT_MAX ? len : JOURNAL_TEXT_MAX),
	};
}

void journal_tail_free(struct journal_tail *tail)
{
	for (size_t i = 0; i < tail->n; i++)
		free(tail->lines[i].text);
	free(tail->lines);
	*tail = (struct journal_tail){ 0 };
}

static void close_journal(sd_journal **j)
{
	if (*j)
		sym_sd_journal_close(*j);
}

static int add_match(const char *word, void *arg)
{
	return sym_sd_journal_add_match(arg, word, 0);
}

/* Matches of one field are alternatives, each field is one more condition. */
static int match(sd_journal *j, const char *words)
{
	char boot[SD_ID128_STRING_MAX];
	_cleanup_free_ char *of_boot = NULL;
	sd_id128_t id;
	int r = sym_sd_id128_get_boot(&id);

	if (r < 0)
		return r;
	of_boot = xasprintf("_BOOT_ID=%s", sym_sd_id128_to_string(id, boot));
	sym_sd_journal_flush_matches(j);
	r = sym_sd_journal_add_match(j, of_boot, 0);
	if (r >= 0)
		r = for_each_word(words, add_match, j);
	return r < 0 ? r : sym_sd_journal_seek_tail(j);
}

static int add_line(sd_journal *j, struct journal_tail *tail)
{
	static const char field[] = "MESSAGE=";
	const void *data;
	uint64_t at;
	size_t len;
	int r = sym_sd_journal_get_data(j, "MESSAGE", &data, &len);

	if (r == -ENOENT || r == -EBADMSG || (r >= 0 && len < sizeof(field) - 1))
		return 0;
	if (r >= 0)
		r = sym_sd_journal_get_realtime_usec(j, &at);
	if (r >= 0)
		journal_tail_add(tail, at, (const char *)data + sizeof(field) - 1,
				 len - (sizeof(field) - 1));
	return r;
}

static int read_tail(sd_journal *j, const char *words, struct journal_tail *tail)
{
	int r = match(j, words);

	for (size_t i = 0; r >= 0 && i < (tail->max ? tail->max : JOURNAL_LINES_MAX); i++) {
		r = sym_sd_journal_previous(j);
		if (r <= 0)
			break;
		r = add_line(j, tail);
	}
	return r < 0 ? r : 0;
}

static void read_all(const char *const *matches, size_t n, struct journal_tail *tails)
{
	_cleanup_(close_journal) sd_journal *j = NULL;
	int r = libsystemd_load();

	if (r == 0)
		r = sym_sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
	for (size_t i = 0; i < n; i++)
		tails[i].error = r < 0 ? r : read_tail(j, matches[i], &tails[i]);
}

void journal_read(const char *const *matches, size_t n, struct journal_tail *tails)
{
	memset(tails, 0, n * sizeof(*tails));
	read_all(matches, n, tails);
}

void journal_read_max(const char *match, size_t max, struct journal_tail *tail)
{
	*tail = (struct journal_tail){ .max = max };
	read_all(&match, 1, tail);
}
