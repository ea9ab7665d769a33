// SPDX-License-Identifier: Apache-2.0
/*
 * The front: our own haproxy (2.6 and later). It is the door of the VMM's API, which up to
 * 0.5.11 has no access control of its own, and of the registry, which has none at all.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/cert.h"
#include "host/render/render.h"
#include "host/conf/secrets.h"
#include "host/sha256.h"

#define DIR "/run/dstack/front"

/* --- the registry's certificate --- */

int build_front_cert(const struct render_ctx *ctx, struct strbuf *out, const char **why)
{
	_cleanup_cert_pair_ struct cert_pair pair = { 0 };
	_cleanup_free_ char *san = NULL;
	int r;

	if (!setting_is_set(ctx->settings, KEY_REGISTRY)) {
		*why = "DOMAIN";
		return BUILD_WAITS;
	}
	if (!settings_registry_on(ctx->settings))
		return BUILD_OFF;
	san = xasprintf("DNS:%s", setting(ctx->settings, KEY_REGISTRY));
	r = cert_leaf(ctx->root, "registry", san, ctx->look_only, &pair);
	if (r < 0)
		return r;
	if (r == 0) {
		sb_add(out, pair.crt);
		sb_add(out, pair.key);
	}
	/* Looked at only, and one is to be made: an empty text differs from every file. */
	return BUILD_OK;
}

/* --- tokens --- */

/* The file is there without a token too: haproxy would not start, and refuses all so. */
int build_front_tokens(const struct render_ctx *ctx, struct strbuf *out,
		       const char **why _unused_)
{
	_cleanup_secret_ char *token = NULL;
	char hex[65];
	int r = secret_read(ctx->root, SECRET_VMM_TOKEN, &token);

	if (r < 0)
		return r;
	sb_add(out, "# Made by dstack-host: SHA-256 of each token, and what it is good for.\n");
	if (token && *token) {
		sha256_hex(token, strlen(token), hex);
		sb_addf(out, "%s admin\n", hex);
	}
	return BUILD_OK;
}

/* --- haproxy.cfg --- */

static const char global[] =
	"# Made by dstack-host from /etc/dstack/host.conf; changes are lost.\n"
	"global\n"
	"    log stderr format short daemon notice\n"
	"    maxconn 512\n"
	"    nbthread 2\n"
	/* A revoked token's streams end with the process that let them in. */
	"    hard-stop-after 30s\n"
	"    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n"
	"    ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20\n"
	"\n"
	"defaults\n"
	"    mode http\n"
	"    log global\n"
	/* %HP has no query, where a token might stand. */
	"    log-format '%ci %ft %HM %HP %ST %ts %Tt ms'\n"
	"    option dontlognull\n"
	"    option dontlog-normal\n"
	"    timeout connect 5s\n"
	"    timeout http-request 10s\n"
	"    timeout http-keep-alive 60s\n"
	"    timeout queue 10s\n"
	"    timeout client 60s\n"
	"    timeout server 60s\n";

static const char vmm_requests[] =
	"    http-request return status 405 hdr Allow 'GET, HEAD, POST' content-type text/plain "
	"string 'method not allowed' unless { method GET HEAD POST }\n"
	/* Nothing that haproxy and the VMM could read differently. */
	"    http-request return status 400 content-type text/plain string 'unexpected "
	"characters in the path' if !{ path -m reg '^(/[A-Za-z0-9_.-]+)*/?$' } || "
	"{ path -m sub .. /. }\n"
	"    http-request return status 403 content-type text/plain string 'wrong Host' "
	"unless { req.hdr_cnt(host) eq 1 } loopback\n"
	"    http-request set-var(txn.host) req.hdr(host),lower\n"
	"    http-request set-var(txn.origin) 'str(http://),concat(,txn.host,)'\n"
	"    http-request return status 403 content-type text/plain string 'wrong Origin' "
	"if { req.fhdr_cnt(origin) gt 1 } || "
	"{ req.fhdr_cnt(origin) eq 1 } !{ req.fhdr(origin),lower,strcmp(txn.origin) eq 0 }\n";

static const char vmm_token[] =
	"    acl basic req.hdr(authorization) -i -m beg 'basic '\n"
	"    acl bearer req.hdr(authorization) -i -m beg 'bearer '\n"
	"    http-request set-var(txn.token) http_auth_bearer if bearer\n"
	"    http-request set-var(txn.token) http_auth_pass if basic\n"
	/* curl -u TOKEN: */
	"    http-request set-var(txn.token) http_auth_user if basic !{ var(txn.token) -m len "
	"1:4096 }\n"
	"    http-request set-var(txn.scope) 'var(txn.token),sha2(256),hex,lower,"
	"map_str(" DIR "/tokens.map)'\n"
	"    http-request unset-var(txn.token)\n"
	"    http-request return status 401 hdr WWW-Authenticate 'Basic realm=\"dstack VMM\"' "
	"content-type text/plain string 'token required' "
	"unless { req.fhdr_cnt(authorization) eq 1 } { var(txn.scope) -m str admin }\n";

/* The VMM answers GET for every method, those that act too, and its web framework HEAD like
 * GET; a foreign page can make a browser send either, with the token it has stored. What is
 * known to read is let through, so that what a later VMM adds is refused at first. */
static const char vmm_scopes[] =
	/* The guests' side of the API; it is served on vsock. */
	"    http-request return status 404 content-type text/plain string 'not here' "
	"if { path /api } || { path_beg /api/ }\n"
	"    acl reads path -m reg '^/prpc/(Teepod\\.)?(Get[A-Za-z]+|List[A-Za-z]+|SvList|Status|"
	"Version)$'\n"
	"    acl reads path /guest/Info /guest/SysInfo /guest/NetworkInfo "
	"/guest/ListContainers\n"
	"    acl call path_beg /prpc /guest\n"
	"    http-request return status 405 hdr Allow POST content-type text/plain string "
	"'this method acts: POST only' if call !reads !METH_POST\n"
	"    http-request return status 405 hdr Allow 'GET, HEAD' content-type text/plain "
	"string 'method not allowed' if METH_POST !call\n"
	/* Up to 0.5.11 the VMM joins the id to a path as it comes. */
	"    acl logs path_beg /logs\n"
	"    http-request return status 404 content-type text/plain string 'not here' "
	"if logs !{ path /logs }\n"
	"    http-request return status 400 content-type text/plain string 'id must be a UUID' "
	"if logs !{ url_param(id) -m reg -i "
	"'^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' }\n"
	"    http-request return status 400 content-type text/plain string 'unexpected query' "
	"if logs !{ query -m reg '^[A-Za-z0-9=&_-]+$' } || logs { query -m reg "
	"'(^|&)id(=|&).*&id(=|&|$)' }\n";

static void add_vmm_hosts(struct strbuf *out, const struct hostport *at)
{
	const char *v6 = strchr(at->host, ':') ? "[" : "";
	const char *names[] = { "localhost", "127.0.0.1", "[::1]", NULL };
	_cleanup_free_ char *own = xasprintf("%s%s%s", v6, at->host, *v6 ? "]" : "");

	names[3] = own;
	sb_add(out, "    acl loopback req.hdr(host) -i");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		sb_addf(out, " %s:%u", names[i], at->port);
		if (at->port == 80)
			sb_addf(out, " %s", names[i]);
	}
	sb_add(out, "\n");
}

/* Replaces the user's token by the one between front and VMM. */
static void add_vmm_identity(struct strbuf *out, const char *internal)
{
	sb_add(out, "    http-request del-header Authorization\n"
		    "    http-request del-header X-Admin-Token\n");
	if (!internal)
		return;
	/* In single quotes haproxy leaves everything as it is but %. */
	sb_add(out, "    http-request set-header Authorization 'Bearer ");
	for (const char *p = internal; *p; p++)
		sb_add(out, *p == '%' ? "%%" : (char[]){ *p, '\0' });
	sb_add(out, "'\n");
}

static void add_vmm_backend(struct strbuf *out, const char *name, unsigned seconds)
{
	sb_addf(out, "\nbackend %s\n    timeout server %us\n", name, seconds);
	/* A 401 from behind would ask the user for a token that is right already. */
	sb_add(out, "    option http-no-delay\n"
		    "    http-response return status 502 content-type text/plain string 'the VMM "
		    "refuses the internal token' if { status 401 }\n"
		    "    http-error status 503 content-type text/plain string 'the VMM does not "
		    "answer'\n"
		    "    server vmm unix@/run/dstack/vmm/vmm.sock\n");
}

static void add_vmm(struct strbuf *out, const struct hostport *at, const char *internal)
{
	int v6 = strchr(at->host, ':') != NULL;

	sb_addf(out, "\nfrontend vmm\n    bind %s%s%s:%u proto h1\n", v6 ? "[" : "", at->host,
		v6 ? "]" : "", at->port);
	/* Whoever follows a log sends nothing; its end is for the backend to decide. */
	sb_add(out, "    maxconn 256\n"
		    "    timeout client 3600s\n"
		    "    option http-no-delay\n");
	add_vmm_hosts(out, at);
	sb_add(out, vmm_requests);
	sb_add(out, vmm_token);
	sb_add(out, vmm_scopes);
	add_vmm_identity(out, internal);
	sb_add(out, "    use_backend vmm-logs if logs\n"
		    "    default_backend vmm\n");
	add_vmm_backend(out, "vmm", 600);
	/* While a log is followed the VMM sends a line a minute. */
	add_vmm_backend(out, "vmm-logs", 3600);
}

static void add_registry(struct strbuf *out, const struct settings *s)
{
	struct hostport at;
	int v6;

	if (!settings_registry_on(s)) {
		sb_addf(out, "\n# No registry: %s.\n",
			setting_is_set(s, KEY_REGISTRY) ? "REGISTRY=off" : "DOMAIN is not set");
		return;
	}
	if (parse_hostport(setting(s, KEY_REGISTRY_LISTEN), &at))
		return;
	v6 = strchr(at.host, ':') != NULL;
	sb_addf(out, "\nfrontend registry\n"
		     "    bind %s%s%s:%u ssl crt " DIR "/registry.pem alpn http/1.1\n",
		v6 ? "[" : "", at.host, v6 ? "]" : "", at.port);
	sb_add(out, "    maxconn 256\n"
		    "    http-request return status 405 hdr Allow 'GET, HEAD' content-type "
		    "text/plain string 'read only' unless { method GET HEAD }\n"
		    "    http-request set-header X-Forwarded-Proto https\n"
		    "    default_backend registry\n"
		    "\n"
		    "backend registry\n"
		    "    server registry unix@/run/dstack/registry/registry.sock\n");
}

int build_front(const struct render_ctx *ctx, struct strbuf *out, const char **why _unused_)
{
	_cleanup_secret_ char *internal = NULL;
	struct hostport at;
	int r = secret_read(ctx->root, SECRET_VMM_INTERNAL_TOKEN, &internal);

	if (r < 0)
		return r;
	/* Checked when it was stored, but an editor may have been there since. */
	if ((internal && secrets[SECRET_VMM_INTERNAL_TOKEN].check(internal)) ||
	    parse_hostport(setting(ctx->settings, KEY_VMM_ADDRESS), &at))
		return -EINVAL;
	sb_add(out, global);
	add_vmm(out, &at, internal);
	add_registry(out, ctx->settings);
	return BUILD_OK;
}
