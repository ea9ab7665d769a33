// SPDX-License-Identifier: Apache-2.0
/* Report: the values of a TOML file, but for those that may be secret. */
#include <string.h>

#include "base/alloc.h"
#include "host/json.h"
#include "host/report/report.h"
#include "host/tomlread.h"

static int everything(const char *path _unused_)
{
	return 1;
}

/* JSON has no infinity and no "not a number". */
static json_t *to_number(double v)
{
	json_t *out = json_real(v);

	return out ? out : json_string(v > 0 ? "inf" : v < 0 ? "-inf" : "nan");
}

static json_t *to_json(const struct toml *v, const char *path, int (*shown)(const char *path))
{
	json_t *out;

	switch (v->type) {
	case TOML_TABLE:
		out = json_object();
		for (const struct toml *m = v->first; m; m = m->next) {
			_cleanup_free_ char *inner = xasprintf("%s%s%s", path,
							       *path ? "." : "", m->key);
			int table = m->type == TOML_TABLE;
			json_t *key = report_text(m->key);

			report_set(out, json_string_value(key),
				   table || shown(inner) ? to_json(m, inner, shown) :
							   json_string("(not shown)"));
			json_decref(key);
		}
		return out;
	case TOML_ARRAY:
		out = json_array();
		/* What is in a list that is shown is shown, keys of tables included. */
		for (const struct toml *m = v->first; m; m = m->next)
			json_push(out, to_json(m, "", everything));
		return out;
	case TOML_INTEGER:
		return json_integer(v->integer);
	case TOML_BOOL:
		return json_boolean(v->integer != 0);
	case TOML_FLOAT:
		return to_number(v->real);
	case TOML_STRING:
	case TOML_TIME:
		break;
	}
	return report_text(v->text);
}

json_t *report_toml(const char *text, int (*shown)(const char *path))
{
	_cleanup_toml_ struct toml *doc = NULL;
	struct toml_error error = { 0 };

	if (toml_parse(text, strlen(text), &doc, &error) < 0)
		return NULL;
	return to_json(doc, "", shown);
}
