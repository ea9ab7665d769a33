// SPDX-License-Identifier: Apache-2.0
/*
 * The KMS of this host: deployed once, never twice, never changed. What was deployed is
 * frozen in /var/lib/dstack/kms before the VMM is asked, because the sealed disk is bound to
 * it, and the recorded CA tells the KMS that was made from any other.
 */
#pragma once

#include "base/root.h"
#include "base/strbuf.h"
#include "host/peer/peer.h"
#include "host/conf/settings.h"
#include "host/sha256.h"
#include "host/vmm/vmm.h"

#define KMS_DIR "/var/lib/dstack/kms"
#define KMS_RECORD KMS_DIR "/deploy.json"
#define KMS_CA KMS_DIR "/ca.pem"

/* --- what it needs (render-kms.c) --- */

/* Settings that every KMS needs. */
#define KMS_SETTINGS "DOMAIN KMS_IMAGE KMS_CONTRACT APP_AUTH_IMPLEMENTATION ETH_RPC_URLS"
/* What one layout needs besides and is not set, or -1. */
int kms_layout_setting(const struct settings *s);

/* --- what is frozen (kms-record.c) --- */

struct kms_record {
	char *vm_id; /* "" until the VMM has confirmed it */
	char *name, *image, *compose_hash;
	unsigned vcpu, memory_mb, disk_gb, host_port, guest_port;
	char *domain; /* kms.DOMAIN */
};

enum { KMS_NO_RECORD = 1 };

/* 0, KMS_NO_RECORD, or -errno (-EBADMSG: it cannot be read). */
int kms_record_load(const struct root *root, struct kms_record *ret) _must_check_;
int kms_record_save(const struct root *root, const struct kms_record *record) _must_check_;
void kms_record_free(struct kms_record *record);

/* The next KMS as the settings make it. */
struct kms_plan {
	struct kms_record record;
	char *compose, *env, *app_compose;
};

/* 0; 1: *why names the setting it waits for; or -errno. */
int kms_plan(const struct root *root, const struct settings *s, struct kms_plan *ret,
	     const char **why) _must_check_;
/* Writes all of it durably, the record last. 0 or -errno. */
int kms_plan_freeze(const struct root *root, const struct kms_plan *plan) _must_check_;
void kms_plan_free(struct kms_plan *plan);

/* Where the KMS answers on this host: as recorded, else as set. */
unsigned kms_port(const struct root *root, const struct settings *s);

/* The recorded CA, the caller's; NULL when there is none. 0 or -errno. */
int kms_ca_load(const struct root *root, char **ret) _must_check_;
/* Records it once: 0, FILE_UNCHANGED when it is the recorded one, -EEXIST when another is
 * (which stays), or -errno. */
int kms_ca_record(const struct root *root, const char *pem) _must_check_;

/* --- which VM is it (kms-look.c) --- */

enum kms_vm {
	KMS_VM_NONE,	/* no VM of that name, or only ghosts of a failed creation */
	KMS_VM_OURS,	/* same compose as planned or recorded */
	KMS_VM_FOREIGN, /* that name, another compose, and not what we recorded */
	KMS_VM_SEVERAL,
	KMS_VM_GONE,	/* recorded with its id, and the VMM does not show it */
};

struct kms_look {
	enum kms_vm what;
	struct vmm_vm *vms; /* all */
	size_t n;
	const struct vmm_vm *vm;       /* OURS, FOREIGN */
	const struct vmm_vm *port_user; /* another VM with the planned host port */
	char *hidden; /* id of a directory with that name which the VMM does not show */
};

/* Judges the VMM's full list. `record` NULL: nothing was deployed; `plan` NULL: nothing can
 * be. One of them is there. */
void kms_look_judge(const struct root *root, const char *vm_dir,
		    const struct kms_record *record, const struct kms_record *plan,
		    struct kms_look *look);
/* Asks the VMM and judges. 0; 1: it does not answer as it should, *trouble says how (the
 * caller's); or -errno when the network half could not be started. */
int kms_look(const struct root *root, const struct settings *s,
	     const struct kms_record *record, const struct kms_record *plan,
	     struct kms_look *ret, char **trouble) _must_check_;
void kms_look_free(struct kms_look *look);

/* --- the verbs (kms-deploy.c, kms-status.c) --- */

/* A VM's status when somebody has stopped it, and what starts it. */
#define KMS_STOPPED "stopped"
#define KMS_START "sudo systemctl restart dstack-kms"

enum { KMS_FAILED = 1 };
/* Deploys or follows until it is ready. Takes the lock of all writing verbs only while it
 * writes. 0: ready or nothing to do; else, with its message, KMS_FAILED or -errno. */
int kms_deploy(const struct root *root, const struct settings *s) _must_check_;

struct kms_row {
	const char *key;
	char *value;
};

struct kms_status {
	const char *state; /* waiting, not deployed, onboarding, ready, failed */
	int ready;	   /* and its CA is on record */
	struct kms_row *rows;
	size_t n;
};

int kms_status(const struct root *root, const struct settings *s, struct kms_status *ret)
	_must_check_;
void kms_status_text(const struct kms_status *st, struct strbuf *out);
/* dstack-host.kms/1 */
void kms_status_json(const struct kms_status *st, struct strbuf *out);
void kms_status_free(struct kms_status *st);
