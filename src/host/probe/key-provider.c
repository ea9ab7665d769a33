// SPDX-License-Identifier: Apache-2.0
/* The record of the key provider that sealed. */
#include "host/probe/key-provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/lock.h"
#include "base/log.h"
#include "host/kms/kms.h"
#include "host/probe/probes.h"

enum { RECORD_MAX = 256, LOCK_SECONDS = 30 };

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

static int put(const struct root *root, const char *id)
{
	_cleanup_free_ char *line = xasprintf("%s\n", id);
	const struct file_spec spec = { line, strlen(line), 0600, (uid_t)-1, (gid_t)-1 };
	_cleanup_close_ int lock = -1;
	int r = lock_take(root, LOCK_SECONDS, &lock);

	return r < 0 ? r : file_replace(root, KEY_PROVIDER_RECORD, &spec);
}

/* The container's, not what its tag names by now: the running enclave is who seals. */
static void note(const struct root *root, const struct probe_result *container)
{
	const char *id = peer_get(&container->answer, "id");
	_cleanup_free_ char *trouble = NULL;
	int r = 0;

	if (probe_answered(container, 200, &trouble) && id)
		r = put(root, id);
	else
		trouble = trouble ? trouble : xstrdup("Docker names no image");
	if (r < 0)
		trouble = xstrdup(strerror(-r));
	if (trouble)
		log_warning("which key provider has sealed the KMS is not recorded: %s", trouble);
	else
		log_info("recorded its key provider in " KEY_PROVIDER_RECORD);
}

void key_provider_record(const struct root *root, const struct settings *s)
{
	_cleanup_free_ char *recorded = NULL, *ca = NULL;
	struct probe_result results[PROBE_COUNT] = { 0 };
	int r;

	if (kms_ca_load(root, &ca) < 0 || !ca ||
	    key_provider_recorded(root, &recorded) != -ENOENT)
		return;
	r = probes_ask(root, s, PROBE(PROBE_SEALING_INSPECT), 0, results);
	if (r < 0)
		results[PROBE_SEALING_INSPECT] = (struct probe_result){ .asked = 1, .error = r };
	note(root, &results[PROBE_SEALING_INSPECT]);
	probes_free(results);
}
