// SPDX-License-Identifier: Apache-2.0
/* Checks of the system that carries everything. */
#include "check-cases.h"

#include <errno.h>

#define ARRANGE(name) \
	static void name(struct host *h _unused_, struct check_view *v _unused_, \
			 const struct fixture *f _unused_)

static void link_to_null(const struct fixture *f, const char *unit)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/etc/systemd/system/%s", f->dir, unit);
	assert_int_equal(symlink("/dev/null", path), 0);
}

static void drop(const struct fixture *f, const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(unlink(full), 0);
}

/* --- starting again --- */

ARRANGE(start_disabled)
{
	drop(f, "/etc/systemd/system/multi-user.target.wants/dstack-host-start.service");
}

ARRANGE(start_masked)
{
	link_to_null(f, "dstack-host-start.service");
}

ARRANGE(qgsd_masked)
{
	link_to_null(f, "qgsd.service");
}

ARRANGE(new_kernel)
{
	put_text(f, "/run/reboot-required", "*** System restart required ***\n");
	put_text(f, "/run/reboot-required.pkgs", "linux-image-6.8.0-1030-intel\nlibc6\n");
}

ARRANGE(reboot_without_names)
{
	put_text(f, "/run/reboot-required", "");
}

ARRANGE(qemu_held)
{
	put_text(f, "/var/lib/dpkg/status",
		 "Package: bash\nStatus: install ok installed\nVersion: 5\n\n"
		 "Package: qemu-system-x86\nStatus: hold ok installed\nVersion: 1:7\n");
}

ARRANGE(nothing_held)
{
	put_text(f, "/var/lib/dpkg/status",
		 "Package: bash\nStatus: install ok installed\nVersion: 5\n");
}

ARRANGE(no_dpkg)
{
	drop(f, "/var/lib/dpkg/status");
}

ARRANGE(needrestart_rule_gone)
{
	put_text(f, "/etc/needrestart/needrestart.conf", "");
}

ARRANGE(needrestart_with_rule)
{
	needrestart_rule_gone(h, v, f);
	put_text(f, "/etc/needrestart/conf.d/dstack-host.conf", "");
}

ARRANGE(docker_members)
{
	put_text(f, "/etc/group", "sgx:x:995:\nsgx_prv:x:994:\ndocker:x:990:alice,bob\n");
}

ARRANGE(docker_without_members)
{
	put_text(f, "/etc/group", "sgx:x:995:\nsgx_prv:x:994:\ndocker:x:990:\n");
}

/* --- open to others --- */

ARRANGE(pccs_open)
{
	add_listener(&v->machine, "0.0.0.0", 8081, "node");
}

ARRANGE(kms_open_v6)
{
	add_listener(&v->machine, "::", 9103, "qemu-system-x86");
}

ARRANGE(docker_open)
{
	add_listener(&v->machine, "0.0.0.0", 2375, "dockerd");
}

ARRANGE(kms_port_taken)
{
	add_listener(&v->machine, "127.0.0.1", 9103, "nc");
}

ARRANGE(python_for_pccs)
{
	add_listener(&v->machine, "127.0.0.1", 8081, "python3");
}

ARRANGE(python_for_pccs_simulated)
{
	python_for_pccs(h, v, f);
	v->simulated = 1;
}

ARRANGE(port_of_unknown)
{
	add_listener(&v->machine, "127.0.0.1", 9103, NULL);
}

ARRANGE(web_server)
{
	add_listener(&v->machine, "0.0.0.0", 80, "nginx");
}

ARRANGE(mapped_by_guest)
{
	add_listener(&v->machine, "0.0.0.0", 9200, "qemu-system-x86");
	add_listener(&v->machine, "203.0.113.5", 9201, NULL);
}

ARRANGE(other_in_guests_range)
{
	add_listener(&v->machine, "0.0.0.0", 9200, "nginx");
}

ARRANGE(udp_service)
{
	add_udp(&v->machine, "0.0.0.0", 111, "rpcbind");
}

ARRANGE(udp_in_guests_range)
{
	set_text(&h->settings.v[KEY_VMM_PORT_RANGES].value, "udp:9200-9299");
	add_udp(&v->machine, "0.0.0.0", 9200, "nc");
}

ARRANGE(udp_of_guest)
{
	set_text(&h->settings.v[KEY_VMM_PORT_RANGES].value, "udp:9200-9299");
	add_udp(&v->machine, "0.0.0.0", 9200, "qemu-system-x86");
}

ARRANGE(tcp_range_is_not_udp)
{
	set_text(&h->settings.v[KEY_VMM_PORT_RANGES].value, "tcp:9200-9299");
	add_udp(&v->machine, "0.0.0.0", 9200, "qemu-system-x86");
}

ARRANGE(udp_of_clients)
{
	add_udp(&v->machine, "0.0.0.0", 68, "dhclient");
	add_udp(&v->machine, "::", 123, "ntpd");
	add_udp(&v->machine, "0.0.0.0", 40000, "chronyd");
	add_udp(&v->machine, "127.0.0.1", 53, "dnsmasq");
	/* Of the numbers of others' TCP ports. */
	add_udp(&v->machine, "127.0.0.1", 9103, "nc");
}

ARRANGE(registry_public)
{
	set_text(&h->settings.v[KEY_REGISTRY_LISTEN].value, "0.0.0.0:443");
	add_listener(&v->machine, "0.0.0.0", 443, "haproxy");
}

ARRANGE(registry_open)
{
	add_listener(&v->machine, "0.0.0.0", 443, "nginx");
}

ARRANGE(listeners_hidden)
{
	v->machine.listeners_error = -EACCES;
}

ARRANGE(settings_hidden)
{
	pccs_open(h, v, f);
	h->view.settings_hidden = 1;
}

ARRANGE(nobody_looked)
{
	v->machine.looked = 0;
}

/* --- guard --- */

static void guard_lists(struct check_view *v, const char *without)
{
	char *at = strstr(v->machine.guard.listing, without);

	assert_non_null(at);
	memset(at, ' ', strlen(without));
}

ARRANGE(guard_gone)
{
	guard_sight_free(&v->machine.guard);
}

ARRANGE(guard_not_owned)
{
	guard_lists(v, "flags owner");
}

ARRANGE(guard_of_gone_slice)
{
	guard_lists(v, "\"dstackcvm.slice\" ");
}

ARRANGE(kms_unverified)
{
	drop(f, KMS_CA);
}

ARRANGE(kms_open)
{
	drop(f, KMS_CA);
	guard_lists(v, "meta skuid");
}

ARRANGE(kms_verified)
{
	guard_lists(v, "meta skuid");
}

ARRANGE(nft_denied)
{
	guard_gone(h, v, f);
	v->machine.guard.error = -EPERM;
}

ARRANGE(nft_missing)
{
	guard_gone(h, v, f);
	v->machine.guard.error = -EPROTONOSUPPORT;
}

/* --- names --- */

static void address_is(struct host *h, const char *address, enum source source)
{
	set_text(&h->settings.v[KEY_PUBLIC_ADDRESS].value, address);
	h->settings.v[KEY_PUBLIC_ADDRESS].source = source;
}

ARRANGE(no_address)
{
	free(h->settings.v[KEY_PUBLIC_ADDRESS].value);
	h->settings.v[KEY_PUBLIC_ADDRESS].value = NULL;
}

ARRANGE(named_elsewhere)
{
	address_is(h, "203.0.113.6", SOURCE_FILE);
}

ARRANGE(behind_nat)
{
	address_is(h, "10.1.2.3", SOURCE_DETECTED);
}

/* A half that was taken over: this would stand in a command that is typed. */
ARRANGE(half_lies)
{
	fact(h, PROBE_DNS, "address", "registry.example.org 192.0.2.9;reboot");
}

ARRANGE(named_twice)
{
	fact(h, PROBE_DNS, "address", "registry.example.org 2001:db8::7");
	fact(h, PROBE_DNS, "address", "kms.example.org 2001:db8::7");
}

static void forget_names(struct host *h)
{
	address_is(h, "203.0.113.5", SOURCE_FILE);
	answer(h, PROBE_DNS, 0);
}

ARRANGE(no_records)
{
	forget_names(h);
	fact(h, PROBE_DNS, "answered", "registry.example.org A ok");
	fact(h, PROBE_DNS, "answered", "kms.example.org A ok");
}

ARRANGE(no_records_but_public)
{
	no_records(h, v, f);
	set_text(&h->settings.v[KEY_REGISTRY_LISTEN].value, "0.0.0.0:443");
}

ARRANGE(proxied)
{
	no_records(h, v, f);
	fact(h, PROBE_DNS, "address", "registry.example.org 104.21.5.6");
	fact(h, PROBE_DNS, "address", "kms.example.org 2606:4700:3030::6815:506");
}

ARRANGE(servfail)
{
	forget_names(h);
	fact(h, PROBE_DNS, "answered", "registry.example.org A failed");
}

ARRANGE(no_name_server)
{
	forget_names(h);
	h->view.probe[PROBE_DNS].answer.error = PEER_TIMEOUT;
	h->view.probe[PROBE_DNS].answer.text = xstrdup("no name server answers");
}

ARRANGE(reserved)
{
	set_text(&h->settings.v[KEY_DOMAIN].value, "demo.test");
	set_text(&h->settings.v[KEY_REGISTRY].value, "registry.demo.test");
}

ARRANGE(no_registry)
{
	set_text(&h->settings.v[KEY_REGISTRY].value, "off");
}

ARRANGE(no_kms)
{
	free(h->settings.v[KEY_KMS_IMAGE].value);
	h->settings.v[KEY_KMS_IMAGE].value = NULL;
}

ARRANGE(caa_ours)
{
	fact(h, PROBE_DNS, "caa", "example.org issue ca.example");
	fact(h, PROBE_DNS, "caa", "example.org issue letsencrypt.org; validationmethods=http-01");
}

ARRANGE(caa_others)
{
	fact(h, PROBE_DNS, "caa", "example.org issue ca.example");
}

/* Only the nearest ones count. */
ARRANGE(caa_of_the_host)
{
	caa_others(h, v, f);
	fact(h, PROBE_DNS, "caa", "registry.example.org issue letsencrypt.org");
	fact(h, PROBE_DNS, "caa", "kms.example.org issue letsencrypt.org");
}

ARRANGE(caa_nobody)
{
	fact(h, PROBE_DNS, "caa", "kms.example.org issue ;");
}

ARRANGE(caa_lookalike)
{
	fact(h, PROBE_DNS, "caa", "example.org issue letsencrypt.org.example");
}

ARRANGE(caa_mail_only)
{
	fact(h, PROBE_DNS, "caa", "example.org iodef mailto:a@example.org");
}

/* For wildcards alone. */
ARRANGE(caa_wild_only)
{
	fact(h, PROBE_DNS, "caa", "example.org issuewild ca.example");
}

ARRANGE(caa_wild_is_no_leave)
{
	caa_others(h, v, f);
	fact(h, PROBE_DNS, "caa", "example.org issuewild letsencrypt.org");
}

static void caa_answered(struct host *h, const char *first, const char *second)
{
	forget_names(h);
	if (first)
		fact(h, PROBE_DNS, "answered", first);
	fact(h, PROBE_DNS, "answered", second);
}

ARRANGE(caa_silent_above)
{
	caa_answered(h, "registry.example.org CAA ok", "kms.example.org CAA ok");
}

ARRANGE(caa_failed_above)
{
	caa_silent_above(h, v, f);
	fact(h, PROBE_DNS, "answered", "example.org CAA failed");
}

ARRANGE(caa_silent_for_one)
{
	caa_answered(h, "registry.example.org CAA ok", "example.org CAA ok");
}

/* Who decides below needs nobody above. */
ARRANGE(caa_decided_below)
{
	caa_silent_above(h, v, f);
	fact(h, PROBE_DNS, "caa", "registry.example.org issue letsencrypt.org");
	fact(h, PROBE_DNS, "caa", "kms.example.org issue letsencrypt.org");
}

/* --- secrets --- */

ARRANGE(directory_open)
{
	v->machine.secrets.files[0].mode = S_IFDIR | 0750;
}

ARRANGE(file_open)
{
	v->machine.secrets.files[1].mode = S_IFREG | 0640;
}

ARRANGE(file_of_user)
{
	v->machine.secrets.files[1].uid = 1000;
}

ARRANGE(file_is_link)
{
	v->machine.secrets.files[1].mode = S_IFLNK | 0777;
}

ARRANGE(files_hidden)
{
	v->machine.secrets.hidden = 1;
}

ARRANGE(secrets_unreadable)
{
	v->machine.secrets.error = -EIO;
}

static void leak(struct check_view *v, enum leak_kind kind, const char *where)
{
	v->machine.secrets.leaks = xcalloc(1, sizeof(struct leak));
	v->machine.secrets.leaks[0] = (struct leak){ kind, "vmm-token", xstrdup(where) };
	v->machine.secrets.n_leaks = 1;
}

ARRANGE(in_argv)
{
	leak(v, LEAK_ARGV, "process 12 (curl)");
}

ARRANGE(in_environment)
{
	leak(v, LEAK_ENVIRONMENT, "process 13 (dstack-vmm)");
}

ARRANGE(in_debconf)
{
	leak(v, LEAK_DEBCONF, "/var/cache/debconf/passwords.dat");
}

ARRANGE(in_journal)
{
	leak(v, LEAK_JOURNAL, "dstack-vmm.service");
}

ARRANGE(partly_seen)
{
	v->machine.secrets.partial = 1;
}

ARRANGE(not_root)
{
	v->privileged = 0;
}

static const struct check_case cases[] = {
	{ "host.boot", "enabled" },
	{ "host.boot", "disabled", start_disabled },
	{ "host.boot", "masked", start_masked },
	{ "host.boot", "masked", qgsd_masked },
	{ "host.reboot", "none" },
	{ "host.reboot", "pending", new_kernel },
	{ "host.reboot", "pending", reboot_without_names },
	{ "host.holds", "none" },
	{ "host.holds", "none", nothing_held },
	{ "host.holds", "held", qemu_held },
	{ "host.holds", "unknown", no_dpkg },
	{ "host.needrestart", "kept" },
	{ "host.needrestart", "kept", needrestart_with_rule },
	{ "host.needrestart", "absent", needrestart_rule_gone },
	{ "host.docker-group", "nobody" },
	{ "host.docker-group", "nobody", docker_without_members },
	{ "host.docker-group", "members", docker_members },
	{ "host.listeners", "as-expected" },
	{ "host.listeners", "as-expected", mapped_by_guest },
	{ "host.listeners", "as-expected", registry_public },
	{ "host.listeners", "exposed", registry_open },
	{ "host.listeners", "exposed", pccs_open },
	{ "host.listeners", "exposed", kms_open_v6 },
	{ "host.listeners", "docker", docker_open },
	{ "host.listeners", "unexpected", web_server },
	{ "host.listeners", "unexpected", other_in_guests_range },
	{ "host.listeners", "unexpected", udp_service },
	{ "host.listeners", "unexpected", udp_in_guests_range },
	{ "host.listeners", "unexpected", tcp_range_is_not_udp },
	{ "host.listeners", "as-expected", udp_of_guest },
	{ "host.listeners", "as-expected", udp_of_clients },
	{ "host.ports", "own", udp_of_clients },
	{ "host.listeners", "unknown", listeners_hidden },
	{ "host.listeners", "unknown", nobody_looked },
	{ "host.listeners", "privilege", settings_hidden },
	{ "host.ports", "own" },
	{ "host.ports", "own", python_for_pccs_simulated },
	{ "host.ports", "own", port_of_unknown },
	{ "host.ports", "taken", python_for_pccs },
	{ "host.ports", "taken", kms_port_taken },
	{ "host.ports", "unknown", nobody_looked },
	{ "host.guard", "loaded" },
	{ "host.guard", "loaded", kms_unverified },
	{ "host.guard", "loaded", kms_verified },
	{ "host.guard", "absent", guard_gone },
	{ "host.guard", "not-owned", guard_not_owned },
	{ "host.guard", "other-slice", guard_of_gone_slice },
	{ "host.guard", "kms-open", kms_open },
	{ "host.guard", "privilege", nft_denied },
	{ "host.guard", "unknown", nft_missing },
	{ "host.guard", "unknown", nobody_looked },
	{ "host.name.registry", "unset", no_address },
	{ "host.name.registry", "points-here" },
	{ "host.name.registry", "elsewhere", named_elsewhere },
	{ "host.name.registry", "unproven", behind_nat },
	{ "host.name.registry", "also-elsewhere", named_twice },
	{ "host.name.registry", "points-here", half_lies },
	{ "host.name.registry", "not-yet", no_records },
	{ "host.name.registry", "no-record", no_records_but_public },
	{ "host.name.registry", "proxied", proxied },
	{ "host.name.registry", "reserved", reserved },
	{ "host.name.registry", "unknown", servfail },
	{ "host.name.registry", "unknown", no_name_server },
	{ "host.name.registry", "off", no_registry },
	{ "host.name.kms", "points-here" },
	{ "host.name.kms", "elsewhere", named_elsewhere },
	{ "host.name.kms", "unproven", behind_nat },
	{ "host.name.kms", "also-elsewhere", named_twice },
	{ "host.name.kms", "not-yet", no_records },
	{ "host.name.kms", "no-record", no_records_but_public },
	{ "host.name.kms", "proxied", proxied },
	{ "host.name.kms", "reserved", reserved },
	{ "host.name.kms", "unset", no_kms },
	{ "host.caa", "allowed" },
	{ "host.caa", "allowed", caa_ours },
	{ "host.caa", "allowed", caa_of_the_host },
	{ "host.caa", "allowed", caa_mail_only },
	{ "host.caa", "allowed", caa_wild_only },
	{ "host.caa", "allowed", caa_decided_below },
	{ "host.caa", "forbidden", caa_wild_is_no_leave },
	{ "host.caa", "unknown", caa_silent_above },
	{ "host.caa", "unknown", caa_failed_above },
	{ "host.caa", "unknown", caa_silent_for_one },
	{ "host.caa", "forbidden", caa_others },
	{ "host.caa", "forbidden", caa_nobody },
	{ "host.caa", "forbidden", caa_lookalike },
	{ "host.caa", "unknown", reserved },
	{ "host.caa", "unknown", no_name_server },
	{ "host.secrets", "kept" },
	{ "host.secrets", "readable", directory_open },
	{ "host.secrets", "readable", file_open },
	{ "host.secrets", "owner", file_of_user },
	{ "host.secrets", "no-file", file_is_link },
	{ "host.secrets", "privilege", files_hidden },
	{ "host.secrets", "unknown", secrets_unreadable },
	{ "host.leaks", "none" },
	{ "host.leaks", "argv", in_argv },
	{ "host.leaks", "environment", in_environment },
	{ "host.leaks", "debconf", in_debconf },
	{ "host.leaks", "journal", in_journal },
	{ "host.leaks", "unknown", partly_seen },
	{ "host.leaks", "unknown", nobody_looked },
	{ "host.leaks", "privilege", not_root },
};

CHECK_CASES_MAIN(group_host, cases)
