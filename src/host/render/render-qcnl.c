// SPDX-License-Identifier: Apache-2.0
/*
 * One QCNL file for all its readers (qgsd by QCNL_CONF_PATH, aesmd by bind mount); the keys
 * are those of upstream's key-provider-build/sgx_default_qcnl.conf.
 */
#include "base/alloc.h"
#include "base/parse.h"
#include "host/json.h"
#include "host/render/render.h"

int build_qcnl(const struct render_ctx *ctx, struct strbuf *out, const char **why _unused_)
{
	const struct settings *s = ctx->settings;
	/* The local PCCS is signed by the host's CA, which aesmd's container does not know. */
	int secure = !settings_local_pccs(s);

	json_write(out, json_pack("{s:s, s:b, s:i, s:i, s:i, s:i, s:b}", "pccs_url",
				  setting(s, KEY_PCCS_URL), "use_secure_cert", secure,
				  "retry_times", 6, "retry_delay", 10, "pck_cache_expire_hours",
				  168, "verify_collateral_cache_expire_hours", 168,
				  "local_cache_only", 0));
	return BUILD_OK;
}
