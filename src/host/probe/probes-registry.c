// SPDX-License-Identifier: Apache-2.0
/* What `check` asks the registry: to be written to, and for the image of the KMS. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sock.h"
#include "host/probe/probes-ask.h"

/* Length of the registry's name in an image reference: "HOST/NAME". */
static size_t registry_len(const char *ref, const struct settings *s)
{
	const char *name = setting(s, KEY_REGISTRY);
	size_t len = strcspn(ref, "/"), host = strcspn(ref, ":/");

	return ref[len] == '/' && strlen(name) == host && strncasecmp(ref, name, host) == 0 ? len :
											      0;
}

char *registry_manifest_path(const struct settings *s)
{
	const char *ref = setting(s, KEY_KMS_IMAGE), *digest = strchr(ref, '@'), *name;
	size_t len = registry_len(ref, s), name_len;

	if (!len || !digest || !settings_registry_on(s))
		return NULL;
	name = ref + len + 1;
	name_len = strcspn(name, ":@");
	return xasprintf("/v2/%.*s/manifests/%s", (int)name_len, name, digest + 1);
}

static int at_the_door(const struct probe_context *c, struct prepared *p, const char *path)
{
	struct hostport at;

	if (!settings_registry_on(c->s))
		return PROBE_NOBODY;
	if (parse_hostport(setting(c->s, KEY_REGISTRY_LISTEN), &at))
		return -EINVAL;
	p->url = xasprintf("https://%s:%u%s", setting(c->s, KEY_REGISTRY), at.port, path);
	p->request.fd = sock_tcp_start(&at);
	return p->request.fd < 0 ? p->request.fd : 0;
}

/* The name is one that no registry takes: also an open one keeps nothing of this. */
int ask_registry_write(const struct probe_context *c, struct prepared *p)
{
	int r = at_the_door(c, p, "/v2/DSTACK-HOST-CHECK/blobs/uploads/");

	p->request.body = "";
	p->request.content_type = "application/octet-stream";
	p->request.tls = PEER_TLS_TELL;
	return r == 0 ? probe_with_ca(c, p) : r;
}

/* By digest: what it answers with cannot be another image. */
int ask_kms_image(const struct probe_context *c, struct prepared *p)
{
	_cleanup_free_ char *path = registry_manifest_path(c->s);

	if (!path)
		return PROBE_NOBODY;
	p->request.header = "Accept: application/vnd.oci.image.index.v1+json, "
			    "application/vnd.oci.image.manifest.v1+json, "
			    "application/vnd.docker.distribution.manifest.list.v2+json, "
			    "application/vnd.docker.distribution.manifest.v2+json";
	p->request.max_body = 4 << 20;
	return at_the_door(c, p, path);
}
