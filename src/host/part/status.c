// SPDX-License-Identifier: Apache-2.0
/* Status: collecting. */
#include "host/part/status.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/utf8.h"
#include "host/conf/import.h"

static void add_problem(struct status *s, char *text)
{
	s->problems = xrealloc(s->problems, (s->n_problems + 1) * sizeof(*s->problems));
	s->problems[s->n_problems++] = text;
}

/* Answers that were not stored: "KEY: reason", until the key is set. */
static void add_rejected(const struct part_view *v, struct status *s, char **fix)
{
	_cleanup_free_ char *text = NULL;

	if (file_read(v->root, REJECTED_PATH, IMPORT_MAX, &text, NULL) < 0)
		return;
	for (char *p = text; *p;) {
		size_t n = strcspn(p, "\n"), name = strcspn(p, ":\n");
		_cleanup_free_ char *key = xstrndup(p, name);

		if (n)
			add_problem(s, xasprintf("not stored: %.*s", (int)n, p));
		if (!*fix && key_find(key) >= 0)
			*fix = xasprintf("sudo dstack-host config set %s=…", key);
		else if (!*fix && secret_find(key) >= 0)
			*fix = xasprintf("sudo dstack-host secret set %s", key);
		p += n + (p[n] == '\n');
	}
}

static void clean_all(struct status *s)
{
	for (size_t i = 0; i < n_parts; i++) {
		utf8_clean(s->findings[i].detail);
		utf8_clean(s->findings[i].fix);
		utf8_clean(s->findings[i].address);
	}
	for (size_t i = 0; i < s->n_problems; i++)
		utf8_clean(s->problems[i]);
	utf8_clean(s->next);
}

void status_look(void *arg)
{
	struct part_view *v = arg;

	if (root_is_host(v->root))
		v->public_error = listeners_public(v->root, &v->public);
}

void status_collect(const struct part_view *v, struct status *ret)
{
	const struct diag *d = &v->settings->diag;
	_cleanup_free_ char *fix = NULL;

	*ret = (struct status){
		.findings = xcalloc(n_parts, sizeof(*ret->findings)),
		.simulated = root_exists(v->root, SIM_DEFAULTS),
		.drained = v->drained,
		.drained_us = v->drained_us,
		.public = &v->public,
		.public_error = v->public_error,
		.domain = setting(v->settings, KEY_DOMAIN),
	};
	if (v->look_too != status_look && root_is_host(v->root)) {
		ret->public_error = listeners_public(v->root, &ret->own);
		ret->public = &ret->own;
	}
	parts_judge(v, ret->findings);
	for (size_t i = 0; i < d->n; i++)
		add_problem(ret, diag_format(&d->items[i]));
	add_rejected(v, ret, &fix);
	ret->next = parts_next(ret->findings, geteuid() == 0);
	/* A refused answer is what the host waits for, more than for any start. */
	if (fix) {
		free(ret->next);
		ret->next = steal_ptr(fix);
	}
	clean_all(ret);
}

int status_fine(const struct status *s)
{
	return parts_fine(s->findings) && s->n_problems == 0;
}

void status_free(struct status *s)
{
	findings_free(s->findings, n_parts);
	free(s->findings);
	listeners_free(&s->own);
	for (size_t i = 0; i < s->n_problems; i++)
		free(s->problems[i]);
	free(s->problems);
	free(s->next);
	*s = (struct status){ 0 };
}
