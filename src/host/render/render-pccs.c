// SPDX-License-Identifier: Apache-2.0
/*
 * local.json for Intel's PCCS: node-config reads it after Intel's default.json, so only what
 * this host decides stands in it and Intel's file stays untouched (keys: PCCS,
 * service/config/default.json).
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "host/json.h"
#include "host/render/render.h"
#include "host/conf/secrets.h"
#include "host/sha256.h"

static int add_hash(const struct root *root, json_t *obj, const char *name, enum secret_id id)
{
	_cleanup_secret_ char *token = NULL;
	char hex[SHA512_HEX + 1];
	int r = secret_read(root, id, &token);

	if (r < 0 || !token)
		return r;
	/* Releases before 1.27 compare it as a string: lower-case. */
	sha512_hex(token, strlen(token), hex);
	json_object_set_new(obj, name, json_string(hex));
	return 0;
}

int build_pccs_json(const struct render_ctx *ctx, struct strbuf *out,
		    const char **why _unused_)
{
	const struct settings *s = ctx->settings;
	_cleanup_secret_ char *key = NULL;
	json_t *obj;
	int r;

	if (!settings_local_pccs(s))
		return BUILD_OFF;
	r = secret_read(ctx->root, SECRET_PCCS_API_KEY, &key);
	if (r < 0)
		return r;
	obj = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s}", "HTTPS_PORT",
			(int)setting_uint(s, KEY_PCCS_PORT), "hosts", "127.0.0.1", "uri",
			setting(s, KEY_PCS_URL), "ApiKey",
			key ? key : "", "CachingFillMode", setting(s, KEY_PCCS_FILL_MODE),
			"proxy", setting(s, KEY_PROXY));
	if (!obj)
		out_of_memory();
	r = add_hash(ctx->root, obj, "UserTokenHash", SECRET_PCCS_USER_TOKEN);
	if (r == 0)
		r = add_hash(ctx->root, obj, "AdminTokenHash", SECRET_PCCS_ADMIN_TOKEN);
	if (r < 0) {
		json_decref(obj);
		return r;
	}
	json_write(out, obj);
	return BUILD_OK;
}
