// SPDX-License-Identifier: Apache-2.0
/* The table of probes, and asking those that are wanted all at once. */
#include "host/probe/probes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "host/peer/answer.h"
#include "host/probe/probes-ask.h"
#include "host/conf/secrets.h"

static probe_asker *const askers[PROBE_COUNT] = {
	[PROBE_DOCKER] = ask_docker,	     [PROBE_CONTAINERS] = ask_containers,
	[PROBE_PCCS] = ask_pccs,	     [PROBE_QGS] = ask_qgs,
	[PROBE_KEY_PROVIDER] = ask_key_provider, [PROBE_SUPERVISOR] = ask_supervisor,
	[PROBE_PROCESSES] = ask_processes,   [PROBE_VMM] = ask_vmm,
	[PROBE_FRONT] = ask_front,	     [PROBE_REGISTRY] = ask_registry,
	[PROBE_KMS] = ask_kms,		     [PROBE_KMS_PAGE] = ask_kms_page,
	[PROBE_DNS] = ask_dns,
	[PROBE_PCCS_INTEL] = ask_pccs_intel, [PROBE_PCS_KEY] = ask_pcs_key,
	[PROBE_AESMD_INSPECT] = ask_aesmd_inspect, [PROBE_SEALING_INSPECT] = ask_sealing_inspect,
	[PROBE_SEALING_IMAGE] = ask_sealing_image,
	[PROBE_REGISTRY_WRITE] = ask_registry_write, [PROBE_KMS_IMAGE] = ask_kms_image,
	[PROBE_PCCS_USER] = ask_pccs_user,   [PROBE_PCCS_ADMIN] = ask_pccs_admin,
	[PROBE_VMM_VERSION] = ask_vmm_version, [PROBE_VMM_IMAGES] = ask_vmm_images,
	[PROBE_FRONT_WRONG] = ask_front_wrong, [PROBE_FRONT_TOKEN] = ask_front_token,
	[PROBE_KMS_TLS] = ask_kms_tls,	     [PROBE_CHAIN] = ask_chain,
	[PROBE_CHAIN_1] = ask_chain,	     [PROBE_CHAIN_2] = ask_chain,
	[PROBE_CHAIN_3] = ask_chain,
};

static void prepare(const struct probe_context *c, enum probe_id id, unsigned timeout_ms,
		    struct prepared *p, struct probe_result *result)
{
	int r;

	*p = (struct prepared){
		.request = {
			.kind = PEER_HTTP,
			.fd = -1,
			.timeout_ms = PROBE_TIMEOUT_MS,
		},
		.id = id,
	};
	r = askers[id](c, p);
	result->asked = r != PROBE_NOBODY;
	result->error = r < 0 ? r : 0;
	if (p->url)
		p->request.url = p->url;
	if (p->body)
		p->request.body = p->body;
	if (p->header)
		p->request.header = p->header;
	if (p->ca)
		p->request.ca_pem = p->ca;
	if (timeout_ms && p->request.timeout_ms > timeout_ms)
		p->request.timeout_ms = timeout_ms;
}

static void done(struct prepared *p)
{
	if (p->vmm.url)
		vmm_call_free(&p->vmm);
	else if (p->request.fd >= 0)
		close(p->request.fd);
	free(p->url);
	free(p->body);
	secret_free(&p->header);
	free(p->ca);
}

int probes_ask_while(const struct root *root, const struct settings *s, uint64_t mask,
		     unsigned timeout_ms, struct probe_result results[PROBE_COUNT],
		     void (*meanwhile)(void *arg), void *arg)
{
	struct prepared prepared[PROBE_COUNT] = { 0 };
	struct peer_request requests[PROBE_COUNT];
	struct peer_answer answers[PROBE_COUNT] = { 0 };
	enum probe_id who[PROBE_COUNT];
	struct probe_context c = { root, s };
	size_t n = 0;
	int r;

	memset(results, 0, sizeof(*results) * PROBE_COUNT);
	/* A running system's daemons say nothing about the system below --root. */
	if (!root_is_host(root))
		mask = 0;
	for (int id = 0; id < PROBE_COUNT; id++) {
		if (!(mask & PROBE(id)))
			continue;
		prepare(&c, (enum probe_id)id, timeout_ms, &prepared[id], &results[id]);
		if (!results[id].asked || results[id].error)
			continue;
		who[n] = (enum probe_id)id;
		requests[n++] = prepared[id].request;
	}
	r = peer_ask_while(requests, n, answers, meanwhile, arg);
	for (size_t i = 0; i < n; i++) {
		results[who[i]].answer = answers[i];
		results[who[i]].asked = r == 0;
	}
	for (int id = 0; id < PROBE_COUNT; id++)
		if (mask & PROBE(id))
			done(&prepared[id]);
	return r;
}

static void nothing(void *arg _unused_)
{
}

int probes_ask(const struct root *root, const struct settings *s, uint64_t mask,
	       unsigned timeout_ms, struct probe_result results[PROBE_COUNT])
{
	return probes_ask_while(root, s, mask, timeout_ms, results, nothing, NULL);
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
