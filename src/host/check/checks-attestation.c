// SPDX-License-Identifier: Apache-2.0
/* Checks of what lets a quote be made: PCCS, QGS, the platform's registration. */
#include "host/check/checks-attestation.h"
#include "host/check/checks-qcnl.h"

/* clang-format off */
static const struct check checks[] = {
	{ .id = "pccs" },
	{ .id = "pccs.tls", .title = "the certificate of PCCS is good",
	  .needs = "pccs", .probes = PROBE(PROBE_PCCS_INTEL),
	  .outcomes = pccs_tls_outcomes, .eval = eval_pccs_tls },
	{ .id = "pccs.intel", .title = "PCCS reaches Intel",
	  .needs = "pccs", .probes = PROBE(PROBE_PCCS_INTEL),
	  .outcomes = pccs_intel_outcomes, .eval = eval_pccs_intel },
	{ .id = "pccs.fill", .title = "PCCS keeps its cache up to date",
	  .needs = "pccs", .outcomes = pccs_fill_outcomes, .eval = eval_pccs_fill },
	{ .id = "pccs.tokens", .title = "PCCS takes this host's user and admin tokens",
	  .needs = "pccs pccs.tls", .flags = CHECK_ROOT,
	  .probes = PROBE(PROBE_PCCS_USER) | PROBE(PROBE_PCCS_ADMIN) | PROBE(PROBE_PCCS),
	  .outcomes = pccs_tokens_outcomes, .eval = eval_pccs_tokens },
	{ .id = "pccs.api-key", .title = "Intel accepts the API key",
	  .needs = "pccs pccs.intel", .flags = CHECK_ROOT | CHECK_JOURNALS,
	  .probes = PROBE(PROBE_PCS_KEY) | PROBE(PROBE_PCCS),
	  .outcomes = pccs_key_outcomes, .eval = eval_pccs_key },
	{ .id = "pccs.errors", .title = "PCCS has logged no known error since its start",
	  .needs = "pccs", .flags = CHECK_ROOT | CHECK_LIVE | CHECK_JOURNALS,
	  .outcomes = dcap_log_outcomes, .eval = eval_pccs_errors },
	{ .id = "qgs.conf", .title = "qgsd listens where guests ask",
	  .outcomes = qgs_conf_outcomes, .eval = eval_qgs_conf },
	{ .id = "qgsd", .needs = "devices groups qgs.conf" },
	{ .id = "qcnl.file", .title = "qgsd can read its settings",
	  .needs = "qgsd", .flags = CHECK_ROOT | CHECK_LIVE,
	  .outcomes = qcnl_file_outcomes, .eval = eval_qcnl_file },
	{ .id = "qcnl.agree", .title = "qgsd asks the PCCS of this host",
	  .needs = "qgsd qcnl.file", .flags = CHECK_ROOT | CHECK_LIVE,
	  .outcomes = qcnl_agree_outcomes, .eval = eval_qcnl_agree },
	{ .id = "registration", .title = "this platform is registered with Intel",
	  .flags = CHECK_HARDWARE,
	  .outcomes = registration_outcomes, .eval = eval_registration },
	{ .id = "qgsd.errors", .title = "qgsd has logged no known error since its start",
	  .needs = "qgsd qcnl.file qcnl.agree",
	  .flags = CHECK_ROOT | CHECK_LIVE | CHECK_JOURNALS,
	  .outcomes = dcap_log_outcomes, .eval = eval_qgsd_errors },
};
/* clang-format on */

const struct check_group group_attestation = { "attestation", checks, ARRAY_SIZE(checks) };
