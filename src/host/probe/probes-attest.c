// SPDX-License-Identifier: Apache-2.0
/* What `check` asks beyond `status`: the PCCS's way to Intel, the API key, the containers. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "host/cert.h"
#include "host/probe/probes-ask.h"
#include "host/probe/probes-digest.h"
#include "host/conf/secrets.h"

/* A PCCS that has to ask Intel first takes its time. */
#define INTEL_TIMEOUT_MS 5000
/* "encrypted PPID": 384 bytes, and neither all zero nor any platform's. */
#define PPID_DIGITS 768

/* The host's CA, for `p`; none is no error: then nothing is vouched for by it. */
int probe_with_ca(const struct probe_context *c, struct prepared *p)
{
	int r = file_read(c->root, CERT_CA_CRT, PEM_FILE_MAX, &p->ca, NULL);

	return r == -ENOENT ? 0 : r;
}

/* "https://localhost:8081/sgx/certification/v4/" and `path` behind it. */
static char *below(const char *url, const char *path)
{
	size_t len = strlen(url);

	return xasprintf("%s%s%s", url, len && url[len - 1] == '/' ? "" : "/", path);
}

/* The one thing that every PCCS fetches from Intel and that needs neither key nor platform. */
int ask_pccs_intel(const struct probe_context *c, struct prepared *p)
{
	if (!settings_local_pccs(c->s))
		return PROBE_NOBODY;
	p->url = below(setting(c->s, KEY_PCCS_URL), "rootcacrl");
	p->request.digest = digest_rootcacrl;
	p->request.timeout_ms = INTEL_TIMEOUT_MS;
	p->request.tls = PEER_TLS_TELL;
	return probe_with_ca(c, p);
}

/* PCCS hides a refused key behind 404, so Intel is asked itself, for a platform that does not
 * exist: 401 says the key is bad, everything else that it was let in. */
int ask_pcs_key(const struct probe_context *c, struct prepared *p)
{
	_cleanup_strbuf_ struct strbuf path = { 0 };
	_cleanup_secret_ char *key = NULL;
	struct url u;
	int r;

	if (!settings_local_pccs(c->s) || parse_url(setting(c->s, KEY_PCS_URL), &u))
		return PROBE_NOBODY;
	r = secret_read(c->root, SECRET_PCCS_API_KEY, &key);
	if (r < 0 || !key || !*key)
		return r < 0 ? r : PROBE_NOBODY;
	/* The key travels over TLS or not at all. */
	if (strcmp(u.scheme, "https") != 0)
		return PROBE_NOBODY;
	sb_add(&path, "pckcerts?pceid=0000&encrypted_ppid=");
	for (unsigned i = 0; i < PPID_DIGITS; i++)
		sb_addc(&path, 'a');
	p->url = below(setting(c->s, KEY_PCS_URL), path.data);
	p->header = xasprintf("Ocp-Apim-Subscription-Key: %s", key);
	p->request.timeout_ms = INTEL_TIMEOUT_MS;
	p->request.tls = PEER_TLS_SYSTEM;
	/* A stand-in on this host is signed by the host's CA. */
	return host_is_loopback(u.host) ? probe_with_ca(c, p) : 0;
}

/* Sent only to who has shown the host's own certificate. */
static int with_token(const struct probe_context *c, struct prepared *p, const char *path,
		      const char *header, enum secret_id id)
{
	_cleanup_secret_ char *token = NULL;
	int r;

	if (!settings_local_pccs(c->s))
		return PROBE_NOBODY;
	r = secret_read(c->root, id, &token);
	if (r < 0 || !token || !*token)
		return r < 0 ? r : PROBE_NOBODY;
	p->url = below(setting(c->s, KEY_PCCS_URL), path);
	p->header = xasprintf("%s: %s", header, token);
	r = probe_with_ca(c, p);
	return r == 0 && !p->ca ? PROBE_NOBODY : r;
}

/* It names no platform: refused after the token was taken. */
int ask_pccs_user(const struct probe_context *c, struct prepared *p)
{
	p->request.body = "{}";
	return with_token(c, p, "platforms", "user-token", SECRET_PCCS_USER_TOKEN);
}

/* Platforms of a processor that does not exist. */
int ask_pccs_admin(const struct probe_context *c, struct prepared *p)
{
	return with_token(c, p, "platforms?source=%5B000000000000%5D", "admin-token",
			  SECRET_PCCS_ADMIN_TOKEN);
}

static int inspect(const struct probe_context *c, struct prepared *p, const char *name)
{
	_cleanup_free_ char *path = xasprintf("/containers/%s/json", name);

	if (!setting_is_set(c->s, KEY_AESMD_IMAGE) || !setting_is_set(c->s, KEY_KEY_PROVIDER_IMAGE))
		return PROBE_NOBODY;
	p->request.digest = digest_inspect;
	return probe_on_unix(c, p, DOCKER_SOCKET, path);
}

int ask_aesmd_inspect(const struct probe_context *c, struct prepared *p)
{
	return inspect(c, p, CONTAINER_AESMD);
}

int ask_sealing_inspect(const struct probe_context *c, struct prepared *p)
{
	return inspect(c, p, CONTAINER_KEY_PROVIDER);
}

int ask_sealing_image(const struct probe_context *c, struct prepared *p)
{
	_cleanup_free_ char *path = NULL;

	if (!setting_is_set(c->s, KEY_KEY_PROVIDER_IMAGE))
		return PROBE_NOBODY;
	path = xasprintf("/images/%s/json", setting(c->s, KEY_KEY_PROVIDER_IMAGE));
	p->request.digest = digest_image;
	return probe_on_unix(c, p, DOCKER_SOCKET, path);
}
