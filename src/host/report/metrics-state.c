// SPDX-License-Identifier: Apache-2.0
/* The last answers of the probes that are asked seldom, in a file that only root reads and
 * writes. Their facts come from strangers, so it is read back as strictly as it came. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "host/report/metrics.h"

#define HEADER "dstack-host.probes/1"

enum { STATE_MAX = 4 << 20, FACTS_MAX = 100000 };

static void add_line(struct strbuf *out, const char *word, const char *text)
{
	_cleanup_free_ char *copy = xstrdup(text);

	utf8_clean(copy); /* a line break would make two of it */
	sb_addf(out, "%s %s\n", word, copy);
}

static void print_probe(const struct slow_probe *slow, const struct probe_result *p,
			struct strbuf *out)
{
	const struct peer_answer *a = &p->answer;

	if (!p->asked)
		return;
	sb_addf(out, "probe %s %d %d %ld %u\n", slow->name, -p->error, (int)a->error, a->status,
		a->ms);
	if (a->text)
		add_line(out, "text", a->text);
	for (size_t i = 0; i < a->n_facts; i++) {
		_cleanup_free_ char *fact = xasprintf("%s %s", a->facts[i].key,
						      a->facts[i].value);

		add_line(out, "fact", fact);
	}
}

void slow_state_print(const struct slow_state *state, struct strbuf *out)
{
	sb_addf(out, HEADER "\ntried %llu\nanswered %llu\nsettings %s\n",
		(unsigned long long)state->tried_s, (unsigned long long)state->answered_s,
		*state->settings ? state->settings : "-");
	for (size_t i = 0; i < n_slow_probes; i++)
		print_probe(&slow_probes[i], &state->probe[slow_probes[i].id], out);
	sb_add(out, "end\n");
}

static struct probe_result *find_probe(struct slow_state *state, const char *name)
{
	for (size_t i = 0; i < n_slow_probes; i++)
		if (strcmp(slow_probes[i].name, name) == 0)
			return &state->probe[slow_probes[i].id];
	return NULL;
}

/* "NAME ERRNO PEER_ERROR STATUS MS" */
static struct probe_result *parse_probe(const char *line, struct slow_state *state)
{
	struct probe_result *p;
	unsigned error, peer, ms;
	char name[32];
	long status;
	int end = 0;

	if (sscanf(line, "%31s %u %u %ld %u%n", name, &error, &peer, &status, &ms, &end) != 5 ||
	    line[end] || peer > PEER_INTERNAL || error > 4095 || status < 0 || status > 999)
		return NULL;
	p = find_probe(state, name);
	if (!p || p->asked)
		return NULL;
	*p = (struct probe_result){ .asked = 1, .error = -(int)error };
	p->answer.error = (enum peer_error)peer;
	p->answer.status = status;
	p->answer.ms = ms;
	return p;
}

static int add_fact(struct peer_answer *a, const char *line)
{
	size_t n = strcspn(line, " ");

	if (!n || line[n] != ' ' || a->n_facts == FACTS_MAX)
		return -EBADMSG;
	a->facts = xrealloc(a->facts, (a->n_facts + 1) * sizeof(*a->facts));
	a->facts[a->n_facts++] = (struct peer_fact){ xstrndup(line, n), xstrdup(line + n + 1) };
	return 0;
}

static const char *after(const char *line, const char *word)
{
	size_t n = strlen(word);

	return strncmp(line, word, n) == 0 && line[n] == ' ' ? line + n + 1 : NULL;
}

static int parse_head(const char *line, struct slow_state *state)
{
	const char *v;

	if ((v = after(line, "tried")))
		return parse_uint(v, 0, INT64_MAX, &state->tried_s) ? -EBADMSG : 0;
	if ((v = after(line, "answered")))
		return parse_uint(v, 0, INT64_MAX, &state->answered_s) ? -EBADMSG : 0;
	v = after(line, "settings");
	if (!v || strlen(v) >= sizeof(state->settings))
		return -EBADMSG;
	strcpy(state->settings, strcmp(v, "-") == 0 ? "" : v);
	return 0;
}

/* 1: it was the last line. */
static int parse_line(const char *line, unsigned number, struct slow_state *state,
		      struct probe_result **at)
{
	const char *v;

	if (number == 0)
		return strcmp(line, HEADER) == 0 ? 0 : -EBADMSG;
	if (number <= 3)
		return parse_head(line, state);
	if (strcmp(line, "end") == 0)
		return 1;
	if ((v = after(line, "probe"))) {
		*at = parse_probe(v, state);
		return *at ? 0 : -EBADMSG;
	}
	if (*at && !(*at)->answer.text && (v = after(line, "text"))) {
		(*at)->answer.text = xstrdup(v);
		return 0;
	}
	return *at && (v = after(line, "fact")) ? add_fact(&(*at)->answer, v) : -EBADMSG;
}

int slow_state_parse(const char *text, struct slow_state *ret)
{
	struct probe_result *at = NULL;
	int r = 0;

	*ret = (struct slow_state){ 0 };
	for (unsigned number = 0; r == 0 && *text; number++) {
		size_t n = strcspn(text, "\n");
		_cleanup_free_ char *line = xstrndup(text, n);
		_cleanup_free_ char *shown = xstrdup(line);

		utf8_clean(shown);
		r = text[n] && strcmp(line, shown) == 0 ? parse_line(line, number, ret, &at) :
							  -EBADMSG;
		text += n + (text[n] != '\0');
	}
	/* Cut short, or with something behind its end. */
	if (r == 1 && !*text)
		return 0;
	slow_state_free(ret);
	return -EBADMSG;
}

void slow_state_load(const struct root *root, struct slow_state *ret)
{
	_cleanup_close_ int fd = root_openat(root, METRICS_STATE,
					     O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	_cleanup_free_ char *text = NULL;
	struct stat st;

	*ret = (struct slow_state){ 0 };
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 077))
		return;
	if (fd_read_all(fd, STATE_MAX, &text, NULL) < 0 || slow_state_parse(text, ret) < 0)
		*ret = (struct slow_state){ 0 };
}

int slow_state_save(const struct root *root, const struct slow_state *state)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct file_spec spec = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int r;

	slow_state_print(state, &out);
	spec.data = out.data;
	spec.len = out.len;
	r = file_replace(root, METRICS_STATE, &spec);
	return r < 0 ? r : 0;
}

void slow_state_free(struct slow_state *state)
{
	probes_free(state->probe);
	*state = (struct slow_state){ 0 };
}
