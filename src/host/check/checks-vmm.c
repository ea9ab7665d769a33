// SPDX-License-Identifier: Apache-2.0
/* Checks of the VMM, its supervisor, its front and the guest images. */
#include "host/check/checks-vmm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/vmm/vmm-version.h"

/* --- version --- */

static const struct outcome version_outcomes[] = {
	{ "reference", CHECK_OK },
	{ "supported", CHECK_OK },
	{ "vulnerable", CHECK_WARN,
	  "its API asks nobody who he is (0.5.5 to 0.5.11), and its socket is not shut: %s",
	  "dstack-host check vmm.socket" },
	{ "old", CHECK_FAIL, "dstack-vmm %s is older than 0.5.5, which dstack-host needs",
	  "ls -l " PROGRAMS_DIR },
	{ "untested", CHECK_WARN, "nobody has tried dstack-host with dstack-vmm %s", NULL },
	{ 0 },
};

/* Which one, for people and for judging: the last with an open API, and the last tried. */
static const char *kind_of(const struct vmm_version *ver)
{
	if (!vmm_is_at_least(ver, 0, 5, 5))
		return "old";
	if (vmm_is_at_least(ver, 0, 6, 1))
		return "untested";
	return vmm_is_at_least(ver, 0, 5, 6) ? "supported" : "reference";
}

static const char *eval_version(const struct check_view *v, struct verdict *r)
{
	const struct probe_result *result = &v->parts.probe[PROBE_VMM_VERSION];
	_cleanup_free_ char *trouble = NULL, *why = NULL;
	const char *text = peer_get(&result->answer, "version"), *kind;
	struct vmm_version ver = { 0 };
	int open, shut;

	if (!probe_answered(result, 200, &trouble) ||
	    !text || sscanf(text, "%4u.%4u.%4u", &ver.number[0], &ver.number[1],
			    &ver.number[2]) != 3) {
		verdict_subject(r, "%s", trouble ? trouble : "it tells no version");
		return SKIP_UNKNOWN;
	}
	kind = kind_of(&ver);
	verdict_subject(r, "%.40s", text);
	verdict_found(r, "%.40s (%s)", text, kind);
	open = !vmm_is_at_least(&ver, 0, 5, 12);
	shut = vmm_socket_is_shut(v->parts.root, &why);
	if (strcmp(kind, "old") == 0 || !open || shut < 0)
		return kind;
	if (!shut) {
		verdict_subject(r, "%s", why);
		return "vulnerable";
	}
	verdict_found(r, "%.40s (%s), its open API behind the front and a shut socket", text,
		      kind);
	return kind;
}

/* --- the front --- */

static const struct outcome stranger_outcomes[] = {
	{ "refused", CHECK_OK },
	{ "let-in", CHECK_FAIL, "a token that is nobody's opens the VMM's API",
	  "sudo systemctl restart dstack-front" },
	{ "odd", CHECK_FAIL, "a wrong token gets no 401 but: %s",
	  "sudo journalctl -b -e -u dstack-front.service" },
	{ 0 },
};

static const char *eval_stranger(const struct check_view *v, struct verdict *r)
{
	const struct probe_result *result = &v->parts.probe[PROBE_FRONT_WRONG];
	_cleanup_free_ char *trouble = NULL;

	if (probe_answered(result, 401, &trouble)) {
		verdict_found(r, "a wrong token gets HTTP 401");
		return "refused";
	}
	verdict_found(r, "a wrong token gets %s", trouble);
	verdict_expected(r, "HTTP 401");
	if (result->answer.status / 100 == 2)
		return "let-in";
	verdict_subject(r, "%s", trouble);
	return "odd";
}

static const struct outcome token_outcomes[] = {
	{ "accepted", CHECK_OK },
	{ "refused", CHECK_FAIL,
	  "the front does not know this host's own token: it runs with older tokens",
	  "sudo systemctl restart dstack-front" },
	{ "behind", CHECK_FAIL, "the front lets the token in, the VMM behind it gives: %s",
	  "sudo systemctl restart dstack-front" },
	{ 0 },
};

static const char *eval_token(const struct check_view *v, struct verdict *r)
{
	const struct probe_result *result = &v->parts.probe[PROBE_FRONT_TOKEN];
	_cleanup_free_ char *trouble = NULL;

	if (probe_answered(result, 200, &trouble)) {
		verdict_found(r, "this host's own token opens it");
		return "accepted";
	}
	verdict_found(r, "this host's own token gets %s", trouble);
	verdict_expected(r, "HTTP 200");
	verdict_subject(r, "%s", trouble);
	return result->answer.status == 401 ? "refused" : "behind";
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "programs" },
	{ .id = "image" },
	{ .id = "image.files", .title = "the guest image's files are those of its list",
	  .needs = "image", .flags = CHECK_AHEAD, .outcomes = image_files_outcomes,
	  .eval = eval_image_files },
	{ .id = "guard" },
	{ .id = "supervisor" },
	{ .id = "supervisor.refuses", .title = "no systemctl can end the virtual machines",
	  .flags = CHECK_LIVE, .outcomes = refuses_outcomes, .eval = eval_supervisor_refuses },
	{ .id = "supervisor.socket", .title = "only root can tell the supervisor what to run",
	  .needs = "supervisor", .outcomes = supervisor_socket_outcomes,
	  .eval = eval_supervisor_socket },
	{ .id = "vmm.unit", .title = "no other unit hides dstack-vmm or its supervisor",
	  .outcomes = unit_outcomes, .eval = eval_vmm_unit },
	{ .id = "vmm.config", .title = "the operator's vmm.toml leaves the VMM to dstack-host",
	  .flags = CHECK_ROOT, .outcomes = vmm_config_outcomes, .eval = eval_vmm_config },
	{ .id = "vmm.config-keys", .title = "the VMM knows every key of the operator's vmm.toml",
	  .needs = "vmm.config", .flags = CHECK_ROOT, .outcomes = vmm_keys_outcomes,
	  .eval = eval_vmm_keys },
	{ .id = "vmm.stray", .title = "no stray file configures the VMM",
	  .outcomes = vmm_stray_outcomes, .eval = eval_vmm_stray },
	{ .id = "vmm", .needs = "programs supervisor vmm.config" },
	{ .id = "vmm.socket", .title = "only root and the front reach the VMM's own socket",
	  .needs = "vmm", .outcomes = socket_outcomes, .eval = eval_vmm_socket },
	{ .id = "vmm.version", .title = "dstack-vmm is of a version that dstack-host knows",
	  .needs = "vmm", .probes = PROBE(PROBE_VMM_VERSION), .outcomes = version_outcomes,
	  .eval = eval_version },
	{ .id = "vmm.images", .title = "the VMM offers the guest image",
	  .needs = "image vmm", .probes = PROBE(PROBE_VMM_IMAGES), .outcomes = images_outcomes,
	  .eval = eval_vmm_images },
	{ .id = "vmm.ports", .title = "virtual machines cannot take this host's own ports",
	  .needs = "settings vmm.config", .outcomes = ports_outcomes, .eval = eval_vmm_ports },
	{ .id = "vmm.cids", .title = "no other VMM's guests use CIDs of the pool",
	  .outcomes = cids_outcomes, .eval = eval_vmm_cids },
	{ .id = "vmm.logs", .title = "the supervisor's log is rotated",
	  .outcomes = logs_outcomes, .eval = eval_vmm_logs },
	{ .id = "front", .needs = "host.ports" },
	{ .id = "front.stranger", .title = "the front refuses a wrong token", .needs = "front",
	  .probes = PROBE(PROBE_FRONT_WRONG), .outcomes = stranger_outcomes,
	  .eval = eval_stranger },
	{ .id = "front.token", .title = "the front lets this host's own token in",
	  .needs = "front vmm", .probes = PROBE(PROBE_FRONT_TOKEN), .outcomes = token_outcomes,
	  .eval = eval_token },
	{ .id = "cvms" },
	{ .id = "vmm.ghosts", .title = "VMM and disk know the same virtual machines",
	  .needs = "cvms", .flags = CHECK_ROOT, .probes = PROBE(PROBE_VMM),
	  .outcomes = ghosts_outcomes, .eval = eval_vmm_ghosts },
};
/* clang-format on */

const struct check_group group_vmm = { "vmm", checks, ARRAY_SIZE(checks) };
