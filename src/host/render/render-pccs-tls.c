// SPDX-License-Identifier: Apache-2.0
/* Key and certificate of the local PCCS, under the names that Intel's program opens. */
#include "host/cert.h"
#include "host/render/render.h"

/* As the host's tools, the key provider's container and guests (10.0.2.2) address it. */
#define NAMES "DNS:localhost,IP:127.0.0.1,IP:::1,IP:10.0.2.2"

/* The two files are rendered one after the other: both halves come from the one stored pair,
 * so they always belong together. */
static int build(const struct render_ctx *ctx, struct strbuf *out, int key)
{
	_cleanup_cert_pair_ struct cert_pair pair = { 0 };
	int r;

	if (!settings_local_pccs(ctx->settings))
		return BUILD_OFF;
	r = cert_leaf(ctx->root, "pccs", NAMES, ctx->look_only, &pair);
	if (r == 0)
		sb_add(out, key ? pair.key : pair.crt);
	/* Looked at only, and one is to be made: an empty text differs from every file. */
	return r < 0 ? r : BUILD_OK;
}

int build_pccs_key(const struct render_ctx *ctx, struct strbuf *out, const char **why _unused_)
{
	return build(ctx, out, 1);
}

int build_pccs_cert(const struct render_ctx *ctx, struct strbuf *out,
		    const char **why _unused_)
{
	return build(ctx, out, 0);
}
