// SPDX-License-Identifier: Apache-2.0
/* What is asked of Docker, and what the network half makes of its answers. */
#include "host/docker.h"

#include <jansson.h>

#include "base/sock.h"
#include "base/strbuf.h"

static int prepare(const struct root *root, const char *url, struct peer_request *ret)
{
	*ret = (struct peer_request){
		.kind = PEER_HTTP,
		.url = url,
		.fd = sock_unix(root, DOCKER_SOCKET),
		.timeout_ms = 3000,
		.max_body = 16 << 20,
	};
	return ret->fd < 0 ? ret->fd : 0;
}

int docker_ping(const struct root *root, struct peer_request *ret)
{
	return prepare(root, "http://localhost/_ping", ret);
}

int docker_containers(const struct root *root, struct peer_request *ret)
{
	int r = prepare(root, "http://localhost/containers/json?all=1", ret);

	ret->digest = docker_digest_containers;
	return r;
}

static void fact(struct peer_emit *emit, size_t n, const char *key, const char *value)
{
	char name[64];

	snprintf(name, sizeof(name), "container.%zu.%s", n, key);
	if (value)
		peer_fact(emit, name, value);
}

static const char *text(json_t *item, const char *key)
{
	return json_string_value(json_object_get(item, key));
}

static void fact_ports(struct peer_emit *emit, size_t n, json_t *ports)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	json_t *port;
	size_t i;

	json_array_foreach(ports, i, port) {
		const char *ip = text(port, "IP"), *type = text(port, "Type");
		json_t *public = json_object_get(port, "PublicPort");

		if (!json_is_integer(public))
			continue;
		sb_addf(&sb, "%s%s:%lld->%lld/%s", sb.len ? " " : "", ip ? ip : "",
			(long long)json_integer_value(public),
			(long long)json_integer_value(json_object_get(port, "PrivatePort")),
			type ? type : "tcp");
	}
	fact(emit, n, "ports", sb.data);
}

void docker_digest_containers(const struct peer_reply *reply, struct peer_emit *emit)
{
	json_t *doc = json_loadb(reply->body, reply->len, JSON_REJECT_DUPLICATES, NULL), *item;
	const char *message = text(doc, "message");
	size_t i;

	if (!json_is_array(doc))
		peer_fact(emit, "bad", message ? message : "the answer is no list of containers");
	json_array_foreach(doc, i, item) {
		json_t *names = json_object_get(item, "Names");
		const char *name = json_string_value(json_array_get(names, 0));

		/* "/aesmd"; links to it would come after. */
		fact(emit, i, "name", name && *name == '/' ? name + 1 : name);
		fact(emit, i, "image", text(item, "Image"));
		fact(emit, i, "state", text(item, "State"));
		fact(emit, i, "status", text(item, "Status"));
		fact_ports(emit, i, json_object_get(item, "Ports"));
	}
	json_decref(doc);
}
