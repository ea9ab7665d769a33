// SPDX-License-Identifier: Apache-2.0
/* Checks of the registry: who trusts it, who may write to it, what it holds. */
#include "check-cases.h"

#include <errno.h>

#include "host/probe/probes.h"

#define CASE(name)                                                                       \
	static void name(struct host *h _unused_, struct check_view *v _unused_,         \
			 const struct fixture *f _unused_)
#define STRANGER "self-signed certificate"
#define DIGEST "@sha256:7e86300bda4a4832d5cdffb63d9c5e716f1756d078d49728e33aaa9a148fe93e"

/* --- certificate --- */

static void shows(struct host *h, long long from, long long until, const char *host,
		  const char *ca, const char *of_system)
{
	answer(h, PROBE_REGISTRY_WRITE, 405);
	certificate(h, PROBE_REGISTRY_WRITE, from, until, host, ca, of_system);
}

CASE(trusted) { shows(h, 0, NOW_S + DAYS(21), "ok", STRANGER, "ok"); }
CASE(expiring) { shows(h, 0, NOW_S + DAYS(21) - 1, "ok", STRANGER, "ok"); }
CASE(expired) { shows(h, 0, NOW_S - 1, "ok", STRANGER, "ok"); }
CASE(not_yet) { shows(h, NOW_S + 1, NOW_S + DAYS(90), "ok", STRANGER, "ok"); }
CASE(wrong_name) { shows(h, 0, NOW_S + DAYS(90), "no", STRANGER, "ok"); }
CASE(untrusted) { shows(h, 0, NOW_S + DAYS(90), "ok", STRANGER, STRANGER); }
CASE(no_host_ca) { shows(h, 0, NOW_S + DAYS(90), "ok", NULL, STRANGER); }
CASE(no_certificate) { answer(h, PROBE_REGISTRY_WRITE, 405); }
CASE(public) { set_text(&h->settings.v[KEY_REGISTRY_LISTEN].value, "203.0.113.5:443"); }
CASE(public_and_trusted)
{
	public(h, v, f);
	trusted(h, v, f);
}

/* --- pushing --- */

CASE(takes_it) { answer(h, PROBE_REGISTRY_WRITE, 202); }
CASE(passes_it_on) { answer(h, PROBE_REGISTRY_WRITE, 404); }
CASE(forbids_it) { answer(h, PROBE_REGISTRY_WRITE, 403); }
CASE(is_out_of_order) { answer(h, PROBE_REGISTRY_WRITE, 503); }
CASE(says_nothing) { refuse(h, PROBE_REGISTRY_WRITE, -ECONNREFUSED); }

/* --- Debian's own --- */

static void listens(struct check_view *v, uint16_t port, const char *process)
{
	struct listeners *all = &v->machine.listeners;

	v->machine.looked |= LOOK_LISTENERS;
	all->items = xrealloc(all->items, (all->n + 1) * sizeof(*all->items));
	all->items[all->n++] = (struct listener){ .address = "::", .port = port,
						  .process = xstrdup(process) };
}

CASE(stock) { listens(v, 5000, "docker-registry"); }
CASE(stock_elsewhere) { listens(v, 5001, "docker-registry"); }
CASE(other_program) { listens(v, 5000, "python3"); }
CASE(stock_was_here)
{
	stock(h, v, f);
	put_text(f, "/var/lib/dstack/docker-registry-was-here", "");
}
CASE(not_looked) { v->machine.looked = 0; }

/* --- the KMS's image --- */

static void wants(struct host *h, const char *ref)
{
	set_text(&h->settings.v[KEY_KMS_IMAGE].value, ref);
}

CASE(ours) { wants(h, "registry.example.org/kms/dstack-kms:0.5" DIGEST); }
CASE(missing)
{
	ours(h, v, f);
	answer(h, PROBE_KMS_IMAGE, 404);
}
CASE(odd_answer)
{
	ours(h, v, f);
	answer(h, PROBE_KMS_IMAGE, 500);
}
CASE(no_image) { wants(h, ""); }

static const struct check_case cases[] = {
	{ "registry.certificate", "host-ca" },
	{ "registry.certificate", "trusted", trusted },
	{ "registry.certificate", "trusted", public_and_trusted },
	{ "registry.certificate", "expiring", expiring },
	{ "registry.certificate", "expired", expired },
	{ "registry.certificate", "not-yet", not_yet },
	{ "registry.certificate", "wrong-name", wrong_name },
	{ "registry.certificate", "untrusted", untrusted },
	{ "registry.certificate", "untrusted", no_host_ca },
	{ "registry.certificate", "host-ca-public", public },
	{ "registry.certificate", SKIP_UNKNOWN, no_certificate },
	{ "registry.push", "refused" },
	{ "registry.push", "refused", forbids_it },
	{ "registry.push", "open", takes_it },
	{ "registry.push", "open", passes_it_on },
	{ "registry.push", SKIP_UNKNOWN, is_out_of_order },
	{ "registry.push", SKIP_UNKNOWN, says_nothing },
	{ "registry.stock", "shut" },
	{ "registry.stock", "shut", other_program },
	{ "registry.stock", "running", stock },
	{ "registry.stock", "running", stock_elsewhere },
	{ "registry.stock", "kept", stock_was_here },
	{ "registry.stock", SKIP_UNKNOWN, not_looked },
	{ "registry.kms-image", "present", ours },
	{ "registry.kms-image", "missing", missing },
	{ "registry.kms-image", SKIP_UNKNOWN, odd_answer },
	{ "registry.kms-image", SKIP_UNSET, no_image },
	{ "registry.kms-image", SKIP_OFF }, /* at r.example */
};

CHECK_CASES_MAIN(group_registry, cases)
