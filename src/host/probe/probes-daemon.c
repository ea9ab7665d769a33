// SPDX-License-Identifier: Apache-2.0
/* What the daemons of a host are asked, and where; `status` and `await` ask no more. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sock.h"
#include "host/kms/kms-view.h"
#include "host/kms/kms.h"
#include "host/probe/probes-ask.h"
#include "host/probe/probes-digest.h"

/* GetMeta makes the KMS ask its chain: less patience than the client who waits for it. */
#define KMS_TIMEOUT_MS 3000

char *probe_url(const char *scheme, const char *address, const char *path)
{
	struct hostport hp;
	const char *host;

	if (parse_hostport(address, &hp))
		return NULL;
	host = sock_reachable(hp.host);
	return xasprintf(strchr(host, ':') ? "%s[%s]:%u%s" : "%s%s:%u%s", scheme, host, hp.port,
			 path);
}

int probe_on_unix(const struct probe_context *c, struct prepared *p, const char *socket,
		   const char *path)
{
	p->url = xasprintf("http://localhost%s", path);
	p->request.fd = sock_unix(c->root, socket);
	return p->request.fd < 0 ? p->request.fd : 0;
}

int ask_docker(const struct probe_context *c, struct prepared *p)
{
	return probe_on_unix(c, p, DOCKER_SOCKET, "/_ping");
}

int ask_containers(const struct probe_context *c, struct prepared *p)
{
	p->request.digest = digest_containers;
	p->request.max_body = PROBE_LIST_MAX;
	return probe_on_unix(c, p, DOCKER_SOCKET, "/containers/json?all=1");
}

int ask_supervisor(const struct probe_context *c, struct prepared *p)
{
	return probe_on_unix(c, p, SUPERVISOR_SOCKET, "/ping");
}

int ask_processes(const struct probe_context *c, struct prepared *p)
{
	p->request.digest = digest_processes;
	p->request.max_body = PROBE_LIST_MAX;
	return probe_on_unix(c, p, SUPERVISOR_SOCKET, "/list");
}

/* Status, not Version: that one answers although the supervisor is dead. */
int ask_vmm(const struct probe_context *c, struct prepared *p)
{
	_cleanup_free_ char *body = vmm_body_status(NULL, 1);
	int r = vmm_prepare(c->root, VMM_STATUS, body, &p->vmm);

	if (r < 0)
		return r;
	p->request = p->vmm.request;
	p->request.timeout_ms = PROBE_TIMEOUT_MS;
	p->request.max_body = PROBE_LIST_MAX;
	return 0;
}

/* A path that every PCCS refuses at once, and for which none asks Intel. */
int ask_pccs(const struct probe_context *c, struct prepared *p)
{
	if (!settings_local_pccs(c->s))
		return PROBE_NOBODY;
	p->url = xstrdup(setting(c->s, KEY_PCCS_URL));
	return 0;
}

int ask_qgs(const struct probe_context *c, struct prepared *p)
{
	const char *at = setting(c->s, KEY_QGS_ADDRESS);
	struct vsock_addr to;

	p->request.kind = PEER_QGS;
	if (strncmp(at, "unix:", 5) == 0)
		p->request.fd = sock_unix(c->root, at + 5);
	else if (parse_vsock(at, 1, &to))
		return -EINVAL;
	else
		p->request.fd = sock_vsock(&to);
	return p->request.fd < 0 ? p->request.fd : 0;
}

int ask_key_provider(const struct probe_context *c, struct prepared *p)
{
	p->request.kind = PEER_KEY_PROVIDER;
	p->url = probe_url("", setting(c->s, KEY_KEY_PROVIDER_ADDRESS), "");
	return p->url ? 0 : -EINVAL;
}

int ask_front(const struct probe_context *c, struct prepared *p)
{
	p->url = probe_url("http://", setting(c->s, KEY_VMM_ADDRESS), "/prpc/Version");
	return p->url ? 0 : -EINVAL;
}

/* By its name, at its address: what the front does depends on the name. */
int ask_registry(const struct probe_context *c, struct prepared *p)
{
	struct hostport at;

	if (!settings_registry_on(c->s))
		return PROBE_NOBODY;
	if (parse_hostport(setting(c->s, KEY_REGISTRY_LISTEN), &at))
		return -EINVAL;
	p->url = xasprintf("https://%s:%u/v2/", setting(c->s, KEY_REGISTRY), at.port);
	p->request.fd = sock_tcp_start(&at);
	return p->request.fd < 0 ? p->request.fd : 0;
}

int ask_kms(const struct probe_context *c, struct prepared *p)
{
	int r;

	if (!setting_is_set(c->s, KEY_KMS_IMAGE))
		return PROBE_NOBODY;
	r = kms_prepare_meta(kms_port(c->root, c->s), &p->request);
	p->request.timeout_ms = KMS_TIMEOUT_MS;
	return r;
}

int ask_kms_page(const struct probe_context *c, struct prepared *p)
{
	int r;

	if (!setting_is_set(c->s, KEY_KMS_IMAGE))
		return PROBE_NOBODY;
	r = kms_prepare_page(kms_port(c->root, c->s), &p->request);
	p->request.timeout_ms = KMS_TIMEOUT_MS;
	return r;
}

