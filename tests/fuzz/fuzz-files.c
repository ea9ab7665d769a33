// SPDX-License-Identifier: Apache-2.0
/*
 * Files that other programs write and this one reads: the VMM's directories, an image's
 * metadata, /etc/group, /proc, the record of the KMS, the answers that were refused. The first
 * byte says which. What `status` makes of them is always clean text and JSON.
 */
#include "fuzz-facts.h"

#include <jansson.h>

#include "base/fileio.h"
#include "base/utf8.h"
#include "host/accounts.h"
#include "host/conf/detect.h"
#include "host/conf/import.h"
#include "host/kms/kms.h"
#include "host/listeners.h"
#include "host/conf/secrets.h"
#include "host/part/status.h"
#include "host/vmm/vmdir.h"

/* Foreign files are digested here instead of in a half: a fork takes the time of hundreds of
 * runs, and nobody would see what happens in it. */
static int digest_here(const struct peer_request *requests, size_t n, struct peer_answer *answers)
{
	for (size_t i = 0; i < n; i++) {
		struct peer_emit emit = { .index = (unsigned)i };
		_cleanup_free_ char *text = NULL;
		struct peer_reply reply = { 0 };

		answers[i] = (struct peer_answer){ 0 };
		require(fd_read_all(requests[i].fd, requests[i].max_body, &text, &reply.len) == 0);
		reply.body = text;
		requests[i].digest(&reply, &emit);
		facts_read_back(&emit, &answers[i]);
		sb_free(&emit.out);
	}
	return 0;
}
#define peer_ask digest_here
#include "../../src/host/peer/foreign.c"
#undef peer_ask

#define VM_DIR "/var/lib/dstack/vm"
#define ID "11111111-2222-3333-4444-555555555555"
#define IMAGE "/var/lib/dstack/images/dstack-0.5.5"

static void put_text(const char *path, const char *text)
{
	fuzz_put(path, text, strlen(text));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_root_make();
	put_text(HOSTCONF_PATH, "DOMAIN=a.example\n");
	put_text(VM_DIR "/" ID "/vm-state.json", "{\"started\":true}");
	put_text(IMAGE "/sha256sum.txt", "0  bzImage\n");
	return 0;
}

/* No control character but line breaks, nothing that is no UTF-8. */
static void is_clean(const char *s)
{
	size_t n = strlen(s);

	while (n) {
		size_t step = utf8_printable(s, n);

		require(step || *s == '\n');
		step += !step;
		s += step;
		n -= step;
	}
}

static void status_is_clean(void)
{
	_cleanup_settings_ struct settings s = { 0 };
	_cleanup_(part_view_free) struct part_view v = { 0 };
	_cleanup_(status_free) struct status st = { 0 };
	_cleanup_strbuf_ struct strbuf text = { 0 }, json = { 0 };
	json_t *doc;

	require(settings_load(&fuzz_root, &s) == 0);
	part_view_fill(&v, &fuzz_root, &s, 0, 0, 0);
	status_collect(&v, &st);
	status_text(&st, 0, &text);
	is_clean(text.data);
	status_json(&st, &json);
	doc = json_loadb(json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
	require(doc && json_array_size(json_object_get(doc, "parts")) == n_parts);
	json_decref(doc);
}

static void machine(const uint8_t *data, size_t size)
{
	const char *const id = ID;
	_cleanup_free_ char *name = NULL;
	int r;

	fuzz_put(VM_DIR "/" ID "/vm-manifest.json", data, size);
	vmdir_names(&fuzz_root, VM_DIR, &id, 1, &name);
	fuzz_put(VM_DIR "/" ID "/shared/app-compose.json", data, size);
	r = vmdir_needs_key_provider(&fuzz_root, VM_DIR);
	require(r == 0 || r == 1);
	fuzz_put(VM_DIR "/" ID "/vm-state.json", data, size);
	r = vmdir_needs_key_provider(&fuzz_root, VM_DIR);
	require(r == 0 || r == 1);
	put_text(VM_DIR "/" ID "/vm-state.json", "{\"started\":true}");
}

static void accounts(const uint8_t *data, size_t size)
{
	_cleanup_account_ struct account group = { 0 }, user = { 0 };

	fuzz_put("/etc/group", data, size);
	fuzz_put("/etc/passwd", data, size);
	if (group_lookup(&fuzz_root, "sgx", &group) == 0)
		require(group.members && *group.members == ' ');
	(void)!user_lookup(&fuzz_root, "qgsd", &user);
	status_is_clean();
	fuzz_drop("/etc/group");
	fuzz_drop("/etc/passwd");
}

static void sockets(const char *text)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct listeners list = { 0 }, all = { 0 };

		listeners_parse(text, v6, 0, &list);
		listeners_parse(text, v6, 1, &all);
		require(all.n >= list.n);
		for (size_t i = 0; i < list.n; i++)
			require(*list.items[i].address &&
				strncmp(list.items[i].address, "127.", 4) != 0 &&
				strcmp(list.items[i].address, "::1") != 0);
		listeners_free(&list);
		listeners_free(&all);
	}
}

static void kms(const uint8_t *data, size_t size)
{
	_cleanup_(kms_record_free) struct kms_record rec = { 0 }, again = { 0 };
	_cleanup_free_ char *ca = NULL;
	int r;

	fuzz_put(KMS_CA, data, size);
	require(kms_ca_load(&fuzz_root, &ca) == 0 || size > 65536);
	fuzz_put(KMS_RECORD, data, size);
	r = kms_record_load(&fuzz_root, &rec);
	if (r == 0) {
		require(kms_record_save(&fuzz_root, &rec) == 0);
		require(kms_record_load(&fuzz_root, &again) == 0);
		require(strcmp(rec.name, again.name) == 0 && rec.vcpu == again.vcpu &&
			strcmp(rec.vm_id, again.vm_id) == 0 &&
			strcmp(rec.domain, again.domain) == 0);
	}
	fuzz_drop(KMS_RECORD);
	fuzz_drop(KMS_CA);
}

static void image(const uint8_t *data, size_t size)
{
	fuzz_put(IMAGE "/metadata.json", data, size);
	put_text(IMAGE "/digest.txt", "0");
	status_is_clean();
	put_text(IMAGE "/metadata.json", "{\"kernel\":\"k\",\"initrd\":\"i\"}");
	fuzz_put(IMAGE "/digest.txt", data, size);
	status_is_clean();
	fuzz_drop(IMAGE "/metadata.json");
}

static void one_file(const char *path, const uint8_t *data, size_t size)
{
	fuzz_put(path, data, size);
	status_is_clean();
	fuzz_drop(path);
}

static void machine_of_this_host(const uint8_t *data, size_t size)
{
	static const enum key_id ids[] = { KEY_VMM_MAX_VCPU, KEY_VMM_MAX_MEMORY_MB };

	fuzz_put("/proc/cpuinfo", data, size);
	fuzz_put("/proc/meminfo", data, size);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		_cleanup_free_ char *value = NULL;

		require(detect_setting(&fuzz_root, ids[i], &value) == 0);
	}
	fuzz_drop("/proc/cpuinfo");
	fuzz_drop("/proc/meminfo");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = NULL;
	unsigned which;

	if (!size)
		return 0;
	which = *data++ % 8u;
	text = fuzz_text(data, --size);
	if (which == 0)
		machine(data, size);
	else if (which == 1)
		accounts(data, size);
	else if (which == 2)
		sockets(text);
	else if (which == 3)
		kms(data, size);
	else if (which == 4)
		image(data, size);
	else if (which == 5)
		one_file(REJECTED_PATH, data, size);
	else if (which == 6)
		one_file(SECRETS_DIR "/vmm-internal-token", data, size);
	else
		machine_of_this_host(data, size);
	return 0;
}
