// SPDX-License-Identifier: Apache-2.0
/*
 * Starting the unit makes new containers wherever their images' names mean other images by
 * then. The unit refuses that itself; a fix that it refuses would mend nothing.
 */
#include "host/check/key-provider-gate.h"

#include <string.h>

#include "base/macro.h"

void key_provider_gate(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *why = NULL;

	if (!r->fix || !strstr(r->fix, "start " KEY_PROVIDER_UNIT))
		return;
	if (v->live && !v->privileged) {
		verdict_fix(r, "sudo dstack-host check key-provider");
		return;
	}
	why = key_provider_refused(v->parts.root, v->parts.settings, v->parts.probe);
	if (why)
		verdict_fix(r, "do not start the key provider: %s", why);
}
