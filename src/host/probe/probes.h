// SPDX-License-Identifier: Apache-2.0
/*
 * One question to each component, in its own protocol. Root's sockets are connected here,
 * everything that comes back over them is read by the network half.
 */
#pragma once

#include <stdint.h>

#include "base/root.h"
#include "host/peer/peer.h"
#include "host/conf/settings.h"

/* The containers that are asked for. */
#define CONTAINER_AESMD "aesmd"
#define CONTAINER_KEY_PROVIDER "gramine-sealing-key-provider"

enum probe_id {
	PROBE_DOCKER,	    /* /_ping */
	PROBE_CONTAINERS,   /* "container" = "NAME STATE STATUS", ours only */
	PROBE_PCCS,
	PROBE_QGS,
	PROBE_KEY_PROVIDER,
	PROBE_SUPERVISOR,   /* /ping */
	PROBE_PROCESSES,    /* "process" = "PID KIND ID NAME" of what it runs */
	PROBE_VMM,	    /* facts of vmm_list() */
	PROBE_FRONT,	    /* without a token */
	PROBE_REGISTRY,
	PROBE_KMS,	    /* with the next, what kms_view_of() takes */
	PROBE_KMS_PAGE,
	PROBE_DNS,	    /* "address" = "NAME IP", "caa" = "NAME TAG VALUE" */
	PROBE_PCCS_INTEL,   /* rootcacrl: "crl" = "der" or "other"; certificate facts */
	PROBE_PCS_KEY,	    /* Intel's own service, with the API key */
	PROBE_AESMD_INSPECT, /* facts of digest_inspect() */
	PROBE_SEALING_INSPECT,
	PROBE_SEALING_IMAGE, /* "id" of what KEY_PROVIDER_IMAGE names here; 404: nothing */
	PROBE_REGISTRY_WRITE, /* a push that must be refused; certificate facts */
	PROBE_KMS_IMAGE,    /* manifest of KMS_IMAGE in the registry */
	PROBE_PCCS_USER,    /* its own tokens, with requests that do nothing */
	PROBE_PCCS_ADMIN,
	PROBE_VMM_VERSION,  /* "version" */
	PROBE_VMM_IMAGES,   /* "image", repeated */
	PROBE_FRONT_WRONG,  /* with a token that is nobody's */
	PROBE_FRONT_TOKEN,  /* with the operator's */
	PROBE_KMS_TLS,	    /* certificate facts of the deployed KMS, by its name */
	PROBE_CHAIN,	    /* facts of chain_digest(), of chain_endpoint() 0 */
	PROBE_CHAIN_1,
	PROBE_CHAIN_2,
	PROBE_CHAIN_3,
	PROBE_COUNT,
};

#define PROBE(id) (UINT64_C(1) << (id))

struct probe_result {
	int asked;
	int error; /* -errno when its socket could not be connected */
	uint64_t age_s; /* of an answer that was kept (metrics.h); 0: it is fresh */
	struct peer_answer answer;
};

/* Asks those of `mask` all at once, as long as the slowest takes, and none for longer than
 * timeout_ms (0: its own time). 0 or -errno when the network half could not be started (then
 * none was asked). */
int probes_ask(const struct root *root, const struct settings *s, uint64_t mask,
	       unsigned timeout_ms, struct probe_result results[PROBE_COUNT]) _must_check_;
/* The same; meanwhile(arg) is called once in any case, when all are on their way. */
int probes_ask_while(const struct root *root, const struct settings *s, uint64_t mask,
		     unsigned timeout_ms, struct probe_result results[PROBE_COUNT],
		     void (*meanwhile)(void *arg), void *arg) _must_check_;
void probes_free(struct probe_result results[PROBE_COUNT]);

/* Was there an answer in the right protocol, with this HTTP status (0: any)? Otherwise
 * what there was instead, the caller's. */
int probe_answered(const struct probe_result *result, long status, char **trouble);
/* Not allowed to ask? */
int probe_denied(const struct probe_result *result);
/* "/v2/NAME/manifests/sha256:…" of KMS_IMAGE where this host's registry is to have it; NULL
 * where it is unset or of another registry. The caller's. */
char *registry_manifest_path(const struct settings *s) _must_check_;
