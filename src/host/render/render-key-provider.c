// SPDX-License-Identifier: Apache-2.0
/*
 * Compose project of the key provider: upstream's two containers with what the reference
 * host's file lacks (declared volume, restart policy, bounded logs) and without its
 * `privileged`: the two SGX devices are what both programs open. Written in the subset that
 * compose v1 reads too, but for create_host_path, which key-provider-compose takes out for it.
 */
#include <string.h>

#include "base/parse.h"
#include "host/render/render.h"

#define DEVICES                                                                          \
	"    devices:\n"                                                                 \
	"      - /dev/sgx_enclave:/dev/sgx_enclave\n"                                    \
	"      - /dev/sgx_provision:/dev/sgx_provision\n"

/* Restart by Docker, so that a crash heals without us; logs to the journal, which is
 * bounded. */
#define COMMON                                                                           \
	"    restart: always\n"                                                          \
	"    logging:\n"                                                                 \
	"      driver: journald\n"

int build_key_provider(const struct render_ctx *ctx, struct strbuf *out, const char **why)
{
	const struct settings *s = ctx->settings;
	struct hostport at;
	int v6;

	if (!setting_is_set(s, KEY_KEY_PROVIDER_IMAGE) || !setting_is_set(s, KEY_AESMD_IMAGE)) {
		*why = setting_is_set(s, KEY_AESMD_IMAGE) ? "KEY_PROVIDER_IMAGE" :
							    "AESMD_IMAGE";
		return BUILD_WAITS;
	}
	if (parse_hostport(setting(s, KEY_KEY_PROVIDER_ADDRESS), &at))
		return BUILD_WAITS;
	v6 = strchr(at.host, ':') != NULL;
	sb_add(out, "# Made by dstack-host; changes are lost.\n"
		    "version: \"2.4\"\n"
		    "services:\n");
	sb_addf(out,
		"  aesmd:\n"
		"    container_name: aesmd\n"
		"    image: \"%s\"\n" DEVICES "    volumes:\n"
		/* Where the file is missing the container must not start, and Docker must not
		 * put a directory in its place, which would be in ours. */
		"      - type: bind\n"
		"        source: /run/dstack/qcnl/sgx_default_qcnl.conf\n"
		"        target: /etc/sgx_default_qcnl.conf\n"
		"        read_only: true\n"
		"        bind:\n"
		"          propagation: rprivate\n"
		"          create_host_path: false\n"
		"      - aesmd:/var/run/aesmd/\n"
		"    network_mode: host\n" COMMON,
		setting(s, KEY_AESMD_IMAGE));
	sb_addf(out,
		"  gramine-sealing-key-provider:\n"
		"    container_name: gramine-sealing-key-provider\n"
		"    image: \"%s\"\n" DEVICES "    depends_on:\n"
		"      - aesmd\n"
		"    volumes:\n"
		"      - aesmd:/var/run/aesmd/\n"
		"    ports:\n"
		"      - \"%s%s%s:%u:3443\"\n" COMMON,
		setting(s, KEY_KEY_PROVIDER_IMAGE), v6 ? "[" : "", at.host, v6 ? "]" : "", at.port);
	sb_add(out, "volumes:\n"
		    "  aesmd: {}\n");
	return BUILD_OK;
}
