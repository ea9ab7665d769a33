// SPDX-License-Identifier: Apache-2.0
/* Values without their credentials. */
#include "host/conf/shown.h"

#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "base/strbuf.h"

/* Keys of RPC providers are in user:password@ or in the path; only the host is shown. */
static int show_url(const char *word, void *arg)
{
	struct strbuf *sb = arg;
	struct url u;

	if (sb->len)
		sb_addc(sb, ' ');
	if (parse_url(word, &u)) {
		sb_add(sb, "(not shown)");
		return 0;
	}
	sb_addf(sb, strchr(u.host, ':') ? "%s://[%s]:%u" : "%s://%s:%u", u.scheme, u.host,
		u.port);
	if (u.has_user || strlen(u.path) > 1)
		sb_add(sb, "/...");
	return 0;
}

char *shown_value(const struct settings *s, enum key_id id)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };

	if (!(keys[id].flags & KEY_REDACT))
		return xstrdup(setting(s, id));
	for_each_word(setting(s, id), show_url, &sb);
	return sb_steal(&sb);
}
