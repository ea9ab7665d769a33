// SPDX-License-Identifier: Apache-2.0
/* Reads the record of the key provider that sealed. */
#include "host/check/key-provider-record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"

enum { RECORD_MAX = 256 };

int key_provider_recorded(const struct root *root, char **ret)
{
	int r = file_read(root, KEY_PROVIDER_RECORD, RECORD_MAX, ret, NULL);

	if (r < 0)
		return r;
	(*ret)[strcspn(*ret, "\n")] = '\0';
	if (**ret)
		return 0;
	free(*ret);
	*ret = NULL;
	return -EBADMSG;
}
