// SPDX-License-Identifier: Apache-2.0
/*
 * Starting the unit makes new containers wherever their images' names mean other images by
 * then. Another image has another enclave, whose keys open no disk.
 */
#include "host/check/key-provider-gate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/kms/kms.h"
#include "host/probe/key-provider.h"

static const char *id_of(const struct check_view *v, enum probe_id id)
{
	_cleanup_free_ char *trouble = NULL;

	return probe_answered(&v->parts.probe[id], 200, &trouble) ?
		       peer_get(&v->parts.probe[id].answer, "id") :
		       NULL;
}

/* The image that has sealed: on record, else the running one. NULL: there is none, or (*r < 0)
 * nobody knows. The caller's. */
static char *who_has_sealed(const struct check_view *v, int *r)
{
	const char *runs = id_of(v, PROBE_SEALING_INSPECT);
	char *recorded = NULL;

	*r = key_provider_recorded(v->parts.root, &recorded);
	if (*r == 0)
		return recorded;
	if (*r != -ENOENT)
		return NULL;
	if (runs) {
		*r = 0;
		return xstrdup(runs);
	}
	/* Before the first KMS is deployed nothing is sealed. */
	*r = root_exists(v->parts.root, KMS_RECORD) ? -ENOENT : 0;
	return NULL;
}

void key_provider_gate(const struct check_view *v, struct verdict *r)
{
	const char *name = setting(v->parts.settings, KEY_KEY_PROVIDER_IMAGE), *here;
	_cleanup_free_ char *sealed = NULL;
	int e;

	if (!r->fix || !strstr(r->fix, "start " KEY_PROVIDER_UNIT))
		return;
	if (v->live && !v->privileged) {
		verdict_fix(r, "sudo dstack-host check key-provider");
		return;
	}
	sealed = who_has_sealed(v, &e);
	here = id_of(v, PROBE_SEALING_IMAGE);
	if (e == 0 && (!sealed || (here && strcmp(here, sealed) == 0)))
		return;
	if (e < 0)
		verdict_fix(r, "do not start the key provider: which image has sealed is not known (%s: "
			    "%s)", KEY_PROVIDER_RECORD, strerror(-e));
	else if (!here)
		verdict_fix(r, "do not start the key provider: what is %s here cannot be told, and %s has "
			    "sealed (sudo docker image ls --no-trunc)", name, sealed);
	else if (strstr(name, "@sha256:"))
		verdict_fix(r, "do not start the key provider: %s is %s here, and %s has sealed (sudo "
			    "docker image ls --no-trunc)", name, here, sealed);
	else
		verdict_fix(r, "do not start the key provider: %s is %s here; first give the name back to "
			    "the image that has sealed: sudo docker tag %s %s", name, here, sealed,
			    name);
}
