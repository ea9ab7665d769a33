// SPDX-License-Identifier: Apache-2.0
/* The table of settings. */
#include "host/conf/keys.h"

#include <ctype.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parse.h"

static const char *check_cpus(const char *s)
{
	uint64_t v;

	return parse_uint(s, 1, 4096, &v) ? "not a number of CPUs (1-4096)" : NULL;
}

static const char *check_mb(const char *s)
{
	uint64_t v;

	return parse_uint(s, 64, 1u << 30, &v) ? "not a number of MiB (from 64)" : NULL;
}

static const char *check_gb(const char *s)
{
	uint64_t v;

	return parse_uint(s, 1, 1u << 20, &v) ? "not a number of GiB (from 1)" : NULL;
}

/* CIDs 0-2 are the hypervisor's, the loopback's and the host's (vsock(7)). */
static const char *check_cid(const char *s)
{
	uint64_t v;

	return parse_uint(s, 3, UINT32_MAX - 1, &v) ? "not a guest CID (from 3)" : NULL;
}

static const char *check_count(const char *s)
{
	uint64_t v;

	return parse_uint(s, 2, UINT32_MAX - 1, &v) ? "not a number from 2" : NULL;
}

static const char *check_chain(const char *s)
{
	uint64_t v;

	return parse_uint(s, 1, INT64_MAX, &v) ? "not a chain id" : NULL;
}

static const char *check_registry(const char *s)
{
	return strcmp(s, "off") == 0 ? NULL : check_domain(s);
}

/* PCCS puts names of files behind it, and takes its interface's version from its end. */
static const char *check_pcs_url(const char *s)
{
	size_t len = strlen(s);

	if (len < 4 || (strcmp(s + len - 4, "/v4/") != 0 && strcmp(s + len - 4, "/v3/") != 0))
		return "does not end in /v4/";
	return check_url(s);
}

/* clang-format off */
const struct key keys[KEY_COUNT] = {
	[KEY_DOMAIN] = { "DOMAIN", check_domain, .flags = KEY_ASK,
		.readers = FOR_VMM | FOR_REGISTRY | FOR_FRONT | FOR_KMS,
		.help = "Domain of this host; registry and KMS names derive from it." },
	[KEY_PUBLIC_ADDRESS] = { "PUBLIC_ADDRESS", check_ip, .flags = KEY_ASK,
		.help = "Address the names of this host point to (detected)." },
	[KEY_VMM_ADDRESS] = { "VMM_ADDRESS", check_hostport, .fallback = "127.0.0.1:9080",
		.readers = FOR_FRONT | FOR_GUARD,
		.help = "Where the VMM's API is offered, token required." },
	[KEY_VMM_MAX_VCPU] = { "VMM_MAX_VCPU", check_cpus, .readers = FOR_VMM,
		.help = "CPUs that CVMs may use (detected: all but 4, at least 1)." },
	[KEY_VMM_MAX_MEMORY_MB] = { "VMM_MAX_MEMORY_MB", check_mb, .readers = FOR_VMM,
		.help = "Memory that CVMs may use, in MiB (detected: all but 16 GiB; three "
			"quarters where that would leave less)." },
	[KEY_VMM_CID_START] = { "VMM_CID_START", check_cid, .fallback = "1000",
		.readers = FOR_VMM, .help = "First vsock CID of the pool for CVMs." },
	[KEY_VMM_CID_POOL_SIZE] = { "VMM_CID_POOL_SIZE", check_count, .fallback = "1000",
		.readers = FOR_VMM, .help = "Size of that pool." },
	[KEY_VMM_HOST_API_ADDRESS] = { "VMM_HOST_API_ADDRESS", check_vsock_cid,
		.fallback = "vsock:2", .readers = FOR_VMM,
		.help = "vsock address where CVMs reach the VMM." },
	[KEY_VMM_HOST_API_PORT] = { "VMM_HOST_API_PORT", check_port, .fallback = "10000",
		.readers = FOR_VMM, .help = "vsock port of the same." },
	[KEY_QGS_ADDRESS] = { "QGS_ADDRESS", check_qgs_address, .fallback = "vsock:2:4050",
		.help = "Where the Quote Generation Service answers." },
	[KEY_VMM_NETWORKING] = { "VMM_NETWORKING", .choices = "user passt",
		.fallback = "user", .readers = FOR_VMM | FOR_KMS,
		.help = "Network of CVMs; passt exists up to VMM 0.5.6 only." },
	[KEY_VMM_PORT_MAPPING_ADDRESS] = { "VMM_PORT_MAPPING_ADDRESS", check_ip,
		.fallback = "127.0.0.1", .readers = FOR_VMM,
		.help = "Address of mapped ports when a deployment names none." },
	[KEY_VMM_PORT_RANGES] = { "VMM_PORT_RANGES", check_port_ranges,
		.fallback = "tcp:9101-9999 udp:9200-9299", .readers = FOR_VMM | FOR_KMS,
		.help = "Host ports that CVMs may map." },
	[KEY_IMAGE_VERSION] = { "IMAGE_VERSION", check_version, .fallback = "0.5.5",
		.readers = FOR_KMS, .flags = KEY_MEASURED,
		.help = "Guest image of new CVMs (dstack-VERSION in IMAGE_DIR)." },
	[KEY_IMAGE_DIR] = { "IMAGE_DIR", check_path, .fallback = "/var/lib/dstack/images",
		.readers = FOR_VMM, .help = "Directory of guest images." },
	[KEY_VM_DIR] = { "VM_DIR", check_path, .fallback = "/var/lib/dstack/vm",
		.readers = FOR_VMM, .help = "Directory of CVMs and their sealed disks." },
	[KEY_PCCS_URL] = { "PCCS_URL", check_url, .flags = KEY_ASK,
		.readers = FOR_PCCS | FOR_QCNL | FOR_KEY_PROVIDER,
		.help = "PCCS of this host (default: the local one on PCCS_PORT)." },
	[KEY_PCCS_PORT] = { "PCCS_PORT", check_port, .fallback = "8081",
		.readers = FOR_PCCS | FOR_QCNL | FOR_KEY_PROVIDER | FOR_GUARD,
		.help = "Port of the local PCCS." },
	[KEY_PCCS_FILL_MODE] = { "PCCS_FILL_MODE", .choices = "LAZY REQ OFFLINE",
		.fallback = "LAZY", .readers = FOR_PCCS,
		.help = "How the local PCCS fills its cache." },
	[KEY_PCS_URL] = { "PCS_URL", check_pcs_url,
		.fallback = "https://api.trustedservices.intel.com/sgx/certification/v4/",
		.readers = FOR_PCCS,
		.help = "Intel's service behind the local PCCS; sbx. for pre-production CPUs." },
	[KEY_GUEST_PCCS_URL] = { "GUEST_PCCS_URL", check_url, .fallback = "",
		.flags = KEY_MAY_BE_EMPTY, .readers = FOR_VMM | FOR_GUARD,
		.help = "PCCS that guests ask; empty: Intel directly." },
	[KEY_KEY_PROVIDER_ADDRESS] = { "KEY_PROVIDER_ADDRESS", check_hostport,
		.fallback = "127.0.0.1:3443",
		.readers = FOR_VMM | FOR_KEY_PROVIDER | FOR_GUARD,
		.help = "Where the local key provider answers the VMM." },
	[KEY_KEY_PROVIDER_IMAGE] = { "KEY_PROVIDER_IMAGE", check_image_ref,
		.readers = FOR_KEY_PROVIDER, .flags = KEY_MEASURED,
		.help = "Container image of the key provider (no default; its measurement is in "
			"every sealed key)." },
	[KEY_AESMD_IMAGE] = { "AESMD_IMAGE", check_image_ref, .readers = FOR_KEY_PROVIDER,
		.help = "Container image of Intel's AESM daemon (no default)." },
	[KEY_REGISTRY] = { "REGISTRY", check_registry,
		.readers = FOR_REGISTRY | FOR_FRONT | FOR_GUARD,
		.help = "Name of this host's container registry, or off (default: "
			"registry.DOMAIN)." },
	[KEY_REGISTRY_LISTEN] = { "REGISTRY_LISTEN", check_hostport,
		.fallback = "127.0.0.1:443", .readers = FOR_FRONT | FOR_GUARD,
		.help = "Where the registry is offered, over TLS, for reading." },
	[KEY_KMS_NAME] = { "KMS_NAME", check_name, .fallback = "kms", .readers = FOR_KMS,
		.flags = KEY_MEASURED, .help = "Name of the KMS CVM." },
	[KEY_KMS_LAYOUT] = { "KMS_LAYOUT", .choices = "reference upstream",
		.fallback = "reference", .readers = FOR_KMS, .flags = KEY_MEASURED,
		.help = "How the KMS image expects its configuration." },
	[KEY_KMS_IMAGE] = { "KMS_IMAGE", check_image_digest_ref, .readers = FOR_KMS | FOR_VMM,
		.flags = KEY_MEASURED,
		.help = "Container image of the KMS, by digest (no default)." },
	[KEY_KMS_AUTH_IMAGE] = { "KMS_AUTH_IMAGE", check_image_digest_ref, .readers = FOR_KMS,
		.flags = KEY_MEASURED,
		.help = "Container image of auth-eth, by digest, for KMS_LAYOUT=upstream (no "
			"default)." },
	[KEY_KMS_PORT] = { "KMS_PORT", check_port, .fallback = "9103",
		.readers = FOR_KMS | FOR_VMM | FOR_GUARD,
		.help = "Loopback port of this host where the KMS answers." },
	[KEY_KMS_GUEST_PORT] = { "KMS_GUEST_PORT", check_port, .readers = FOR_KMS,
		.flags = KEY_MEASURED,
		.help = "Its port in the guest (default: 9100, with KMS_LAYOUT=upstream 8000)." },
	[KEY_KMS_VCPU] = { "KMS_VCPU", check_cpus, .fallback = "2", .readers = FOR_KMS,
		.flags = KEY_MEASURED, .help = "CPUs of the KMS CVM." },
	[KEY_KMS_MEMORY_MB] = { "KMS_MEMORY_MB", check_mb, .fallback = "4096",
		.readers = FOR_KMS, .flags = KEY_MEASURED, .help = "Its memory in MiB." },
	[KEY_KMS_DISK_GB] = { "KMS_DISK_GB", check_gb, .fallback = "20", .readers = FOR_KMS,
		.help = "Its disk in GiB." },
	[KEY_VMM_KMS_URL] = { "VMM_KMS_URL", check_url, .flags = KEY_MAY_BE_EMPTY,
		.readers = FOR_VMM,
		.help = "KMS that the VMM asks for encryption keys (default: "
			"https://127.0.0.1:KMS_PORT once KMS_IMAGE is set, else empty)." },
	[KEY_GUEST_KMS_URLS] = { "GUEST_KMS_URLS", check_https_list,
		.flags = KEY_MAY_BE_EMPTY, .readers = FOR_VMM,
		.help = "KMS addresses given to guests (default: https://kms.DOMAIN:443)." },
	[KEY_CHAIN_ID] = { "CHAIN_ID", check_chain, .fallback = "11155111",
		.readers = FOR_KMS, .flags = KEY_MEASURED,
		.help = "Chain of the KMS contract (11155111 is Sepolia)." },
	[KEY_KMS_CONTRACT] = { "KMS_CONTRACT", check_eth_address, .readers = FOR_KMS,
		.flags = KEY_ASK | KEY_MEASURED,
		.help = "KMS contract: its owner decides which programs get keys (no default)." },
	[KEY_APP_AUTH_IMPLEMENTATION] = { "APP_AUTH_IMPLEMENTATION", check_eth_address,
		.readers = FOR_KMS, .flags = KEY_ASK,
		.help = "App auth implementation the KMS must report (no default)." },
	[KEY_ETH_RPC_URLS] = { "ETH_RPC_URLS", check_url_list,
		.flags = KEY_REDACT | KEY_MEASURED, .readers = FOR_KMS | FOR_GUARD,
		.help = "Ethereum RPC endpoints, the first is measured into the KMS." },
	[KEY_GATEWAY_BASE_DOMAIN] = { "GATEWAY_BASE_DOMAIN", check_domain,
		.flags = KEY_MAY_BE_EMPTY, .readers = FOR_VMM,
		.help = "Domain below which a gateway offers apps (default: DOMAIN)." },
	[KEY_GATEWAY_URLS] = { "GATEWAY_URLS", check_https_list, .fallback = "",
		.flags = KEY_MAY_BE_EMPTY, .readers = FOR_VMM,
		.help = "Gateways given to guests." },
	[KEY_PROXY] = { "PROXY", check_url, .flags = KEY_REDACT | KEY_MAY_BE_EMPTY,
		.fallback = "", .readers = FOR_PCCS, .help = "HTTP proxy to the outside." },
	[KEY_NO_PROXY] = { "NO_PROXY", check_host_list, .flags = KEY_MAY_BE_EMPTY,
		.fallback = "", .help = "Names reached without that proxy (read by downloads only)." },
};
/* clang-format on */

int key_find(const char *name)
{
	for (int i = 0; i < KEY_COUNT; i++)
		if (strcmp(keys[i].name, name) == 0)
			return i;
	return -1;
}

/* Edit distance, one row at a time; long words are cut, they are far from any key. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t n = strnlen(b, 63);

	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; i <= strnlen(a, 63); i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= n; j++) {
			unsigned cost = diagonal + (toupper((unsigned char)a[i - 1]) != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < cost)
				cost = row[j] + 1;
			if (row[j - 1] + 1 < cost)
				cost = row[j - 1] + 1;
			row[j] = cost;
		}
	}
	return row[n];
}

char *key_hint(const char *name)
{
	unsigned best = ~0u;
	int found = 0;

	for (int i = 0; i < KEY_COUNT; i++) {
		unsigned d = distance(name, keys[i].name);

		if (d < best) {
			best = d;
			found = i;
		}
	}
	return best <= 1 + strlen(name) / 4 ?
		       xasprintf("did you mean %s?", keys[found].name) :
		       xstrdup("`dstack-host config list` shows all that there are");
}

static const char *check_choice(const char *choices, const char *value)
{
	size_t n = strlen(value);

	for (const char *p = choices; n; p += strcspn(p, " ") + 1) {
		size_t len = strcspn(p, " ");

		if (len == n && memcmp(p, value, n) == 0)
			return NULL;
		if (!p[len])
			break;
	}
	return choices;
}

const char *key_check(enum key_id id, const char *value)
{
	const struct key *k = &keys[id];

	if (!*value)
		return k->flags & KEY_MAY_BE_EMPTY ? NULL : "empty; unset the key instead";
	for (const char *p = value; *p; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			return "has a control or non-ASCII character";
		if (strchr("\"'\\$`", *p))
			return "has a quote, backslash, $ or backtick";
	}
	if (value[0] == ' ' || value[strlen(value) - 1] == ' ')
		return "has a blank at its beginning or end";
	return k->choices ? check_choice(k->choices, value) : k->check(value);
}

char *key_debconf_name(const char *name)
{
	char *s = xstrdup(name);

	for (char *p = s; *p; p++)
		*p = *p == '_' ? '-' : (char)tolower((unsigned char)*p);
	return s;
}
