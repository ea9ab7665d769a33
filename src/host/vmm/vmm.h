// SPDX-License-Identifier: Apache-2.0
/*
 * The VMM's API as its client sees it, both generations: JSON over root's unix socket, with
 * the internal token (0.5.x asks for none, current ones for every call).
 */
#pragma once

#include "base/root.h"
#include "host/peer/peer.h"

#define VMM_SOCKET "/run/dstack/vmm/vmm.sock"
#define SUPERVISOR_SOCKET "/run/dstack/supervisor.sock"

enum vmm_method {
	VMM_STATUS,	 /* facts of vmm_list() */
	VMM_LIST_IMAGES, /* image (repeated: names) */
	VMM_CREATE_VM,	 /* id */
	VMM_GET_INFO,	 /* the one VM as vmm_list() has it, or none */
	VMM_START_VM,
	VMM_SHUTDOWN_VM,
	VMM_STOP_VM,
	VMM_VERSION,	 /* version; it answers also when its supervisor is dead */
};

/* A call that can be put in a peer_ask() with others; its socket is connected. */
struct vmm_call {
	struct peer_request request;
	char *url, *body, *bearer;
};

/* `body` is JSON (copied), NULL: no arguments. 0, or -errno: nobody listens, no right. */
int vmm_prepare(const struct root *root, enum vmm_method method, const char *body,
		struct vmm_call *ret) _must_check_;
void vmm_call_free(struct vmm_call *call);
/* Prepares, asks, waits. 0 (see vmm_trouble()) or -errno. */
int vmm_ask(const struct root *root, enum vmm_method method, const char *body,
	    struct peer_answer *ret) _must_check_;
/* Why the answer is not what was asked for, the caller's; NULL when it is. */
char *vmm_trouble(const struct peer_answer *answer) _must_check_;

/* Arguments. The caller frees. */
char *vmm_body_id(const char *id) _must_check_;
/* VMs whose name, ids or image contain `keyword` (NULL: all); not brief: with configuration. */
char *vmm_body_status(const char *keyword, int brief) _must_check_;

struct vmm_vm {
	/* Never NULL; "" when the VMM said nothing. */
	char *id, *name, *status, *uptime, *boot_progress, *boot_error;
	/* With their configuration only. */
	char *image, *vcpu, *memory_mb, *disk_gb, *compose_hash, *ports;
};

/* The VMs of an answer; *ret is the caller's. 0 or -EBADMSG. */
int vmm_list(const struct peer_answer *answer, struct vmm_vm **ret, size_t *ret_n) _must_check_;
void vmm_list_free(struct vmm_vm *vms, size_t n);

/* A VM's id as the VMM makes them (they become names of directories). */
int vmm_is_id(const char *s);

/* In the network half. */
void vmm_digest_status(const struct peer_reply *reply, struct peer_emit *emit);
void vmm_digest_images(const struct peer_reply *reply, struct peer_emit *emit);
void vmm_digest_created(const struct peer_reply *reply, struct peer_emit *emit);
void vmm_digest_info(const struct peer_reply *reply, struct peer_emit *emit);
void vmm_digest_version(const struct peer_reply *reply, struct peer_emit *emit);
void vmm_digest_nothing(const struct peer_reply *reply, struct peer_emit *emit);
