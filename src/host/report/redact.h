// SPDX-License-Identifier: Apache-2.0
/*
 * The last net under everything that leaves the host: what is known to be secret here is
 * replaced, wherever it stands. It comes after not putting secrets anywhere, not instead.
 */
#pragma once

#include <jansson.h>

#include "base/macro.h"
#include "base/root.h"
#include "host/conf/settings.h"

struct redactor;

/* Everything that this host keeps secret and that this process may read: the values of
 * secrets.h and their digests, credentials and key paths of URLs, those that a deployed KMS is
 * sealed to included. 0, or -errno: something is secret and could not be read (not because it
 * is not there, nor for lack of privilege: what may not be read cannot be shown). */
int redact_load(const struct root *root, const struct settings *s, struct redactor **ret)
	_must_check_;
/* One more; `with` stands in its place. Short words would hit innocent text: not taken. */
void redact_add(struct redactor *r, const char *what, const char *with);
/* A copy without them, the caller's, and without what looks like a secret though it is not known
 * here (redact-shape.h). */
char *redact_text(const struct redactor *r, const char *text) _must_check_;
/* All strings in it, in place. */
void redact_json(const struct redactor *r, json_t *value);
void redact_free(struct redactor **r);

#define _cleanup_redactor_ _cleanup_(redact_free)
