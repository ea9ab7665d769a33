// SPDX-License-Identifier: Apache-2.0
/*
 * Bodies that daemons answer with, in the network half: first byte which digest, second the
 * HTTP status. Whatever they hold, root's decoder takes every record of what comes out.
 */
#include "fuzz-facts.h"

#include "host/peer/foreign.h"
#include "host/probe/chain.h"
#include "host/report/diff.h"
#include "host/check/docker-digest.h"
#include "host/image/image-digest.h"
#include "host/kms/kms-view.h"
#include "host/measure/measure-print.h"
#include "host/measure/measure-vm.h"
#include "host/probe/probes-digest.h"
#include "host/vmm/vmm.h"

typedef void (*digest_fn)(const struct peer_reply *reply, struct peer_emit *emit);

static const digest_fn digests[] = {
	vmm_digest_status,    vmm_digest_images, vmm_digest_created, vmm_digest_info,
	vmm_digest_nothing,   digest_containers, digest_processes,   kms_digest_meta,
	kms_digest_page,      kms_digest_bootstrap, foreign_digest_state, foreign_digest_compose,
	foreign_digest_manifest, foreign_digest_image,
	digest_rootcacrl, digest_inspect,
	vmm_digest_version, chain_digest, image_digest_sums, image_digest_share,
	kms_digest_frozen, diff_digest,
	measure_digest_list, measure_digest_saved, measure_digest_image, digest_image, docker_digest_root,
	image_digest_metadata, image_digest_digest,
};
static const long statuses[] = { 200, 404, 500, 101 };

enum { INDEX = 7 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	diff_set_own(json_pack("{s:s, s:[{s:s, s:b}], s:{s:{s:[s]}}}", "schema",
			       "dstack-host.report/1", "services", "unit", "a.service", "active", 1,
			       "system", "values", "list", "x"));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *body = NULL;
	struct peer_emit emit = { .index = INDEX };
	struct peer_answer a = { 0 };
	struct peer_reply reply;
	struct vmm_vm *vms;
	digest_fn digest;
	size_t n;

	if (size < 2)
		return 0;
	body = fuzz_text(data + 2, size - 2);
	reply = (struct peer_reply){ statuses[data[1] % ARRAY_SIZE(statuses)], body, size - 2 };
	digest = digests[data[0] % ARRAY_SIZE(digests)];
	digest(&reply, &emit);
	require(emit.out.len < PEER_FACTS_MAX + 2 * PEER_VALUE_MAX);
	facts_read_back(&emit, &a);
	if (digest == vmm_digest_status || digest == vmm_digest_info) {
		require(vmm_list(&a, &vms, &n) == 0);
		vmm_list_free(vms, n);
	}
	peer_answers_free(&a, 1);
	sb_free(&emit.out);
	return 0;
}
