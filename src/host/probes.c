// SPDX-License-Identifier: Apache-2.0
/* Where the components listen, what they are asked. */
#include "host/probes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/sock.h"
#include "host/answer.h"
#include "host/kms-view.h"
#include "host/kms.h"
#include "host/probes-digest.h"
#include "host/vmm.h"

#define DOCKER_SOCKET "/run/docker.sock"
#define SUPERVISOR_SOCKET "/run/dstack/supervisor.sock"
#define TIMEOUT_MS 2000
/* GetMeta makes the KMS ask its chain: less patience than the client who waits for it. */
#define KMS_TIMEOUT_MS 3000
/* Lists that grow with the host: a thousand virtual machines' worth. */
#define LIST_MAX (4 << 20)

/* A request with what its pointers point to. */
struct prepared {
	struct peer_request request;
	char *url;
	struct vmm_call vmm;
};

struct context {
	const struct root *root;
	const struct settings *s;
};

static char *url_of(const char *scheme, const char *address, const char *path)
{
	struct hostport hp;
	const char *host;

	if (parse_hostport(address, &hp))
		return NULL;
	host = sock_reachable(hp.host);
	return xasprintf(strchr(host, ':') ? "%s[%s]:%u%s" : "%s%s:%u%s", scheme, host, hp.port,
			 path);
}

static int on_unix(const struct context *c, struct prepared *p, const char *socket,
		   const char *path)
{
	p->url = xasprintf("http://localhost%s", path);
	p->request.fd = sock_unix(c->root, socket);
	return p->request.fd < 0 ? p->request.fd : 0;
}

static int ask_docker(const struct context *c, struct prepared *p)
{
	return on_unix(c, p, DOCKER_SOCKET, "/_ping");
}

static int ask_containers(const struct context *c, struct prepared *p)
{
	p->request.digest = digest_containers;
	p->request.max_body = LIST_MAX;
	return on_unix(c, p, DOCKER_SOCKET, "/containers/json?all=1");
}

static int ask_supervisor(const struct context *c, struct prepared *p)
{
	return on_unix(c, p, SUPERVISOR_SOCKET, "/ping");
}

static int ask_processes(const struct context *c, struct prepared *p)
{
	p->request.digest = digest_processes;
	p->request.max_body = LIST_MAX;
	return on_unix(c, p, SUPERVISOR_SOCKET, "/list");
}

/* Status, not Version: that one answers although the supervisor is dead. */
static int ask_vmm(const struct context *c, struct prepared *p)
{
	_cleanup_free_ char *body = vmm_body_status(NULL, 1);
	int r = vmm_prepare(c->root, VMM_STATUS, body, &p->vmm);

	if (r < 0)
		return r;
	p->request = p->vmm.request;
	p->request.timeout_ms = TIMEOUT_MS;
	p->request.max_body = LIST_MAX;
	return 0;
}

/* A path that every PCCS refuses at once, and for which none asks Intel. */
static int ask_pccs(const struct context *c, struct prepared *p)
{
	p->url = xstrdup(setting(c->s, KEY_PCCS_URL));
	return 0;
}

static int ask_qgs(const struct context *c, struct prepared *p)
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

static int ask_key_provider(const struct context *c, struct prepared *p)
{
	p->request.kind = PEER_KEY_PROVIDER;
	p->url = url_of("", setting(c->s, KEY_KEY_PROVIDER_ADDRESS), "");
	return p->url ? 0 : -EINVAL;
}

static int ask_front(const struct context *c, struct prepared *p)
{
	p->url = url_of("http://", setting(c->s, KEY_VMM_ADDRESS), "/prpc/Version");
	return p->url ? 0 : -EINVAL;
}

/* By its name, at its address: what the front does depends on the name. */
static int ask_registry(const struct context *c, struct prepared *p)
{
	struct hostport at;

	if (parse_hostport(setting(c->s, KEY_REGISTRY_LISTEN), &at))
		return -EINVAL;
	p->url = xasprintf("https://%s:%u/v2/", setting(c->s, KEY_REGISTRY), at.port);
	p->request.fd = sock_tcp_start(&at);
	return p->request.fd < 0 ? p->request.fd : 0;
}

static int ask_kms(const struct context *c, struct prepared *p)
{
	int r = kms_prepare_meta(kms_port(c->root, c->s), &p->request);

	p->request.timeout_ms = KMS_TIMEOUT_MS;
	return r;
}

static int ask_kms_page(const struct context *c, struct prepared *p)
{
	int r = kms_prepare_page(kms_port(c->root, c->s), &p->request);

	p->request.timeout_ms = KMS_TIMEOUT_MS;
	return r;
}

static int (*const askers[PROBE_COUNT])(const struct context *c, struct prepared *p) = {
	[PROBE_DOCKER] = ask_docker,	     [PROBE_CONTAINERS] = ask_containers,
	[PROBE_PCCS] = ask_pccs,	     [PROBE_QGS] = ask_qgs,
	[PROBE_KEY_PROVIDER] = ask_key_provider, [PROBE_SUPERVISOR] = ask_supervisor,
	[PROBE_PROCESSES] = ask_processes,   [PROBE_VMM] = ask_vmm,
	[PROBE_FRONT] = ask_front,	     [PROBE_REGISTRY] = ask_registry,
	[PROBE_KMS] = ask_kms,		     [PROBE_KMS_PAGE] = ask_kms_page,
};

static void prepare(const struct context *c, enum probe_id id, struct prepared *p,
		    struct probe_result *result)
{
	*p = (struct prepared){
		.request = {
			.kind = PEER_HTTP,
			.fd = -1,
			.timeout_ms = TIMEOUT_MS,
		},
	};
	result->asked = 1;
	result->error = askers[id](c, p);
	if (p->url)
		p->request.url = p->url;
}

static void done(struct prepared *p)
{
	if (p->vmm.url)
		vmm_call_free(&p->vmm);
	else if (p->request.fd >= 0)
		close(p->request.fd);
	free(p->url);
}

/* A running system's daemons say nothing about the system below --root. */
static unsigned askable(const struct root *root, const struct settings *s, unsigned mask)
{
	if (!root_is_host(root))
		return 0;
	if (!settings_local_pccs(s))
		mask &= ~PROBE(PROBE_PCCS);
	if (!settings_registry_on(s))
		mask &= ~PROBE(PROBE_REGISTRY);
	if (!setting_is_set(s, KEY_KMS_IMAGE))
		mask &= ~(PROBE(PROBE_KMS) | PROBE(PROBE_KMS_PAGE));
	return mask;
}

int probes_ask(const struct root *root, const struct settings *s, unsigned mask,
	       struct probe_result results[PROBE_COUNT])
{
	struct prepared prepared[PROBE_COUNT];
	struct peer_request requests[PROBE_COUNT];
	struct peer_answer answers[PROBE_COUNT] = { 0 };
	enum probe_id who[PROBE_COUNT];
	struct context c = { root, s };
	size_t n = 0;
	int r = 0;

	memset(results, 0, sizeof(*results) * PROBE_COUNT);
	mask = askable(root, s, mask);
	for (int id = 0; id < PROBE_COUNT; id++) {
		if (!(mask & PROBE(id)))
			continue;
		prepare(&c, (enum probe_id)id, &prepared[id], &results[id]);
		if (results[id].error < 0)
			continue;
		who[n] = (enum probe_id)id;
		requests[n++] = prepared[id].request;
	}
	if (n)
		r = peer_ask(requests, n, answers);
	for (size_t i = 0; i < n; i++) {
		results[who[i]].answer = answers[i];
		results[who[i]].asked = r == 0;
	}
	for (int id = 0; id < PROBE_COUNT; id++)
		if (mask & PROBE(id))
			done(&prepared[id]);
	return r;
}

void probes_free(struct probe_result results[PROBE_COUNT])
{
	for (int id = 0; id < PROBE_COUNT; id++)
		peer_answers_free(&results[id].answer, 1);
}

int probe_denied(const struct probe_result *result)
{
	return result->asked && (result->error == -EACCES || result->error == -EPERM);
}

int probe_answered(const struct probe_result *result, long status, char **trouble)
{
	const struct peer_answer *a = &result->answer;

	*trouble = NULL;
	if (!result->asked)
		*trouble = xstrdup("not asked");
	else if (result->error == -ENOENT || result->error == -ECONNREFUSED)
		*trouble = xstrdup("nobody listens");
	else if (result->error < 0)
		*trouble = xstrdup(strerror(-result->error));
	else if (a->error == PEER_UNREACHABLE)
		*trouble = xstrdup("nobody listens");
	else
		*trouble = answer_trouble(a, status);
	return *trouble == NULL;
}
