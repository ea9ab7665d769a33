// SPDX-License-Identifier: Apache-2.0
/* What only `check` asks of the VMM, its front, and the KMS. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sock.h"
#include "host/kms/kms.h"
#include "host/probe/probes-ask.h"
#include "host/conf/secrets.h"

/* Nobody's: what a stranger might try. */
#define WRONG_TOKEN "0000000000000000000000000000000000000000000000000000000000000000"

static int ask_method(const struct probe_context *c, enum vmm_method method, struct prepared *p)
{
	int r = vmm_prepare(c->root, method, NULL, &p->vmm);

	if (r < 0)
		return r;
	p->request = p->vmm.request;
	p->request.timeout_ms = PROBE_TIMEOUT_MS;
	return 0;
}

int ask_vmm_version(const struct probe_context *c, struct prepared *p)
{
	return ask_method(c, VMM_VERSION, p);
}

int ask_vmm_images(const struct probe_context *c, struct prepared *p)
{
	return ask_method(c, VMM_LIST_IMAGES, p);
}

int ask_front_wrong(const struct probe_context *c, struct prepared *p)
{
	p->url = probe_url("http://", setting(c->s, KEY_VMM_ADDRESS), "/prpc/Version");
	p->request.bearer = WRONG_TOKEN;
	return p->url ? 0 : -EINVAL;
}

/* Only over loopback: what listens elsewhere is not asked in clear text. */
int ask_front_token(const struct probe_context *c, struct prepared *p)
{
	struct hostport at;
	int r;

	if (parse_hostport(setting(c->s, KEY_VMM_ADDRESS), &at) ||
	    !host_is_loopback(sock_reachable(at.host)))
		return PROBE_NOBODY;
	r = secret_read(c->root, SECRET_VMM_TOKEN, &p->vmm.bearer);
	if (r < 0)
		return r;
	if (!p->vmm.bearer)
		return PROBE_NOBODY;
	/* It is wiped and freed with the call. */
	p->vmm.request.fd = -1;
	p->vmm.url = probe_url("http://", setting(c->s, KEY_VMM_ADDRESS), "/prpc/Version");
	p->request.url = p->vmm.url;
	p->request.bearer = p->vmm.bearer;
	return 0;
}

/* By the name of the deployed one, at its port. A path that no KMS has is refused at once, also
 * by one that waits for its chain. */
int ask_kms_tls(const struct probe_context *c, struct prepared *p)
{
	_cleanup_(kms_record_free) struct kms_record record = { 0 };
	struct hostport at = { .host = "127.0.0.1" };
	int r = kms_record_load(c->root, &record);

	if (r == KMS_NO_RECORD)
		return PROBE_NOBODY;
	if (r == 0)
		r = kms_ca_load(c->root, &p->ca);
	if (r < 0)
		return r;
	at.port = (uint16_t)record.host_port;
	p->url = xasprintf("https://%s/dstack-host-check", record.domain);
	p->request.tls = PEER_TLS_TELL;
	p->request.fd = sock_tcp_start(&at);
	return p->request.fd < 0 ? p->request.fd : 0;
}
