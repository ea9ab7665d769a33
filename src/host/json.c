// SPDX-License-Identifier: Apache-2.0
/* Writing JSON files with jansson. */
#include "host/json.h"

#include "base/alloc.h"

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
