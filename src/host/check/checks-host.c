// SPDX-License-Identifier: Apache-2.0
/* Checks of the system that carries everything: will it come back, who else rules it. */
#include "host/check/checks-host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "base/strbuf.h"
#include "base/utf8.h"
#include "host/accounts.h"
#include "host/packages.h"

#define START "dstack-host-start.service"
#define START_LINK "/etc/systemd/system/multi-user.target.wants/" START
#define REBOOT_FILE "/run/reboot-required"
enum { NAMES_MAX = 200 };

static const struct outcome boot_outcomes[] = {
	{ "enabled", CHECK_OK },
	{ "disabled", CHECK_FAIL, START " is not enabled: nothing of this host starts at the next "
					"boot",
	  "sudo systemctl enable " START },
	{ "masked", CHECK_FAIL, "%s is masked: it does not start at the next boot",
	  "sudo systemctl unmask %s" },
	{ 0 },
};

static const struct outcome reboot_outcomes[] = {
	{ "none", CHECK_OK },
	{ "pending", CHECK_WARN, "an update takes effect at the next boot only: %s",
	  "a reboot; where a KMS is sealed, look first at what its next start would change: "
	  "dstack-host measure, see dstack-host(8)" },
	{ 0 },
};

static const struct outcome hold_outcomes[] = {
	{ "none", CHECK_OK },
	{ "held", CHECK_WARN, "packages on hold get no security update: %s",
	  "apt-mark showhold; what the disk of a KMS is sealed to (QEMU) stays on hold until "
	  "dstack-host measure has shown that the new one changes nothing" },
	{ 0 },
};

static const struct outcome docker_outcomes[] = {
	{ "nobody", CHECK_OK },
	{ "members", CHECK_WARN, "whoever is in the group docker is root on this host: %s",
	  "sudo gpasswd --delete %s docker" },
	{ 0 },
};

static const struct outcome needrestart_outcomes[] = {
	{ "kept", CHECK_OK },
	{ "absent", CHECK_WARN, "needrestart may restart the supervisor after an update, which ends "
				"every virtual machine: its rule for this host is gone",
	  "sudo apt-get install --reinstall -o Dpkg::Options::=--force-confmiss "
	  "dstack-host-services" },
	{ 0 },
};

/* As systemctl mask leaves it: a link to /dev/null. */
static int is_masked(const struct root *root, const char *unit)
{
	_cleanup_free_ char *path = xasprintf("/etc/systemd/system/%s", unit);
	_cleanup_close_ int dir = -1;
	char target[16] = "";
	const char *base;

	dir = root_open_parent(root, path, &base);
	return dir >= 0 && readlinkat(dir, base, target, sizeof(target) - 1) > 0 &&
	       strcmp(target, "/dev/null") == 0;
}

static const char *first_masked(const struct check_view *v)
{
	if (is_masked(v->parts.root, START))
		return START;
	for (size_t i = 0; i < n_parts; i++)
		if (parts[i].unit && v->findings[i].state != PART_OFF &&
		    is_masked(v->parts.root, parts[i].unit))
			return parts[i].unit;
	return NULL;
}

static const char *eval_boot(const struct check_view *v, struct verdict *r)
{
	const char *masked = first_masked(v);

	if (masked) {
		verdict_subject(r, "%s", masked);
		return "masked";
	}
	if (!root_exists(v->parts.root, "/etc/systemd/system")) {
		verdict_subject(r, "no /etc/systemd/system");
		return SKIP_UNKNOWN;
	}
	return root_exists(v->parts.root, START_LINK) ? "enabled" : "disabled";
}

/* Words of a text, the caller's; a few of them. */
static char *few_words(char *text)
{
	utf8_clean(text);
	for (char *p = text; *p; p++)
		if (*p == '\n' || *p == '?')
			*p = ' ';
	for (size_t n = strlen(text); n && text[n - 1] == ' ';)
		text[--n] = '\0';
	if (strlen(text) > NAMES_MAX)
		strcpy(text + NAMES_MAX - 4, " ...");
	return text;
}

static const char *eval_reboot(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *packages = NULL;

	if (!root_exists(v->parts.root, REBOOT_FILE))
		return "none";
	if (file_read(v->parts.root, REBOOT_FILE ".pkgs", 1 << 16, &packages, NULL) < 0)
		packages = xstrdup("");
	few_words(packages);
	verdict_found(r, "%s", *packages ? packages : REBOOT_FILE);
	verdict_subject(r, "%s", *packages ? packages : "a package did not say its name");
	return "pending";
}

static void add_if_held(const struct package *p, void *arg)
{
	struct strbuf *held = arg;

	if (p->held)
		sb_addf(held, "%s%.*s", held->len ? " " : "", (int)p->name_len, p->name);
}

static const char *eval_holds(const struct check_view *v, struct verdict *r)
{
	_cleanup_strbuf_ struct strbuf names = { 0 };
	_cleanup_free_ char *held = NULL;
	int error = packages_each(v->parts.root, add_if_held, &names);

	if (error < 0) {
		verdict_subject(r, "dpkg's list: %s", strerror(-error));
		return SKIP_UNKNOWN;
	}
	held = few_words(sb_steal(&names));
	if (!*held)
		return "none";
	verdict_found(r, "%s", held);
	verdict_subject(r, "%s", held);
	return "held";
}

static const char *eval_docker(const struct check_view *v, struct verdict *r)
{
	_cleanup_account_ struct account group = { 0 };
	int error = group_lookup(v->parts.root, "docker", &group);
	char *names;

	if (error < 0 && error != -ENOENT) {
		verdict_subject(r, "group docker: %s", strerror(-error));
		return SKIP_UNKNOWN;
	}
	names = group.members ? few_words(group.members) : NULL;
	names = names ? names + strspn(names, " ") : NULL;
	if (!names || !*names)
		return "nobody";
	verdict_found(r, "%s", names);
	verdict_subject(r, "%s", names);
	/* One command takes one out. */
	verdict_fix(r, "sudo gpasswd --delete %.*s docker", (int)strcspn(names, " "), names);
	return "members";
}

static const char *eval_needrestart(const struct check_view *v, struct verdict *r)
{
	if (!root_exists(v->parts.root, "/etc/needrestart/needrestart.conf")) {
		verdict_found(r, "needrestart is not installed");
		return "kept";
	}
	return root_exists(v->parts.root, "/etc/needrestart/conf.d/dstack-host.conf") ? "kept" :
										       "absent";
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "host.boot", .title = "everything starts again after a reboot",
	  .outcomes = boot_outcomes, .eval = eval_boot },
	{ .id = "host.reboot", .title = "no update waits for a reboot", .flags = CHECK_LIVE,
	  .outcomes = reboot_outcomes, .eval = eval_reboot },
	{ .id = "host.holds", .title = "no package is on hold", .flags = CHECK_AHEAD,
	  .outcomes = hold_outcomes, .eval = eval_holds },
	{ .id = "host.needrestart", .title = "needrestart leaves the supervisor alone",
	  .outcomes = needrestart_outcomes, .eval = eval_needrestart },
	{ .id = "host.listeners", .title = "only what was meant to be is open to others",
	  .flags = CHECK_LIVE | CHECK_LISTENERS, .outcomes = listener_outcomes,
	  .eval = eval_listeners },
	{ .id = "host.ports", .title = "this host's own programs hold its ports",
	  .flags = CHECK_LIVE | CHECK_ROOT | CHECK_LISTENERS, .outcomes = port_outcomes,
	  .eval = eval_ports },
	{ .id = "host.guard", .title = "the guard's table fences guests in",
	  .flags = CHECK_LIVE | CHECK_GUARD, .needs = "guard", .outcomes = guard_outcomes,
	  .eval = eval_guard },
	{ .id = "host.name.registry", .title = "the registry's name points here",
	  .needs = "settings", .probes = PROBE(PROBE_DNS), .outcomes = name_outcomes,
	  .eval = eval_registry_name },
	{ .id = "host.name.kms", .title = "the KMS's name points here",
	  .needs = "settings", .probes = PROBE(PROBE_DNS), .outcomes = name_outcomes,
	  .eval = eval_kms_name },
	{ .id = "host.caa", .title = "the names' CAA records allow Let's Encrypt",
	  .needs = "settings", .probes = PROBE(PROBE_DNS), .outcomes = caa_outcomes,
	  .eval = eval_caa },
	{ .id = "host.secrets", .title = "only root can read the secrets",
	  .outcomes = secret_outcomes, .eval = eval_secrets },
	{ .id = "host.leaks", .title = "no secret stands where others read",
	  .flags = CHECK_LIVE | CHECK_ROOT | CHECK_LEAKS, .outcomes = leak_outcomes,
	  .eval = eval_leaks },
	{ .id = "host.docker-group", .title = "nobody is root by the group docker",
	  .outcomes = docker_outcomes, .eval = eval_docker },
};
/* clang-format on */

const struct check_group group_host = { "host", checks, ARRAY_SIZE(checks) };
