// SPDX-License-Identifier: Apache-2.0
/* vmm.toml: the reference file's keys without its faults, plus run_path and [supervisor]. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"
#include "host/render/render.h"
#include "host/conf/secrets.h"
#include "host/tomlwrite.h"
#include "host/vmm/vmm-version.h"

static void add_ranges(struct strbuf *out, const struct settings *s)
{
	_cleanup_free_ struct port_range *ranges = NULL;
	size_t n = 0;

	if (parse_port_ranges(setting(s, KEY_VMM_PORT_RANGES), &ranges, &n))
		return;
	sb_add(out, "range = [");
	for (size_t i = 0; i < n; i++)
		sb_addf(out, "%s{ protocol = \"%s\", from = %u, to = %u }", i ? ", " : "",
			ranges[i].protocol, ranges[i].from, ranges[i].to);
	sb_add(out, "]\n");
}

/* From 0.5.9 on; the old name is taken with a warning. */
static int has_image_section(const struct vmm_version *v)
{
	return vmm_is_at_least(v, 0, 5, 9);
}

/* From 0.5.6 on guests are told where their quotes are made; before, it was 4050. */
static void add_qgs_port(struct strbuf *out, const struct settings *s,
			 const struct vmm_version *v)
{
	struct vsock_addr at;

	if (vmm_is_at_least(v, 0, 5, 6) && !parse_vsock(setting(s, KEY_QGS_ADDRESS), 1, &at))
		sb_addf(out, "qgs_port = %u\n", at.port);
}

static void add_top(struct strbuf *out, const struct settings *s, const struct vmm_version *v)
{
	toml_set_string(out, "ident", "dstack VMM");
	/* The API has no access control of its own up to 0.5.11: the front is the door. */
	toml_set_string(out, "address", "unix:/run/dstack/vmm/vmm.sock");
	toml_set_string(out, "kms_url", setting(s, KEY_VMM_KMS_URL));
	if (!has_image_section(v))
		toml_set_string(out, "image_path", setting(s, KEY_IMAGE_DIR));
	toml_set_string(out, "run_path", setting(s, KEY_VM_DIR));
	if (!has_image_section(v))
		return;
	sb_add(out, "\n[image]\n");
	toml_set_string(out, "path", setting(s, KEY_IMAGE_DIR));
}

static void add_cvm(struct strbuf *out, const struct settings *s, const struct vmm_version *v)
{
	sb_add(out, "\n[cvm]\n");
	toml_set_words(out, "kms_urls", setting(s, KEY_GUEST_KMS_URLS));
	toml_set_words(out, "gateway_urls", setting(s, KEY_GATEWAY_URLS));
	toml_set_string(out, "pccs_url", setting(s, KEY_GUEST_PCCS_URL));
	sb_addf(out, "cid_start = %u\ncid_pool_size = %u\n",
		setting_uint(s, KEY_VMM_CID_START), setting_uint(s, KEY_VMM_CID_POOL_SIZE));
	add_qgs_port(out, s, v);
	if (setting_is_set(s, KEY_VMM_MAX_VCPU))
		sb_addf(out, "max_allocable_vcpu = %u\n", setting_uint(s, KEY_VMM_MAX_VCPU));
	if (setting_is_set(s, KEY_VMM_MAX_MEMORY_MB))
		sb_addf(out, "max_allocable_memory_in_mb = %u\n",
			setting_uint(s, KEY_VMM_MAX_MEMORY_MB));
	sb_add(out, "\n[cvm.networking]\n");
	toml_set_string(out, "mode", setting(s, KEY_VMM_NETWORKING));
	sb_add(out, "\n[cvm.port_mapping]\nenabled = true\n");
	toml_set_string(out, "address", setting(s, KEY_VMM_PORT_MAPPING_ADDRESS));
	add_ranges(out, s);
}

static void add_supervisor(struct strbuf *out)
{
	sb_add(out, "\n[supervisor]\n");
	toml_set_string(out, "exe", "/var/lib/dstack/bin/current/supervisor");
	toml_set_string(out, "sock", "/run/dstack/supervisor.sock");
	toml_set_string(out, "pid_file", "/run/dstack/supervisor.pid");
	toml_set_string(out, "log_file", "/var/log/dstack/supervisor.log");
	/* It is a unit of its own: a VMM that started one would take it, and every CVM, along
	 * when it ends. */
	sb_add(out, "detached = false\nauto_start = false\n");
}

static void add_peers(struct strbuf *out, const struct settings *s)
{
	struct hostport kp;

	sb_add(out, "\n[host_api]\n");
	toml_set_string(out, "address", setting(s, KEY_VMM_HOST_API_ADDRESS));
	sb_addf(out, "port = %u\n", setting_uint(s, KEY_VMM_HOST_API_PORT));
	if (parse_hostport(setting(s, KEY_KEY_PROVIDER_ADDRESS), &kp))
		return;
	sb_add(out, "\n[key_provider]\nenabled = true\n");
	toml_set_string(out, "address", kp.host);
	sb_addf(out, "port = %u\n", kp.port);
}

int build_vmm_toml(const struct render_ctx *ctx, struct strbuf *out, const char **why _unused_)
{
	const struct settings *s = ctx->settings;
	_cleanup_secret_ char *token = NULL;
	struct vmm_version v;
	int r = secret_read(ctx->root, SECRET_VMM_INTERNAL_TOKEN, &token);

	if (r < 0)
		return r;
	sb_add(out, "# Made by dstack-host from /etc/dstack/host.conf; changes are lost.\n"
		    "# Your own settings go in /etc/dstack/vmm.toml, which wins.\n");
	vmm_version(ctx->root, &v);
	add_top(out, s, &v);
	add_cvm(out, s, &v);
	sb_add(out, "\n[gateway]\n");
	toml_set_string(out, "base_domain", setting(s, KEY_GATEWAY_BASE_DOMAIN));
	sb_add(out, "port = 443\n");
	sb_add(out, "\n[auth]\n");
	sb_addf(out, "enabled = %s\n", token ? "true" : "false");
	if (token)
		toml_set_words(out, "tokens", token);
	add_supervisor(out);
	add_peers(out, s);
	return BUILD_OK;
}
