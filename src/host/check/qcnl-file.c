// SPDX-License-Identifier: Apache-2.0
/* JSON with comments, and nothing else that JSON does not have. */
#include "host/check/qcnl-file.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/json.h"

#define URL_DEFAULT "https://localhost:8081/sgx/certification/v4/"

enum { QCNL_MAX = 64 << 10 };

static const char *const known[] = {
	"pccs_url", "use_secure_cert", "collateral_service", "tcb_update_type",
	"pccs_api_version", "retry_times", "retry_delay", "local_pck_url",
	"pck_cache_expire_hours", "verify_collateral_cache_expire_hours", "local_cache_only",
	"custom_request_options",
};

/* Past a string that begins at `p`. */
static char *skip_string(char *p)
{
	for (p++; *p && *p != '"'; p++)
		if (*p == '\\' && p[1])
			p++;
	return *p ? p + 1 : p;
}

/* Comments become blanks, line breaks stay: lines keep their numbers. */
static void blank_comments(char *p)
{
	while (*p) {
		const char *end;

		if (*p == '"') {
			p = skip_string(p);
			continue;
		}
		if (p[0] != '/' || (p[1] != '/' && p[1] != '*')) {
			p++;
			continue;
		}
		if (p[1] == '/')
			end = p + strcspn(p, "\n");
		else
			end = strstr(p + 2, "*/") ? strstr(p + 2, "*/") + 2 : NULL;
		for (; end && p < end; p++)
			*p = *p == '\n' ? '\n' : ' ';
		if (!end)
			return;
	}
}

static int is_known(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i], key) == 0)
			return 1;
	return 0;
}

void qcnl_parse(const char *text, struct qcnl_file *ret)
{
	_cleanup_free_ char *plain = xstrdup(text);
	json_t *doc, *value;
	json_error_t error;
	const char *key;

	*ret = (struct qcnl_file){ .secure = 1 };
	blank_comments(plain);
	doc = json_loads(plain, JSON_REJECT_DUPLICATES, &error);
	if (!doc)
		ret->broken = xasprintf("line %d: %s", error.line, error.text);
	else if (!json_is_object(doc))
		ret->broken = xstrdup("it is no object");
	json_object_foreach(doc, key, value)
		if (!ret->unknown && !is_known(key))
			ret->unknown = xstrdup(key);
	value = json_object_get(doc, "pccs_url");
	ret->url = xstrdup(json_is_string(value) ? json_string_value(value) : URL_DEFAULT);
	value = json_object_get(doc, "use_secure_cert");
	ret->secure = !json_is_false(value);
	json_decref(doc);
}

int qcnl_read(const struct root *root, const char *path, struct qcnl_file *ret)
{
	_cleanup_free_ char *text = NULL;
	int r = file_read(root, path, QCNL_MAX, &text, NULL);

	*ret = (struct qcnl_file){ 0 };
	if (r == 0)
		qcnl_parse(text, ret);
	return r;
}

void qcnl_free(struct qcnl_file *f)
{
	free(f->url);
	free(f->broken);
	free(f->unknown);
	*f = (struct qcnl_file){ 0 };
}
