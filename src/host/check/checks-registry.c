// SPDX-License-Identifier: Apache-2.0
/* Checks of the container registry. */
#include "host/check/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/peer/cert-facts.h"

#define RESTART_FRONT "sudo systemctl restart dstack-front.service"
/* dstack-host-services.preinst writes it where the package was there before ours. */
#define STOCK_KEPT "/var/lib/dstack/docker-registry-was-here"
#define STOCK_PROCESS "docker-registry"

enum { STOCK_PORT = 5000 };

/* --- certificate --- */

static const struct outcome certificate_outcomes[] = {
	{ "trusted", CHECK_OK },
	{ "host-ca", CHECK_OK },
	{ "expiring", CHECK_WARN, "the certificate of the registry ends in %s days and was not "
	  "renewed", RESTART_FRONT },
	{ "expired", CHECK_FAIL, "the certificate of the registry has expired", RESTART_FRONT },
	{ "not-yet", CHECK_FAIL, "the certificate of the registry begins in the future: this "
	  "host's clock is behind", "timedatectl" },
	{ "wrong-name", CHECK_FAIL, "the certificate of the registry is not for its name (%s)",
	  RESTART_FRONT },
	{ "untrusted", CHECK_FAIL, "the certificate of the registry is signed by %s, whom nobody "
	  "here knows", RESTART_FRONT },
	{ "host-ca-public", CHECK_FAIL, "the registry is offered to others (REGISTRY_LISTEN=%s) "
	  "with a certificate that only this host trusts: no guest can pull from it",
	  "sudo dstack-host config unset REGISTRY_LISTEN && " APPLY },
	{ 0 },
};

static const char *judge_trust(const struct check_view *v, const struct cert_facts *cert,
			       struct verdict *r)
{
	const char *listen = setting(v->parts.settings, KEY_REGISTRY_LISTEN);
	struct hostport at;

	if (cert_is_ok(cert->system))
		return "trusted";
	if (!cert_is_ok(cert->ca)) {
		verdict_subject(r, "%s", cert->issuer);
		return "untrusted";
	}
	verdict_subject(r, "%s", listen);
	return !parse_hostport(listen, &at) && host_is_loopback(at.host) ? "host-ca" :
									   "host-ca-public";
}

static const char *eval_certificate(const struct check_view *v, struct verdict *r)
{
	const struct peer_answer *a = &v->parts.probe[PROBE_REGISTRY_WRITE].answer;
	_cleanup_free_ char *names = cert_names(a);
	struct cert_facts cert;
	const char *trust;
	long left;

	cert_facts_of(a, &cert);
	if (!cert.seen) {
		verdict_subject(r, "its certificate was not seen");
		return SKIP_UNKNOWN;
	}
	left = cert_days_left(&cert, v->parts.now_us);
	if (left < 0)
		return "expired";
	if (cert.from > (int64_t)(v->parts.now_us / 1000000))
		return "not-yet";
	if (!cert.host) {
		verdict_subject(r, "%s", names);
		return "wrong-name";
	}
	trust = judge_trust(v, &cert, r);
	verdict_found(r, "%s, %ld days left, %s", names, left,
		      strcmp(trust, "host-ca") == 0 ?
			      "this host's own, for loopback, until a trusted one is there" :
		      strcmp(trust, "trusted") == 0 ? "trusted" : "not trusted");
	if (left >= CERT_SOON_DAYS || (strcmp(trust, "trusted") != 0 && strcmp(trust, "host-ca") != 0))
		return trust;
	verdict_subject(r, "%ld", left);
	return "expiring";
}

/* --- pushing --- */

static const struct outcome push_outcomes[] = {
	{ "refused", CHECK_OK },
	{ "open", CHECK_FAIL, "the registry takes pushes from whoever reaches REGISTRY_LISTEN "
	  "(HTTP %s)", RESTART_FRONT },
	{ 0 },
};

static const char *eval_push(const struct check_view *v, struct verdict *r)
{
	long status = v->parts.probe[PROBE_REGISTRY_WRITE].answer.status;
	const char *skip = check_no_answer(v, PROBE_REGISTRY_WRITE, r);

	if (skip)
		return skip;
	verdict_found(r, "HTTP %ld", status);
	verdict_expected(r, "HTTP 405 or 403");
	verdict_subject(r, "%ld", status);
	if (status == 401 || status == 403 || status == 405)
		return "refused";
	if (status >= 500) {
		verdict_subject(r, "HTTP %ld", status);
		return SKIP_UNKNOWN;
	}
	return "open";
}

/* --- Debian's own service --- */

static const struct outcome stock_outcomes[] = {
	{ "shut", CHECK_OK },
	{ "kept", CHECK_WARN, "Debian's docker-registry, which was here before dstack-host, is open "
	  "to the network without access control (port %s)",
	  "sudo systemctl disable --now docker-registry.service" },
	{ "running", CHECK_FAIL, "Debian's docker-registry is open to the network without access "
	  "control (port %s)", "sudo systemctl disable --now docker-registry.service" },
	{ 0 },
};

static const char *eval_stock(const struct check_view *v, struct verdict *r)
{
	const struct listeners *all = &v->machine.listeners;

	if (!(v->machine.looked & LOOK_LISTENERS) || v->machine.listeners_error) {
		verdict_subject(r, "the listening sockets");
		return SKIP_UNKNOWN;
	}
	for (size_t i = 0; i < all->n; i++) {
		const struct listener *l = &all->items[i];

		/* Ours has a unix socket only. */
		if (!l->process || strcmp(l->process, STOCK_PROCESS) != 0)
			continue;
		verdict_found(r, "%s:%u", l->address, l->port);
		verdict_subject(r, "%u", l->port);
		return root_exists(v->parts.root, STOCK_KEPT) ? "kept" : "running";
	}
	return "shut";
}

/* --- the KMS's image --- */

static const struct outcome image_outcomes[] = {
	{ "present", CHECK_OK },
	{ "missing", CHECK_FAIL, "the registry does not have the image of the KMS (%s), which a "
	  "KMS that starts needs to pull", "sudo docker image ls --digests" },
	{ 0 },
};

static const char *eval_image(const struct check_view *v, struct verdict *r)
{
	const struct settings *s = v->parts.settings;
	const char *ref = setting(s, KEY_KMS_IMAGE), *skip;
	_cleanup_free_ char *path = registry_manifest_path(s);
	long status = v->parts.probe[PROBE_KMS_IMAGE].answer.status;

	if (!*ref) {
		verdict_subject(r, "KMS_IMAGE");
		return SKIP_UNSET;
	}
	if (!path) {
		verdict_subject(r, "KMS_IMAGE is at %.*s", (int)strcspn(ref, "/"), ref);
		return SKIP_OFF;
	}
	skip = check_no_answer(v, PROBE_KMS_IMAGE, r);
	if (skip)
		return skip;
	verdict_found(r, "HTTP %ld", status);
	verdict_subject(r, "%s", ref);
	if (status == 200)
		return "present";
	if (status == 404)
		return "missing";
	verdict_subject(r, "HTTP %ld", status);
	return SKIP_UNKNOWN;
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "registry" },
	{ .id = "registry.certificate", .title = "the registry's certificate is good for who asks",
	  .needs = "registry", .probes = PROBE(PROBE_REGISTRY_WRITE),
	  .outcomes = certificate_outcomes, .eval = eval_certificate },
	{ .id = "registry.push", .title = "the registry refuses pushes from outside",
	  .needs = "registry", .probes = PROBE(PROBE_REGISTRY_WRITE),
	  .outcomes = push_outcomes, .eval = eval_push },
	{ .id = "registry.stock", .title = "Debian's own registry service is shut",
	  .flags = CHECK_ROOT | CHECK_LIVE | CHECK_LISTENERS,
	  .outcomes = stock_outcomes, .eval = eval_stock },
	{ .id = "registry.kms-image", .title = "the registry has the image of the KMS",
	  .needs = "registry", .probes = PROBE(PROBE_REGISTRY) | PROBE(PROBE_KMS_IMAGE),
	  .outcomes = image_outcomes, .eval = eval_image },
};
/* clang-format on */

const struct check_group group_registry = { "registry", checks, ARRAY_SIZE(checks) };
