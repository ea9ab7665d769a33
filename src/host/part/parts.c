// SPDX-License-Identifier: Apache-2.0
/* The table, and looking at what it lists. */
#include "host/part/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/conf/hostconf.h"
#include "host/kms/kms.h"
#include "host/render/vmm-toml.h"
#include "host/vmm/drain.h"

static char *off_pccs(const struct part_view *v)
{
	struct url u;

	if (settings_local_pccs(v->settings))
		return NULL;
	if (parse_url(setting(v->settings, KEY_PCCS_URL), &u))
		return NULL;
	return xasprintf("PCCS_URL is at %s", u.host);
}

static char *off_registry(const struct part_view *v)
{
	if (!setting_is_set(v->settings, KEY_REGISTRY) || settings_registry_on(v->settings))
		return NULL;
	return xstrdup("REGISTRY=off");
}

/* clang-format off */
const struct part parts[] = {
	{ .id = "settings", .group = "files", .title = "host.conf", .address = KEY_COUNT,
	  .judge = judge_settings },
	{ .id = "devices", .group = "devices", .title = "SGX devices", .address = KEY_COUNT,
	  .judge = judge_devices },
	{ .id = "groups", .group = "devices", .title = "groups sgx, sgx_prv",
	  .address = KEY_COUNT, .judge = judge_groups },
	{ .id = "files", .group = "files", .title = "rendered files", .address = KEY_COUNT,
	  .unit = "dstack-host-render.service", .needs = "settings", .judge = judge_files },
	{ .id = "guard", .group = "services", .title = "dstack-guard", .address = KEY_COUNT,
	  .unit = "dstack-guard.service", .readers = FOR_GUARD,
	  .without = "nobody keeps the table that fences virtual machines in" },
	{ .id = "docker", .group = "services", .title = "docker", .address = KEY_COUNT,
	  .unit = "docker.service", .package = "docker.io", .probes = PROBE(PROBE_DOCKER),
	  .judge = judge_docker },
	{ .id = "pccs", .group = "services", .title = "pccs", .address = KEY_PCCS_PORT,
	  .unit = "pccs.service", .package = "sgx-dcap-pccs", .readers = FOR_PCCS,
	  .probes = PROBE(PROBE_PCCS), .off = off_pccs, .judge = judge_pccs },
	{ .id = "qgsd", .group = "services", .title = "qgsd", .address = KEY_QGS_ADDRESS,
	  .unit = "qgsd.service", .package = "tdx-qgs", .needs = "devices groups",
	  .readers = FOR_QCNL, .probes = PROBE(PROBE_QGS), .judge = judge_qgs },
	{ .id = "aesmd", .group = "containers", .title = CONTAINER_AESMD,
	  .address = KEY_COUNT, .unit = "dstack-key-provider.service",
	  .needs = "devices docker", .settings = "AESMD_IMAGE KEY_PROVIDER_IMAGE",
	  .readers = FOR_KEY_PROVIDER, .probes = PROBE(PROBE_CONTAINERS),
	  .judge = judge_aesmd },
	{ .id = "sealing", .group = "containers", .title = CONTAINER_KEY_PROVIDER,
	  .address = KEY_COUNT, .unit = "dstack-key-provider.service",
	  .needs = "devices docker aesmd", .settings = "AESMD_IMAGE KEY_PROVIDER_IMAGE",
	  .readers = FOR_KEY_PROVIDER, .probes = PROBE(PROBE_CONTAINERS),
	  .judge = judge_sealing },
	{ .id = "key-provider", .group = "services", .title = "key provider",
	  .address = KEY_KEY_PROVIDER_ADDRESS, .unit = "dstack-key-provider.service",
	  .needs = "docker sealing", .settings = "AESMD_IMAGE KEY_PROVIDER_IMAGE",
	  .readers = FOR_KEY_PROVIDER, .probes = PROBE(PROBE_KEY_PROVIDER),
	  .judge = judge_key_provider },
	{ .id = "programs", .group = "files", .title = "programs of the VMM",
	  .address = KEY_COUNT, .judge = judge_programs },
	{ .id = "image", .group = "images", .title = "guest image", .address = KEY_COUNT,
	  .unit = "dstack-host-image.service", .settings = "IMAGE_VERSION IMAGE_DIR",
	  .judge = judge_image },
	{ .id = "supervisor", .group = "services", .title = "dstack-supervisor",
	  .address = KEY_COUNT, .unit = "dstack-supervisor.service",
	  .needs = "programs guard", .probes = PROBE(PROBE_SUPERVISOR),
	  .judge = judge_supervisor },
	{ .id = "vmm", .group = "services", .title = "dstack-vmm", .address = KEY_COUNT,
	  .unit = "dstack-vmm.service", .needs = "programs supervisor", .readers = FOR_VMM,
	  .probes = PROBE(PROBE_VMM), .judge = judge_vmm },
	{ .id = "front", .group = "services", .title = "dstack-front",
	  .address = KEY_VMM_ADDRESS, .unit = "dstack-front.service",
	  .readers = FOR_FRONT, .probes = PROBE(PROBE_FRONT), .judge = judge_front },
	{ .id = "registry", .group = "services", .title = "dstack-registry",
	  .address = KEY_REGISTRY_LISTEN, .unit = "dstack-registry.service",
	  .needs = "front", .settings = "REGISTRY", .readers = FOR_REGISTRY,
	  .probes = PROBE(PROBE_REGISTRY), .off = off_registry, .judge = judge_registry },
	{ .id = "cvms", .group = "cvms", .title = "virtual machines", .address = KEY_COUNT,
	  .needs = "supervisor vmm", .probes = PROBE(PROBE_VMM) | PROBE(PROBE_PROCESSES),
	  .judge = judge_cvms },
	{ .id = "kms", .group = "cvms", .title = "dstack-kms", .address = KEY_KMS_PORT,
	  .unit = "dstack-kms.service", .needs = "key-provider image vmm",
	  .settings = KMS_SETTINGS, .also = kms_layout_setting, .readers = FOR_KMS,
	  .probes = PROBE(PROBE_KMS) | PROBE(PROBE_KMS_PAGE), .judge = judge_kms },
};
/* clang-format on */
const size_t n_parts = ARRAY_SIZE(parts);

uint64_t parts_probes(void)
{
	uint64_t probes = 0;

	for (size_t i = 0; i < n_parts; i++)
		probes |= parts[i].probes;
	return probes;
}

int part_find(const char *id)
{
	for (size_t i = 0; i < n_parts; i++)
		if (strcmp(parts[i].id, id) == 0)
			return (int)i;
	return -1;
}

int parts_settings(const struct root *root, struct settings *s, int *hidden)
{
	struct hostconf none = { .exists = 1 };
	int r = settings_load(root, s);

	*hidden = r == -EACCES || r == -EPERM;
	if (!*hidden)
		return r;
	settings_free(s);
	return settings_resolve(root, &none, s);
}

static void fill_units(struct part_view *v)
{
	_cleanup_units_ struct units *u = NULL;
	int r;

	v->unit = xcalloc(n_parts, sizeof(*v->unit));
	v->units_error = units_open(v->root, &u);
	if (v->units_error == 0)
		v->units_error = units_get(u, "dstack-host.target", &v->target);
	if (v->units_error == 0) {
		r = drained_since(u, &v->drained_us);
		v->drained = r > 0;
		v->units_error = r < 0 ? r : 0;
	}
	for (size_t i = 0; v->units_error == 0 && i < n_parts; i++)
		if (parts[i].unit)
			v->units_error = units_get(u, parts[i].unit, &v->unit[i]);
}

/* Units, files and devices take as long as a fast answer over the network. */
static void look_ahead(struct part_view *v)
{
	v->ahead = xcalloc(n_parts, sizeof(*v->ahead));
	for (size_t i = 0; i < n_parts; i++) {
		if (!parts[i].judge || parts[i].probes)
			continue;
		v->ahead[i] = xcalloc(1, sizeof(**v->ahead));
		part_judge_alone(v, i, v->ahead[i]);
	}
}

struct look {
	struct part_view *view;
	int units, ahead;
};

static void look_meanwhile(void *arg)
{
	const struct look *look = arg;

	if (look->units)
		fill_units(look->view);
	if (look->ahead)
		look_ahead(look->view);
	if (look->view->look_too)
		look->view->look_too(look->view->look_too_arg);
}

void part_look_at_processes(struct part_view *v)
{
	_cleanup_free_ char *dir = vmm_dir(v->root, v->settings);

	vmdir_processes(v->root, dir, &v->processes);
}

void part_view_fill(struct part_view *v, const struct root *root, const struct settings *s,
		    uint64_t mask, unsigned timeout_ms, int with_units)
{
	struct look look = { v, with_units, with_units && mask };
	struct timespec now;

	*v = (struct part_view){ .root = root, .settings = s, .units_error = UNITS_ABSENT,
				 .settings_hidden = v->settings_hidden,
				 .look_too = v->look_too, .look_too_arg = v->look_too_arg };
	/* Before the supervisor is asked: what starts in between must not look like an orphan. */
	if (mask & (PROBE(PROBE_SUPERVISOR) | PROBE(PROBE_PROCESSES)))
		part_look_at_processes(v);
	v->probes_error =
		probes_ask_while(root, s, mask, timeout_ms, v->probe, look_meanwhile, &look);
	clock_gettime(CLOCK_REALTIME, &now);
	v->now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void part_view_free(struct part_view *v)
{
	probes_free(v->probe);
	for (size_t i = 0; v->unit && i < n_parts; i++)
		unit_state_free(&v->unit[i]);
	free(v->unit);
	for (size_t i = 0; v->ahead && i < n_parts; i++) {
		if (v->ahead[i])
			findings_free(v->ahead[i], 1);
		free(v->ahead[i]);
	}
	free(v->ahead);
	listeners_free(&v->public);
	unit_state_free(&v->target);
	vm_processes_free(&v->processes);
	*v = (struct part_view){ 0 };
}

void findings_free(struct finding *findings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(findings[i].detail);
		free(findings[i].fix);
		free(findings[i].address);
		findings[i] = (struct finding){ 0 };
	}
}
