// SPDX-License-Identifier: Apache-2.0
/* Runs in the network half: the VMM's JSON to facts. "bad" tells why there are none. */
#include <jansson.h>
#include <string.h>

#include "base/strbuf.h"
#include "host/peer/answer.h"
#include "host/sha256.h"
#include "host/vmm/vmm.h"

static void fact(struct peer_emit *emit, size_t vm, const char *key, json_t *value)
{
	char name[64];

	snprintf(name, sizeof(name), "vm.%zu.%s", vm, key);
	if (json_is_string(value))
		peer_fact(emit, name, json_string_value(value));
	else if (json_is_integer(value))
		peer_factf(emit, name, "%lld", (long long)json_integer_value(value));
}

/* As vmm-cli takes them: tcp:127.0.0.1:9103:9100 */
static void fact_ports(struct peer_emit *emit, size_t vm, json_t *ports)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	json_t *port;
	char name[64];
	size_t i;

	json_array_foreach(ports, i, port) {
		const char *protocol = json_string_value(json_object_get(port, "protocol"));
		const char *host = json_string_value(json_object_get(port, "host_address"));

		sb_addf(&sb, "%s%s:%s:%lld:%lld", i ? " " : "", protocol ? protocol : "tcp",
			host ? host : "",
			(long long)json_integer_value(json_object_get(port, "host_port")),
			(long long)json_integer_value(json_object_get(port, "vm_port")));
	}
	snprintf(name, sizeof(name), "vm.%zu.ports", vm);
	if (sb.len)
		peer_fact(emit, name, sb.data);
}

static void facts_of_configuration(struct peer_emit *emit, size_t vm, json_t *config)
{
	json_t *compose = json_object_get(config, "compose_file");
	char name[64], hash[SHA256_HEX + 1];

	fact(emit, vm, "image", json_object_get(config, "image"));
	fact(emit, vm, "vcpu", json_object_get(config, "vcpu"));
	fact(emit, vm, "memory", json_object_get(config, "memory"));
	fact(emit, vm, "disk_size", json_object_get(config, "disk_size"));
	fact_ports(emit, vm, json_object_get(config, "ports"));
	if (!json_is_string(compose))
		return;
	/* The hash stands for the text, which may be long. */
	sha256_hex(json_string_value(compose), json_string_length(compose), hash);
	snprintf(name, sizeof(name), "vm.%zu.compose_hash", vm);
	peer_fact(emit, name, hash);
}

static void facts_of_vm(struct peer_emit *emit, size_t vm, json_t *item)
{
	/* "id" first: it begins a VM for the reader. */
	static const char *const keys[] = { "id", "name", "status", "uptime", "boot_progress",
					    "boot_error" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		fact(emit, vm, keys[i], json_object_get(item, keys[i]));
	facts_of_configuration(emit, vm, json_object_get(item, "configuration"));
}

void vmm_digest_status(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit), *vms = json_object_get(doc, "vms"), *item;
	int good = json_is_array(vms);
	size_t i, n = 0;

	json_array_foreach(vms, i, item) {
		if (json_is_string(json_object_get(item, "id")))
			facts_of_vm(emit, n++, item);
		else
			good = 0;
	}
	if (doc && !good)
		peer_fact(emit, "bad", "the answer is no list of virtual machines");
	json_decref(doc);
}

void vmm_digest_info(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit), *info = json_object_get(doc, "info");

	if (doc && !json_object_get(doc, "found"))
		peer_fact(emit, "bad", "the answer is no virtual machine");
	else if (json_is_string(json_object_get(info, "id")))
		facts_of_vm(emit, 0, info);
	json_decref(doc);
}

void vmm_digest_images(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit), *images = json_object_get(doc, "images"), *item;
	size_t i;

	if (doc && !json_is_array(images))
		peer_fact(emit, "bad", "the answer is no list of images");
	json_array_foreach(images, i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));

		if (name)
			peer_fact(emit, "image", name);
	}
	json_decref(doc);
}

void vmm_digest_created(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit);
	const char *id = json_string_value(json_object_get(doc, "id"));

	if (doc && !id)
		peer_fact(emit, "bad", "the answer has no id");
	if (id)
		peer_fact(emit, "id", id);
	json_decref(doc);
}

void vmm_digest_version(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = answer_json(reply, emit);
	const char *version = json_string_value(json_object_get(doc, "version"));

	if (doc && !version)
		peer_fact(emit, "bad", "the answer has no version");
	if (version)
		peer_fact(emit, "version", version);
	json_decref(doc);
}

void vmm_digest_nothing(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_decref(answer_json(reply, emit));
}
