// SPDX-License-Identifier: Apache-2.0
/*
 * The text. Only gauges: node exporter reads the older Prometheus format, of which a text with
 * gauges alone is also OpenMetrics. No timestamps: node exporter refuses them.
 */
#include "host/report/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/peer/cert-facts.h"
#include "host/disk.h"
#include "host/packages.h"

#define NAME(x) "dstack_host_" x

/* "\\", "\"" and a line break are escaped (OpenMetrics 1.0, ABNF of escaped-string). */
void metrics_label(struct strbuf *out, const char *value)
{
	sb_addc(out, '"');
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			sb_addf(out, "\\%c", *value);
		else if (*value == '\n')
			sb_add(out, "\\n");
		else
			sb_addc(out, *value);
	}
	sb_addc(out, '"');
}

static void family(struct strbuf *out, const char *name, const char *unit, const char *help)
{
	sb_addf(out, "# TYPE %s gauge\n", name);
	if (unit)
		sb_addf(out, "# UNIT %s %s\n", name, unit);
	sb_addf(out, "# HELP %s %s\n", name, help);
}

static void sample(struct strbuf *out, const char *name, const char *label, const char *value)
{
	sb_addf(out, "%s{%s=", name, label);
	metrics_label(out, value);
	sb_add(out, "} ");
}

static void add_checks(const struct looked *l, struct strbuf *out)
{
	static const char name[] = NAME("check_status"), sum[] = NAME("checks");
	unsigned n[CHECK_SKIP + 1] = { 0 };

	family(out, name, NULL, "How a check of dstack-host ended: 0 ok, 1 warned, 2 failed, "
				"3 skipped.");
	for (size_t i = 0; i < checks_count(); i++) {
		enum check_status status = l->verdicts[i].outcome->status;

		n[status]++;
		sb_addf(out, "%s{group=", name);
		metrics_label(out, check_group_of(i));
		sb_add(out, ",id=");
		metrics_label(out, check_at(i)->id);
		sb_addf(out, "} %d\n", (int)status);
	}
	family(out, sum, NULL, "Checks by how they ended.");
	for (int s = CHECK_OK; s <= CHECK_SKIP; s++) {
		sample(out, sum, "status", check_status_name((enum check_status)s));
		sb_addf(out, "%u\n", n[s]);
	}
}

static void add_certificates(const struct looked *l, struct strbuf *out)
{
	static const struct {
		enum probe_id probe;
		const char *name;
	} table[] = { { PROBE_REGISTRY_WRITE, "registry" }, { PROBE_PCCS_INTEL, "pccs" },
		      { PROBE_KMS_TLS, "kms" } };
	static const char name[] = NAME("certificate_days_left");

	family(out, name, NULL, "Whole days until a certificate that is served ends.");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct probe_result *p = &l->view.parts.probe[table[i].probe];
		struct cert_facts cert;

		cert_facts_of(&p->answer, &cert);
		if (!cert.seen || !cert.until)
			continue;
		sample(out, name, "certificate", table[i].name);
		sb_addf(out, "%ld\n", cert_days_left(&cert, l->view.parts.now_us));
	}
}

static void add_disks(const struct looked *l, struct strbuf *out)
{
	static const char size[] = NAME("disk_size_bytes"), avail[] = NAME("disk_free_bytes");
	const struct tree_space *trees = l->view.machine.tree;

	family(out, size, "bytes", "Size of the file system that a tree of the host is on.");
	for (int t = 0; t < TREE_COUNT; t++) {
		if (trees[t].error || !trees[t].total)
			continue;
		sample(out, size, "tree", tree_name((enum tree)t));
		sb_addf(out, "%llu\n", (unsigned long long)trees[t].total);
	}
	family(out, avail, "bytes", "What is free there.");
	for (int t = 0; t < TREE_COUNT; t++) {
		if (trees[t].error || !trees[t].total)
			continue;
		sample(out, avail, "tree", tree_name((enum tree)t));
		sb_addf(out, "%llu\n", (unsigned long long)trees[t].free);
	}
}

static void add_image(const struct looked *l, struct strbuf *out)
{
	static const char name[] = NAME("image_bytes");
	const struct settings *s = &l->settings;
	_cleanup_free_ char *image = xasprintf("dstack-%s", setting(s, KEY_IMAGE_VERSION));
	_cleanup_free_ char *dir = xasprintf("%s/%s", setting(s, KEY_IMAGE_DIR), image);

	family(out, name, "bytes", "Size of the files of the guest image of new machines.");
	sample(out, name, "image", image);
	sb_addf(out, "%llu\n", (unsigned long long)disk_files(l->view.parts.root, dir));
}

static void add_kms(const struct looked *l, struct strbuf *out)
{
	static const char name[] = NAME("kms_latency_seconds");
	const struct probe_result *p = &l->view.parts.probe[PROBE_KMS];

	family(out, name, "seconds", "How long GetMeta took; absent while it is not answered.");
	if (p->asked && !p->error && p->answer.error == PEER_OK && p->answer.status == 200)
		sb_addf(out, "%s %u.%03u\n", name, p->answer.ms / 1000, p->answer.ms % 1000);
}

static void count_held(const struct package *p, void *arg)
{
	*(unsigned *)arg += p->held != 0;
}

static void add_held(const struct looked *l, struct strbuf *out)
{
	static const char name[] = NAME("held_packages");
	unsigned n = 0;

	family(out, name, NULL, "Packages on hold, whose updates do not come.");
	if (packages_each(l->view.parts.root, count_held, &n) == 0)
		sb_addf(out, "%s %u\n", name, n);
}

static void add_age(int64_t age_s, struct strbuf *out)
{
	static const char name[] = NAME("slow_probes_age_seconds");

	family(out, name, "seconds", "Age of the answers of Intel, the chain and the KMS, which "
				     "are asked every 5 minutes at most; absent without any.");
	if (age_s >= 0)
		sb_addf(out, "%s %lld\n", name, (long long)age_s);
}

void metrics_text(const struct looked *l, int64_t age_s, struct strbuf *out)
{
	static const char simulated[] = NAME("simulated");

	family(out, simulated, NULL, "1 where dstack-host-sim stands for the hardware.");
	sb_addf(out, "%s %d\n", simulated, l->view.simulated);
	add_checks(l, out);
	add_certificates(l, out);
	add_disks(l, out);
	add_image(l, out);
	add_kms(l, out);
	add_held(l, out);
	add_age(age_s, out);
	sb_add(out, "# EOF\n");
}
