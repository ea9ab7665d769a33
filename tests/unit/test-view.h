// SPDX-License-Identifier: Apache-2.0
/* A host as it could be seen, made by hand: no systemd, no network. */
#pragma once

#include "test-machine.h"

#include "base/alloc.h"
#include "host/kms/kms.h"
#include "host/part/parts.h"

#define CONTRACT "0x5151515151515151515151515151515151515151"
#define APP_AUTH "0x5252525252525252525252525252525252525252"
#define IMAGE_REF                                                                        \
	"r.example/k@sha256:7e86300bda4a4832d5cdffb63d9c5e716f1756d078d49728e33aaa9a148fe93e"
/* What stands for a CA certificate, as GetMeta's fact and on record. */
#define CA_FACT "TUlJ"
#define CA_PEM "-----BEGIN CERTIFICATE-----\n" CA_FACT "\n-----END CERTIFICATE-----\n"

/* Settings with which every part is wanted. */
#define FULL_CONF                                                                        \
	"DOMAIN=example.org\nPUBLIC_ADDRESS=203.0.113.5\n"                                \
	"AESMD_IMAGE=a\nKEY_PROVIDER_IMAGE=" IMAGE_REF "\n"                               \
	"KMS_IMAGE=" IMAGE_REF "\n"                                                      \
	"KMS_CONTRACT=" CONTRACT "\nAPP_AUTH_IMPLEMENTATION=" APP_AUTH "\n"              \
	"ETH_RPC_URLS=http://127.0.0.1:8545\n"

struct host {
	struct root root; /* the fixture's directory, taken for the running system */
	struct settings settings;
	struct part_view view;
	struct finding *findings;
};

static inline void set_text(char **field, const char *text)
{
	free(*field);
	*field = xstrdup(text);
}

static inline struct unit_state *unit(struct host *h, const char *id)
{
	return &h->view.unit[part_find(id)];
}

static inline void set_unit(struct host *h, const char *id, const char *active, const char *sub)
{
	struct unit_state *u = unit(h, id);

	set_text(&u->load, "loaded");
	set_text(&u->active, active);
	set_text(&u->sub, sub);
	set_text(&u->result, "success");
	set_text(&u->status, "");
	set_text(&u->file_state, "static");
	set_text(&u->cgroup, "");
	u->active_us = strcmp(active, "active") == 0 ? 1000000 : 0;
	u->since_us = 1000000;
}

static inline void answer(struct host *h, enum probe_id id, long status)
{
	peer_answers_free(&h->view.probe[id].answer, 1);
	h->view.probe[id] = (struct probe_result){ .asked = 1 };
	h->view.probe[id].answer.status = status;
}

static inline void refuse(struct host *h, enum probe_id id, int error)
{
	answer(h, id, 0);
	h->view.probe[id].error = error;
}

static inline void fact(struct host *h, enum probe_id id, const char *key, const char *value)
{
	struct peer_answer *a = &h->view.probe[id].answer;

	a->facts = xrealloc(a->facts, (a->n_facts + 1) * sizeof(*a->facts));
	a->facts[a->n_facts++] = (struct peer_fact){ xstrdup(key), xstrdup(value) };
}

/* The KMS says of itself; NULL where it says nothing. */
static inline void kms_says(struct host *h, const char *contract, const char *chain,
			    const char *app_auth, const char *ca)
{
	answer(h, PROBE_KMS, 200);
	if (contract)
		fact(h, PROBE_KMS, "contract", contract);
	if (chain)
		fact(h, PROBE_KMS, "chain", chain);
	if (app_auth)
		fact(h, PROBE_KMS, "app_auth", app_auth);
	if (ca)
		fact(h, PROBE_KMS, "ca", ca);
}

#include "test-attest.h"

#include "test-vmm-host.h"

/* Every unit runs and every daemon answers as it should. */
static inline void host_make(struct host *h, const struct fixture *f, const char *conf)
{
	static char none[] = "";

	*h = (struct host){ .root = { .fd = f->root.fd, .path = none } };
	put_text(f, "/etc/dstack/host.conf", conf);
	put_text(f, "/etc/group", "sgx:x:995:\nsgx_prv:x:994:\n");
	assert_int_equal(settings_load(&h->root, &h->settings), 0);
	h->view = (struct part_view){ .root = &h->root, .settings = &h->settings };
	h->view.unit = xcalloc(n_parts, sizeof(*h->view.unit));
	h->view.now_us = 1000000000000;
	for (size_t i = 0; i < n_parts; i++)
		if (parts[i].unit)
			set_unit(h, parts[i].id, "active", "running");
	for (int id = 0; id < PROBE_COUNT; id++)
		answer(h, (enum probe_id)id, 200);
	answer(h, PROBE_FRONT, 401);
	fact(h, PROBE_CONTAINERS, "container", CONTAINER_AESMD " running Up 2 hours");
	fact(h, PROBE_CONTAINERS, "container", CONTAINER_KEY_PROVIDER " running Up 2 hours");
	kms_says(h, CONTRACT, "11155111", APP_AUTH, CA_FACT);
	put_text(f, KMS_CA, CA_PEM);
	put_machine(f);
	put_attestation(h, f);
	vmm_answers(h);
	chain_answers(h);
	fact(h, PROBE_DNS, "answered", "registry.example.org A ok");
	fact(h, PROBE_DNS, "address", "registry.example.org 203.0.113.5");
	fact(h, PROBE_DNS, "answered", "registry.example.org CAA ok");
	fact(h, PROBE_DNS, "answered", "kms.example.org CAA ok");
	fact(h, PROBE_DNS, "answered", "example.org CAA ok");
	fact(h, PROBE_DNS, "answered", "kms.example.org A ok");
	fact(h, PROBE_DNS, "address", "kms.example.org 203.0.113.5");
	h->findings = xcalloc(n_parts, sizeof(*h->findings));
}

static inline const struct finding *judge(struct host *h, const char *id)
{
	findings_free(h->findings, n_parts);
	parts_judge(&h->view, h->findings);
	assert_true(part_find(id) >= 0);
	return &h->findings[part_find(id)];
}

static inline void host_free(struct host *h)
{
	findings_free(h->findings, n_parts);
	free(h->findings);
	part_view_free(&h->view);
	settings_free(&h->settings);
}

#define _cleanup_host_ _cleanup_(host_free)

#define assert_state(finding, expected)                                                  \
	assert_string_equal(part_state_name((finding)->state), part_state_name(expected))
