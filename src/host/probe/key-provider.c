// SPDX-License-Identifier: Apache-2.0
/* The record of the key provider that sealed, and who may be started beside it. */
#include "host/probe/key-provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/lock.h"
#include "base/log.h"
#include "host/kms/kms.h"
#include "host/render/vmm-toml.h"
#include "host/vmm/vmdir.h"

#define SIMULATED "simulated"

enum { RECORD_MAX = 256, LOCK_SECONDS = 30 };

static int load(const struct root *root, char **ret, int *simulated)
{
	int r = file_read(root, KEY_PROVIDER_RECORD, RECORD_MAX, ret, NULL);
	char *end;

	if (r < 0)
		return r;
	end = *ret + strcspn(*ret, "\n");
	*simulated = strcmp(end, "\n" SIMULATED "\n") == 0;
	*end = '\0';
	if (**ret)
		return 0;
	free(*ret);
	*ret = NULL;
	return -EBADMSG;
}

int key_provider_recorded(const struct root *root, char **ret)
{
	int simulated;

	return load(root, ret, &simulated);
}

static int put(const struct root *root, const char *id, int simulated)
{
	_cleanup_free_ char *text = xasprintf("%s\n%s", id, simulated ? SIMULATED "\n" : "");
	const struct file_spec spec = { text, strlen(text), 0600, (uid_t)-1, (gid_t)-1 };
	_cleanup_close_ int lock = -1;
	int r = lock_take(root, LOCK_SECONDS, &lock);

	/* Below --root DIR nobody has made it before the first KMS. */
	if (r == 0)
		r = root_mkdirs(root, KMS_DIR, 0700);
	return r < 0 ? r : file_replace(root, KEY_PROVIDER_RECORD, &spec);
}

int key_provider_record_as(const struct root *root, const char *id)
{
	return put(root, id, 0);
}

/* --- what Docker says --- */

static const char *fact_of(const struct probe_result *result, const char *name)
{
	_cleanup_free_ char *trouble = NULL;

	return probe_answered(result, 200, &trouble) ? peer_get(&result->answer, name) : NULL;
}

/* The container's, not what its tag names by now: the running enclave is who seals. */
static void note(const struct root *root, const struct probe_result *container)
{
	const char *id = fact_of(container, "id");
	_cleanup_free_ char *trouble = NULL;
	int r = 0;

	if (id)
		r = put(root, id, fact_of(container, SIMULATED) != NULL);
	else if (probe_answered(container, 200, &trouble))
		trouble = xstrdup("Docker names no image");
	if (r < 0)
		trouble = xstrdup(strerror(-r));
	if (trouble)
		log_warning("which key provider has sealed this host's disks is not recorded: %s",
			    trouble);
	else
		log_info("recorded the key provider that has sealed in " KEY_PROVIDER_RECORD);
}

/* What cannot be looked at counts. */
static int has_sealed(const struct root *root, const struct settings *s)
{
	_cleanup_free_ char *dir = NULL;

	if (root_exists(root, KMS_RECORD) || root_exists(root, KMS_CA))
		return 1;
	dir = vmm_dir(root, s);
	return vmdir_has_sealed(root, dir) != 0;
}

static int lacks_record(const struct root *root, const struct settings *s)
{
	_cleanup_free_ char *recorded = NULL;

	return key_provider_recorded(root, &recorded) == -ENOENT && has_sealed(root, s);
}

void key_provider_record(const struct root *root, const struct settings *s)
{
	struct probe_result results[PROBE_COUNT] = { 0 };
	int r;

	if (!lacks_record(root, s))
		return;
	r = probes_ask(root, s, PROBE(PROBE_SEALING_INSPECT), 0, results);
	if (r < 0)
		results[PROBE_SEALING_INSPECT] = (struct probe_result){ .asked = 1, .error = r };
	note(root, &results[PROBE_SEALING_INSPECT]);
	probes_free(results);
}

/* --- who may be started --- */

/* On record, else the container's that is there. 0 and no id: nothing is sealed; < 0: nobody
 * knows. *id is the caller's. */
static int who_has_sealed(const struct root *root, const struct settings *s,
			  const struct probe_result *container, char **id, int *simulated)
{
	const char *there = fact_of(container, "id");
	int r = load(root, id, simulated);

	if (r != -ENOENT || !has_sealed(root, s))
		return r == -ENOENT ? 0 : r;
	if (!there)
		return -ENOENT;
	*id = xstrdup(there);
	*simulated = fact_of(container, SIMULATED) != NULL;
	return 0;
}

char *key_provider_refused(const struct root *root, const struct settings *s,
			   const struct probe_result results[PROBE_COUNT])
{
	const struct probe_result *image = &results[PROBE_SEALING_IMAGE];
	const char *name = setting(s, KEY_KEY_PROVIDER_IMAGE), *here = fact_of(image, "id");
	_cleanup_free_ char *sealed = NULL;
	int simulated = 0;
	int r = who_has_sealed(root, s, &results[PROBE_SEALING_INSPECT], &sealed, &simulated);

	if (r < 0)
		return xasprintf("which image has sealed is not known (%s: %s)",
				 KEY_PROVIDER_RECORD, strerror(-r));
	if (!sealed || (here && (strcmp(here, sealed) == 0 ||
				 (simulated && fact_of(image, SIMULATED)))))
		return NULL;
	if (!here && image->asked && !image->error && image->answer.status == 404)
		return xasprintf("%s is not here, and %s has sealed; first fetch it, which starts "
				 "nothing: sudo docker pull %s", name, sealed, name);
	if (!here)
		return xasprintf("what is %s here cannot be told, and %s has sealed (sudo docker "
				 "image ls --no-trunc)", name, sealed);
	if (strstr(name, "@sha256:"))
		return xasprintf("%s is %s here, and %s has sealed (sudo docker image ls "
				 "--no-trunc)", name, here, sealed);
	return xasprintf("%s is %s here; first give the name back to the image that has sealed: "
			 "sudo docker tag %s %s", name, here, sealed, name);
}

char *key_provider_start_refused(const struct root *root, const struct settings *s)
{
	struct probe_result results[PROBE_COUNT] = { 0 };
	int r = probes_ask(root, s, KEY_PROVIDER_PROBES, 0, results);
	char *why;

	if (r == 0 && fact_of(&results[PROBE_SEALING_INSPECT], "id") && lacks_record(root, s))
		note(root, &results[PROBE_SEALING_INSPECT]);
	why = key_provider_refused(root, s, results);
	probes_free(results);
	return why;
}
