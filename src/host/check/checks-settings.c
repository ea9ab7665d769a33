// SPDX-License-Identifier: Apache-2.0
/* Checks of what was set, and of the files made from it. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/check/check.h"
#include "host/conf/import.h"
#include "host/conf/secrets.h"

static const struct outcome answers_outcomes[] = {
	{ "stored", CHECK_OK },
	{ "refused", CHECK_FAIL, "an answer given to debconf was not stored: %s",
	  "sudo dpkg-reconfigure dstack-host" },
	{ 0 },
};

/* REJECTED_PATH holds "KEY: reason" a line. */
static const char *eval_answers(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *text = NULL, *key = NULL;
	int error = file_read(v->parts.root, REJECTED_PATH, IMPORT_MAX, &text, NULL);

	if (error == -EACCES || error == -EPERM)
		return SKIP_PRIVILEGE;
	if (error == -ENOENT)
		return "stored";
	if (error < 0) {
		verdict_subject(r, "%s: %s", REJECTED_PATH, strerror(-error));
		return SKIP_UNKNOWN;
	}
	text[strcspn(text, "\n")] = '\0';
	key = xstrndup(text, strcspn(text, ":"));
	if (key_find(key) >= 0)
		verdict_fix(r, "sudo dstack-host config set %s=…", key);
	else if (secret_find(key) >= 0)
		verdict_fix(r, "sudo dstack-host secret set %s", key);
	verdict_found(r, "%s", text);
	verdict_subject(r, "%s", text);
	return "refused";
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "settings" },
	{ .id = "settings.answers", .title = "every answer of the installation is stored",
	  .outcomes = answers_outcomes, .eval = eval_answers },
	{ .id = "files" },
};
/* clang-format on */

const struct check_group group_settings = { "settings", checks, ARRAY_SIZE(checks) };
