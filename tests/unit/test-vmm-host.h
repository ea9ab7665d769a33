// SPDX-License-Identifier: Apache-2.0
/* A host whose VMM runs the KMS: what they answer, and the files behind it. */
#pragma once

#include "host/compose.h"
#include "host/sha256.h"

#define KMS_VM_ID "7d1f4a52-0c8e-4a3b-9a55-0123456789ab"
#define IMAGE_PATH "/var/lib/dstack/images/dstack-0.5.5"
/* The host's clock in tests (host_make). */
#define NOW_S 1000000

static inline void vmm_lists_kms(struct host *h, const char *status, const char *progress,
				 const char *error)
{
	answer(h, PROBE_VMM, 200);
	fact(h, PROBE_VMM, "vm.0.id", KMS_VM_ID);
	fact(h, PROBE_VMM, "vm.0.name", "kms");
	fact(h, PROBE_VMM, "vm.0.status", status);
	fact(h, PROBE_VMM, "vm.0.boot_progress", progress);
	fact(h, PROBE_VMM, "vm.0.boot_error", error);
}

static inline void vmm_answers(struct host *h)
{
	fact(h, PROBE_VMM_VERSION, "version", "0.5.5");
	fact(h, PROBE_VMM_IMAGES, "image", "dstack-0.5.4");
	fact(h, PROBE_VMM_IMAGES, "image", "dstack-0.5.5");
	answer(h, PROBE_FRONT_WRONG, 401);
}

static inline void chain_says(struct host *h, const char *chain, const char *time,
			      const char *contract, const char *implementation)
{
	answer(h, PROBE_CHAIN, 200);
	fact(h, PROBE_CHAIN, "chain", chain);
	fact(h, PROBE_CHAIN, "time", time);
	fact(h, PROBE_CHAIN, "code.contract", contract);
	fact(h, PROBE_CHAIN, "code.implementation", implementation);
}

static inline void chain_answers(struct host *h)
{
	chain_says(h, "11155111", "999990", "100", "200");
}

/* Programs, guest image and sockets. */
static inline void put_vmm(const struct fixture *f)
{
	static const char metadata[] =
		"{\"bios\": \"ovmf.fd\", \"kernel\": \"bzImage\", \"cmdline\": \"console=ttyS0\", "
		"\"initrd\": \"initramfs.cpio.gz\", \"rootfs\": \"rootfs.img.verity\", "
		"\"version\": \"0.5.5\", \"shared_ro\": true}";
	static const char *const names[] = { "ovmf.fd", "bzImage", "initramfs.cpio.gz" };
	_cleanup_strbuf_ struct strbuf sums = { 0 };
	char hex[SHA256_HEX + 1], path[256];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), IMAGE_PATH "/%s", names[i]);
		put_text(f, path, names[i]);
		sha256_hex(names[i], strlen(names[i]), hex);
		sb_addf(&sums, "%s  %s\n", hex, names[i]);
	}
	sha256_hex(metadata, strlen(metadata), hex);
	sb_addf(&sums, "%s  metadata.json\n", hex);
	put_text(f, IMAGE_PATH "/metadata.json", metadata);
	put_text(f, IMAGE_PATH "/rootfs.img.verity", "");
	put_text(f, IMAGE_PATH "/sha256sum.txt", sums.data);
	sha256_hex(sums.data, sums.len, hex);
	put_text(f, IMAGE_PATH "/digest.txt", hex);
	put_text(f, "/run/dstack/vmm/vmm.sock", "");
	put_text(f, "/run/dstack/supervisor.sock", "");
	put_text(f, "/etc/logrotate.d/dstack-host", "");
	put_text(f, "/proc/1/cmdline", "init");
	put_text(f, "/var/lib/dstack/bin/current/dstack-vmm", "");
	put_text(f, "/var/lib/dstack/bin/current/supervisor", "");
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/var/lib/dstack/bin/current/%s", f->dir,
			 i ? "supervisor" : "dstack-vmm");
		assert_int_equal(chmod(path, 0755), 0);
	}
	snprintf(path, sizeof(path), "%s/run/dstack/vmm", f->dir);
	assert_int_equal(chmod(path, 0700), 0);
}

/* A KMS, deployed with the settings as they are. */
static inline void put_kms(struct host *h, const struct fixture *f)
{
	_cleanup_(kms_plan_free) struct kms_plan plan = { 0 };
	_cleanup_free_ char *record = NULL;
	const char *why;

	assert_int_equal(kms_plan(&h->root, &h->settings, &plan, &why), 0);
	record = xasprintf("{\"schema\": \"dstack-host.kms-deploy/1\", \"vm_id\": \"" KMS_VM_ID
			   "\", \"name\": \"kms\", \"image\": \"dstack-0.5.5\", "
			   "\"compose_hash\": \"%s\", \"vcpu\": 2, \"memory_mb\": 4096, "
			   "\"disk_gb\": 20, \"host_port\": 9103, \"guest_port\": 9100, "
			   "\"domain\": \"kms.example.org\"}",
			   plan.record.compose_hash);
	put_text(f, KMS_RECORD, record);
	put_text(f, KMS_DIR "/app-compose.json", plan.app_compose);
	put_text(f, KMS_DIR "/auth-eth.env", plan.env);
	put_text(f, "/var/lib/dstack/vm/" KMS_VM_ID "/shared/app-compose.json",
		 plan.app_compose);
	vmm_lists_kms(h, "running", "done", "");
	answer(h, PROBE_KMS_TLS, 404);
	fact(h, PROBE_KMS_TLS, "cert.name", "DNS:kms.example.org");
	fact(h, PROBE_KMS_TLS, "cert.subject", "CN=kms.example.org");
	fact(h, PROBE_KMS_TLS, "cert.until", "100000000");
	fact(h, PROBE_KMS_TLS, "cert.host", "ok");
	fact(h, PROBE_KMS_TLS, "cert.ca", "ok");
}
