// SPDX-License-Identifier: Apache-2.0
/* Checks of the KMS. */
#include "check-cases.h"

#include <errno.h>

static void deployed(struct host *h, struct check_view *v _unused_, const struct fixture *f)
{
	put_kms(h, f);
}

#define ARRANGE(name, ...)                                                               \
	static void name(struct host *h, struct check_view *v _unused_,                  \
			 const struct fixture *f)                                        \
	{                                                                                \
		put_kms(h, f);                                                           \
		__VA_ARGS__                                                              \
	}

ARRANGE(booting, vmm_lists_kms(h, "running", "starting containers", "");)
ARRANGE(running_after_restart, vmm_lists_kms(h, "running", "running", "");)
ARRANGE(waits_for_time,
	vmm_lists_kms(h, "running", "", "Failed to wait for the system time to be synchronized");)
ARRANGE(boot_error, vmm_lists_kms(h, "running", "", "Failed to get sealing key");)
ARRANGE(stopped, vmm_lists_kms(h, "stopped", "", "");)
ARRANGE(exited, vmm_lists_kms(h, "exited", "", "");)
ARRANGE(gone, answer(h, PROBE_VMM, 200);)

static void hang(struct host *h)
{
	answer(h, PROBE_KMS, 0);
	h->view.probe[PROBE_KMS].answer.error = PEER_TIMEOUT;
	answer(h, PROBE_KMS_PAGE, 0);
	h->view.probe[PROBE_KMS_PAGE].answer.error = PEER_PROTOCOL;
}

ARRANGE(hangs, hang(h);)
ARRANGE(hangs_by_limit, hang(h); answer(h, PROBE_CHAIN, 429); fact(h, PROBE_CHAIN, "limited", "yes");)
ARRANGE(refuses_by_limit, answer(h, PROBE_KMS, 400); answer(h, PROBE_CHAIN, 429);
	fact(h, PROBE_CHAIN, "limited", "yes");)
ARRANGE(dead, answer(h, PROBE_KMS, 0); h->view.probe[PROBE_KMS].answer.error = PEER_UNREACHABLE;
	answer(h, PROBE_KMS_PAGE, 0);
	h->view.probe[PROBE_KMS_PAGE].answer.error = PEER_UNREACHABLE;)
ARRANGE(starting, answer(h, PROBE_KMS, 0); h->view.probe[PROBE_KMS].answer.error = PEER_UNREACHABLE;
	set_unit(h, "kms", "activating", "start");
	answer(h, PROBE_KMS_PAGE, 0);
	h->view.probe[PROBE_KMS_PAGE].answer.error = PEER_UNREACHABLE;)
ARRANGE(starts_without_provider, starting(h, v, f); refuse(h, PROBE_KEY_PROVIDER, -ECONNREFUSED);)
ARRANGE(other_ca, kms_says(h, CONTRACT, "11155111", APP_AUTH, "TUlK");)
ARRANGE(other_chain, kms_says(h, CONTRACT, "1", APP_AUTH, CA_FACT);)
ARRANGE(slow, h->view.probe[PROBE_KMS].answer.ms = 1500;)
ARRANGE(late, h->view.probe[PROBE_KMS].answer.ms = 2100;)

static void kms_shows(struct host *h, const char *ca, const char *host, const char *until)
{
	answer(h, PROBE_KMS_TLS, 404);
	fact(h, PROBE_KMS_TLS, "cert.name", "DNS:kms.example.org");
	fact(h, PROBE_KMS_TLS, "cert.subject", "CN=kms.example.org");
	fact(h, PROBE_KMS_TLS, "cert.until", until);
	fact(h, PROBE_KMS_TLS, "cert.host", host);
	fact(h, PROBE_KMS_TLS, "cert.ca", ca);
}

ARRANGE(wrong_issuer, kms_shows(h, "unable to get local issuer certificate", "ok", "100000000");)
ARRANGE(wrong_name, kms_shows(h, "ok", "no", "100000000");)
ARRANGE(expired, kms_shows(h, "ok", "ok", "900000");)
ARRANGE(expiring, kms_shows(h, "ok", "ok", "1864000");)
ARRANGE(no_handshake, answer(h, PROBE_KMS_TLS, 0);)

static void compose_is(const struct fixture *f, const char *text)
{
	put_text(f, KMS_DIR "/app-compose.json", text);
}

ARRANGE(no_provider, compose_is(f, "{\"local_key_provider_enabled\": false}");)
ARRANGE(time_on, compose_is(f, "{\"secure_time\": true}");)
ARRANGE(time_unwritten, compose_is(f, "{}");)
ARRANGE(no_compose, compose_is(f, "[");)
ARRANGE(machine_changed,
	put_text(f, "/var/lib/dstack/vm/" KMS_VM_ID "/shared/app-compose.json", "{}");)

static void set_more(struct host *h, const struct fixture *f, const char *line)
{
	_cleanup_free_ char *conf = xasprintf("%s%s\n", FULL_CONF, line);

	put_text(f, "/etc/dstack/host.conf", conf);
	settings_free(&h->settings);
	assert_int_equal(settings_load(&h->root, &h->settings), 0);
	assert_int_equal(h->settings.diag.n, 0);
}

ARRANGE(other_size, set_more(h, f, "KMS_VCPU=4");)
ARRANGE(other_compose, set_more(h, f, "KMS_LAYOUT=reference\nKMS_GUEST_PORT=9999");)

ARRANGE(chain_setting_is_wrong, set_more(h, f, "CHAIN_ID=5");)

/* A host that has only some of its settings has nothing to be compared with. */
static void settings_gone(struct host *h, struct check_view *v _unused_, const struct fixture *f)
{
	put_kms(h, f);
	put_text(f, "/etc/dstack/host.conf", "DOMAIN=example.org\n");
	settings_free(&h->settings);
	assert_int_equal(settings_load(&h->root, &h->settings), 0);
}

static const struct check_case cases[] = {
	{ "kms.boot", "running", deployed },
	{ "kms.boot", "running", running_after_restart },
	{ "kms.boot", "booting", booting },
	{ "kms.boot", "time", waits_for_time },
	{ "kms.boot", "boot-error", boot_error },
	{ "kms.boot", "stopped", stopped },
	{ "kms.boot", "exited", exited },
	{ "kms.boot", "gone", gone },
	{ "kms.boot", "unknown" },
	{ "kms", "ok", deployed },
	{ "kms", "needs", stopped },
	{ "kms", "hangs", hangs },
	/* K1: the cause fails, and nothing else. */
	{ "kms", "needs", hangs_by_limit },
	{ "kms", "needs", refuses_by_limit },
	{ "chain.endpoint", "limited", hangs_by_limit },
	{ "kms.speed", "needs", hangs_by_limit },
	{ "kms", "other-ca", other_ca },
	{ "kms", "other-settings", other_chain },
	{ "kms", "needs", chain_setting_is_wrong },
	{ "chain.id", "wrong", chain_setting_is_wrong },
	{ "kms.speed", "quick", deployed },
	{ "kms.speed", "slow", slow },
	{ "kms.speed", "late", late },
	{ "kms.certificate", "good", deployed },
	{ "kms.certificate", "issuer", wrong_issuer },
	{ "kms.certificate", "name", wrong_name },
	{ "kms.certificate", "expired", expired },
	{ "kms.certificate", "expiring", expiring },
	{ "kms.certificate", "unknown", no_handshake },
	{ "kms.key-provider", "local", deployed },
	{ "kms.key-provider", "other", no_provider },
	{ "kms.key-provider", "unknown", no_compose },
	{ "kms.time", "off", deployed },
	{ "kms.time", "on", time_on },
	{ "kms.time", "unwritten", time_unwritten },
	{ "kms.frozen", "same", deployed },
	{ "kms.frozen", "record", time_on },
	{ "kms.frozen", "machine", machine_changed },
	{ "kms.settings", "as-deployed", deployed },
	{ "kms.settings", "changed", other_size },
	{ "kms.settings", "changed", other_compose },
	{ "kms.settings", "unset", settings_gone },
	{ "kms", "failed", dead },
	{ "kms", "waiting", starting },
	{ "kms", "needs", starts_without_provider },
};

/* The rule above all: what is printed must not make a sealed disk unopenable. */
static void no_fix_touches_a_sealed_disk(void **state _unused_)
{
	static const char *const never[] = { "deploy", "kms verify", "rm ", "remove", "resize",
					     "--force", "purge", "mv " };

	for (size_t i = 0; i < group_kms.n; i++)
		for (const struct outcome *o = group_kms.checks[i].outcomes; o->name; o++)
			for (size_t k = 0; o->fix && k < ARRAY_SIZE(never); k++)
				assert_null(strstr(o->fix, never[k]));
}

#undef CHECK_CASES_MORE
#define CHECK_CASES_MORE cmocka_unit_test(no_fix_touches_a_sealed_disk),

CHECK_CASES_MAIN(group_kms, cases)
