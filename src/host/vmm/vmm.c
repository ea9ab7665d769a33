// SPDX-License-Identifier: Apache-2.0
/* Calls of the VMM: root's half. */
#include "host/vmm/vmm.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/sock.h"
#include "host/peer/answer.h"
#include "host/conf/secrets.h"

static const struct {
	const char *name;
	unsigned timeout_ms;
	size_t max_body;
	void (*digest)(const struct peer_reply *reply, struct peer_emit *emit);
} methods[] = {
	/* A full one carries every compose file. */
	[VMM_STATUS] = { "Status", 5000, 64 << 20, vmm_digest_status },
	[VMM_LIST_IMAGES] = { "ListImages", 5000, 4 << 20, vmm_digest_images },
	/* Makes the disk and starts QEMU. */
	[VMM_CREATE_VM] = { "CreateVm", 60000, 64 << 10, vmm_digest_created },
	[VMM_GET_INFO] = { "GetInfo", 5000, 16 << 20, vmm_digest_info },
	/* Starts QEMU. */
	[VMM_START_VM] = { "StartVm", 60000, 64 << 10, vmm_digest_nothing },
	/* Asks the guest. */
	[VMM_SHUTDOWN_VM] = { "ShutdownVm", 10000, 64 << 10, vmm_digest_nothing },
	[VMM_STOP_VM] = { "StopVm", 10000, 64 << 10, vmm_digest_nothing },
	[VMM_VERSION] = { "Version", 2000, 64 << 10, vmm_digest_version },
};

int vmm_prepare(const struct root *root, enum vmm_method method, const char *body,
		struct vmm_call *ret)
{
	struct vmm_call c = { .request.fd = -1 };
	int r = secret_read(root, SECRET_VMM_INTERNAL_TOKEN, &c.bearer);

	if (r < 0)
		return r;
	c.request.fd = sock_unix(root, VMM_SOCKET);
	if (c.request.fd < 0) {
		r = c.request.fd;
		secret_free(&c.bearer);
		return r;
	}
	/* ?json, or what fails before the call is dispatched comes back as protobuf. */
	c.url = xasprintf("http://localhost/prpc/%s?json", methods[method].name);
	c.body = xstrdup(body ? body : "{}");
	c.request.kind = PEER_HTTP;
	c.request.url = c.url;
	c.request.body = c.body;
	c.request.bearer = c.bearer;
	c.request.content_type = "application/json";
	c.request.timeout_ms = methods[method].timeout_ms;
	c.request.max_body = methods[method].max_body;
	c.request.digest = methods[method].digest;
	*ret = c;
	return 0;
}

void vmm_call_free(struct vmm_call *call)
{
	if (call->request.fd >= 0 && call->url)
		close(call->request.fd);
	secret_free(&call->bearer);
	free(call->url);
	free(call->body);
	*call = (struct vmm_call){ .request.fd = -1 };
}

int vmm_ask(const struct root *root, enum vmm_method method, const char *body,
	    struct peer_answer *ret)
{
	_cleanup_(vmm_call_free) struct vmm_call call = { .request.fd = -1 };
	int r = vmm_prepare(root, method, body, &call);

	return r < 0 ? r : peer_ask(&call.request, 1, ret);
}

char *vmm_trouble(const struct peer_answer *answer)
{
	return answer_trouble(answer, 200);
}

static char *dump(json_t *doc)
{
	char *s = doc ? json_dumps(doc, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

	json_decref(doc);
	if (!s)
		out_of_memory();
	return s;
}

char *vmm_body_id(const char *id)
{
	return dump(json_pack("{s:s}", "id", id));
}

char *vmm_body_status(const char *keyword, int brief)
{
	return dump(json_pack("{s:b, s:s}", "brief", brief, "keyword", keyword ? keyword : ""));
}

/* Key of a fact ("vm.3.NAME") to the place in the struct. */
static const struct {
	const char *name;
	size_t offset;
} fields[] = {
#define FIELD(key, member) { key, offsetof(struct vmm_vm, member) }
	FIELD("id", id),
	FIELD("name", name),
	FIELD("status", status),
	FIELD("uptime", uptime),
	FIELD("boot_progress", boot_progress),
	FIELD("boot_error", boot_error),
	FIELD("image", image),
	FIELD("vcpu", vcpu),
	FIELD("memory", memory_mb),
	FIELD("disk_size", disk_gb),
	FIELD("compose_hash", compose_hash),
	FIELD("ports", ports),
#undef FIELD
};

static char **field(struct vmm_vm *vm, size_t i)
{
	return (char **)((char *)vm + fields[i].offset);
}

static int set_field(struct vmm_vm *vm, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		char **at = field(vm, i);

		if (strcmp(fields[i].name, name) != 0)
			continue;
		if (*at)
			return -EBADMSG;
		*at = xstrdup(value);
		return 0;
	}
	return 0;
}

/* One fact; *n grows when it begins another VM. */
static int take(struct vmm_vm **vms, size_t *n, const struct peer_fact *fact)
{
	unsigned long index;
	char *name;

	if (strncmp(fact->key, "vm.", 3) != 0)
		return 0;
	if (!isdigit((unsigned char)fact->key[3]))
		return -EBADMSG;
	index = strtoul(fact->key + 3, &name, 10);
	if (*name++ != '.')
		return -EBADMSG;
	if (index == *n && strcmp(name, "id") == 0) {
		*vms = xrealloc(*vms, (*n + 1) * sizeof(**vms));
		(*vms)[(*n)++] = (struct vmm_vm){ 0 };
	} else if (index + 1 != *n) {
		return -EBADMSG;
	}
	return set_field(&(*vms)[*n - 1], name, fact->value);
}

int vmm_list(const struct peer_answer *answer, struct vmm_vm **ret, size_t *ret_n)
{
	struct vmm_vm *vms = NULL;
	size_t n = 0;

	for (size_t i = 0; i < answer->n_facts; i++) {
		int r = take(&vms, &n, &answer->facts[i]);

		if (r < 0) {
			vmm_list_free(vms, n);
			return r;
		}
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < ARRAY_SIZE(fields); j++)
			if (!*field(&vms[i], j))
				*field(&vms[i], j) = xstrdup("");
	*ret = vms;
	*ret_n = n;
	return 0;
}

void vmm_list_free(struct vmm_vm *vms, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < ARRAY_SIZE(fields); j++)
			free(*field(&vms[i], j));
	free(vms);
}

int vmm_is_id(const char *s)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(s) != sizeof(form) - 1)
		return 0;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '-' ? s[i] != '-' : !strchr("0123456789abcdef", s[i]))
			return 0;
	return 1;
}
