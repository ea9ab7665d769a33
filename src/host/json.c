// SPDX-License-Identifier: Apache-2.0
/* Reading and writing JSON with jansson. */
#include "host/json.h"

#include "base/alloc.h"

enum { VALUES_MAX = 1 << 18 };

static size_t count_values(const char *data, size_t len)
{
	int in_string = 0;
	size_t n = 1;

	for (size_t i = 0; i < len; i++) {
		if (data[i] == '"')
			in_string = !in_string;
		else if (in_string)
			i += data[i] == '\\';
		else
			n += data[i] == ',' || data[i] == '[' || data[i] == '{';
	}
	return n;
}

json_t *json_read(const char *data, size_t len, size_t flags)
{
	return count_values(data, len) > VALUES_MAX ? NULL : json_loadb(data, len, flags, NULL);
}

static int add(const char *buffer, size_t size, void *data)
{
	sb_addn(data, buffer, size);
	return 0;
}

void json_write(struct strbuf *out, json_t *root)
{
	if (!root || json_dump_callback(root, add, out, JSON_INDENT(2)) < 0)
		out_of_memory();
	json_decref(root);
	sb_addc(out, '\n');
}

void json_push(json_t *list, json_t *item)
{
	if (!item || json_array_append_new(list, item) < 0)
		out_of_memory();
}
