// SPDX-License-Identifier: Apache-2.0
/* Configuration of Debian's docker-registry: on a unix socket, the front is its door. */
#include "host/render/render.h"

int build_registry(const struct render_ctx *ctx, struct strbuf *out, const char **why)
{
	if (!setting_is_set(ctx->settings, KEY_REGISTRY)) {
		*why = "DOMAIN";
		return BUILD_WAITS;
	}
	if (!settings_registry_on(ctx->settings))
		return BUILD_OFF;
	sb_add(out, "# Made by dstack-host; changes are lost.\n"
		    "version: 0.1\n"
		    "log:\n"
		    "  accesslog:\n"
		    "    disabled: true\n"
		    "  level: warn\n"
		    "storage:\n"
		    "  filesystem:\n"
		    "    rootdirectory: /var/lib/dstack/registry\n"
		    "  delete:\n"
		    "    enabled: true\n"
		    "http:\n"
		    "  net: unix\n"
		    "  addr: /run/dstack/registry/registry.sock\n"
		    "  relativeurls: true\n");
	return BUILD_OK;
}
