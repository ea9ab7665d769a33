// SPDX-License-Identifier: Apache-2.0
/*
 * The next KMS's compose file in both layouts, and its app-compose.json. A deployed KMS's own
 * copy is frozen in /var/lib/dstack/kms: what is rendered here never reaches it.
 *
 * Everything that decides who gets keys (image digest, contract, RPC endpoint) is in the
 * text, because the text is what is measured.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/compose.h"
#include "host/kms/kms.h"
#include "host/render/render.h"

/* The author's image listens for its own auth-eth here; its number is in the image. */
#define REFERENCE_AUTH_PORT 9200

static int is_upstream(const struct settings *s)
{
	return strcmp(setting(s, KEY_KMS_LAYOUT), "upstream") == 0;
}

static int find_unset(const char *name, void *arg)
{
	const struct settings *s = arg;
	int id = key_find(name);

	/* Found is true. */
	return *setting(s, (enum key_id)id) ? 0 : id + 1;
}

int kms_layout_setting(const struct settings *s)
{
	return is_upstream(s) && !*setting(s, KEY_KMS_AUTH_IMAGE) ? KEY_KMS_AUTH_IMAGE : -1;
}

static const char *missing(const struct settings *s)
{
	int found = for_each_word(KMS_SETTINGS, find_unset, (void *)(uintptr_t)s);
	int id = found ? found - 1 : kms_layout_setting(s);

	return id < 0 ? NULL : keys[id].name;
}

/* Only the first endpoint is measured in; the caller frees. */
static char *first_rpc_url(const struct settings *s)
{
	const char *urls = setting(s, KEY_ETH_RPC_URLS);

	urls += strspn(urls, " ");
	return xstrndup(urls, strcspn(urls, " "));
}

/* What the image's own loader reads; also rendered as a file of its own. */
static void add_env(struct strbuf *out, const struct settings *s, const char *rpc,
		    const char *indent)
{
	sb_addf(out,
		"%sHOST=127.0.0.1\n"
		"%sPORT=%d\n"
		"%sETH_RPC_URL=%s\n"
		"%sKMS_CONTRACT_ADDR=%s\n",
		indent, indent, REFERENCE_AUTH_PORT, indent, rpc, indent,
		setting(s, KEY_KMS_CONTRACT));
}

/* Same shape as the reference host's file. Its image had auth-eth.env baked in and its start
 * script exports that file over the environment, so the file itself is put over the image's:
 * contract and endpoint are then in the text that is measured, and cannot be others. */
static void add_reference(struct strbuf *out, const struct settings *s, const char *rpc)
{
	const char *port = setting(s, KEY_KMS_GUEST_PORT);

	sb_addf(out,
		"services:\n"
		"  kms:\n"
		"    image: %s\n"
		"    ports:\n"
		"      - \"%s:%s\"\n"
		"    volumes:\n"
		"      - /var/run/dstack.sock:/var/run/dstack.sock\n"
		"      - kms-certs:/etc/kms/certs\n"
		"    environment:\n"
		"      - RUST_LOG=info\n"
		"      - KMS_DOMAIN=kms.%s\n"
		"    configs:\n"
		"      - source: auth-eth-env\n"
		"        target: /etc/kms/auth-eth.env\n"
		"    restart: unless-stopped\n"
		"volumes:\n"
		"  kms-certs:\n"
		"configs:\n"
		"  auth-eth-env:\n"
		"    content: |\n",
		setting(s, KEY_KMS_IMAGE), port, port, setting(s, KEY_DOMAIN));
	add_env(out, s, rpc, "      ");
}

/* kms.toml of a KMS 0.5.5 (keys: kms/kms.toml there). */
static void add_kms_toml(struct strbuf *out, const struct settings *s)
{
	sb_addf(out,
		"configs:\n"
		"  kms_config:\n"
		"    content: |\n"
		"      [rpc]\n"
		"      address = \"0.0.0.0\"\n"
		"      port = %s\n"
		"      [rpc.tls]\n"
		"      key = \"/kms/certs/rpc.key\"\n"
		"      certs = \"/kms/certs/rpc.crt\"\n"
		"      [rpc.tls.mutual]\n"
		"      ca_certs = \"/kms/certs/tmp-ca.crt\"\n"
		"      mandatory = false\n"
		"      [core]\n"
		"      cert_dir = \"/kms/certs\"\n"
		"      [core.image]\n"
		"      verify = true\n"
		"      cache_dir = \"/kms/images\"\n"
		"      download_url = \"https://download.dstack.org/os-images/"
		"mr_{OS_IMAGE_HASH}.tar.gz\"\n"
		"      download_timeout = \"2m\"\n"
		"      [core.auth_api]\n"
		"      type = \"webhook\"\n"
		"      [core.auth_api.webhook]\n"
		"      url = \"http://auth-api:8000\"\n"
		"      [core.onboard]\n"
		"      enabled = true\n"
		"      auto_bootstrap_domain = \"\"\n"
		"      address = \"0.0.0.0\"\n"
		"      port = %s\n",
		setting(s, KEY_KMS_GUEST_PORT), setting(s, KEY_KMS_GUEST_PORT));
}

static void add_upstream(struct strbuf *out, const struct settings *s, const char *rpc)
{
	sb_addf(out,
		"services:\n"
		"  auth-api:\n"
		"    image: %s\n"
		"    environment:\n"
		"      - HOST=0.0.0.0\n"
		"      - PORT=8000\n"
		"      - ETH_RPC_URL=%s\n"
		"      - KMS_CONTRACT_ADDR=%s\n"
		"    restart: unless-stopped\n",
		setting(s, KEY_KMS_AUTH_IMAGE), rpc, setting(s, KEY_KMS_CONTRACT));
	sb_addf(out,
		"  kms:\n"
		"    image: %s\n"
		"    volumes:\n"
		"      - kms-volume:/kms\n"
		"      - /var/run/dstack.sock:/var/run/dstack.sock\n"
		"    ports:\n"
		"      - \"%s:%s\"\n"
		"    depends_on:\n"
		"      - auth-api\n"
		"    restart: unless-stopped\n"
		"    configs:\n"
		"      - source: kms_config\n"
		"        target: /kms/kms.toml\n"
		"    command: sh -c 'mkdir -p /kms/certs /kms/images && exec dstack-kms -c "
		"/kms/kms.toml'\n"
		"volumes:\n"
		"  kms-volume:\n",
		setting(s, KEY_KMS_IMAGE), setting(s, KEY_KMS_GUEST_PORT),
		setting(s, KEY_KMS_GUEST_PORT));
	add_kms_toml(out, s);
}

int build_kms_compose(const struct render_ctx *ctx, struct strbuf *out, const char **why)
{
	_cleanup_free_ char *rpc = NULL;

	*why = missing(ctx->settings);
	if (*why)
		return BUILD_WAITS;
	rpc = first_rpc_url(ctx->settings);
	if (is_upstream(ctx->settings))
		add_upstream(out, ctx->settings, rpc);
	else
		add_reference(out, ctx->settings, rpc);
	return BUILD_OK;
}

/* The image's loader is `export $(cat FILE | grep -v '^#' | xargs)`: a blank, a quote or an
 * inline comment in a value would end it. The checks of these settings let none through but
 * '#', which no part of a URL that is sent to a server holds. */
int build_kms_env(const struct render_ctx *ctx, struct strbuf *out, const char **why)
{
	_cleanup_free_ char *rpc = NULL;

	*why = missing(ctx->settings);
	if (*why)
		return BUILD_WAITS;
	rpc = first_rpc_url(ctx->settings);
	if (strpbrk(rpc, "#'\"\\ \t"))
		return -EINVAL;
	add_env(out, ctx->settings, rpc, "");
	return BUILD_OK;
}

int build_kms_app_compose(const struct render_ctx *ctx, struct strbuf *out,
			  const char **why)
{
	_cleanup_strbuf_ struct strbuf compose = { 0 };
	_cleanup_free_ char *text = NULL;
	struct app_compose app = {
		.name = setting(ctx->settings, KEY_KMS_NAME),
		.local_key_provider = 1,
		.key_provider_id = "",
	};
	int r = build_kms_compose(ctx, &compose, why);

	if (r != BUILD_OK)
		return r;
	app.docker_compose = compose.data;
	app.docker_compose_len = compose.len;
	r = app_compose_text(&app, &text);
	if (r < 0)
		return r;
	sb_add(out, text);
	return BUILD_OK;
}
