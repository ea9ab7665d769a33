// SPDX-License-Identifier: Apache-2.0
/*
 * The table. Numbers and names are those of Intel's headers (sgx_ql_lib_common.h,
 * td_ql_wrapper.h, sgx_qcnl_def.h, aesm_error.h); 0x110NN means what 0xe0NN means.
 */
#include "host/check/dcap-codes.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

/* As in host/check/check.h, which knows these codes and not the other way round. */
#define APPLY "sudo systemctl start dstack-host-start"
#define LIBS (DCAP_QGSD | DCAP_AESM)
#define RESTART_QGSD "sudo systemctl restart qgsd.service"
#define LOG_QGSD "sudo journalctl -b -e -u qgsd.service"
#define LOG_PCCS "sudo journalctl -b -e -u pccs.service"
#define CHECK_PCCS "sudo dstack-host check pccs.intel pccs.api-key registration"
#define DEVICES "sudo dstack-host devices --fix"
#define REFRESH                                                                          \
	"remove /var/opt/qgsd/.dcap-qcnl, then: " RESTART_QGSD

enum { WRAPS, LIBRARY, NETWORK };

/* clang-format off */
const struct dcap_code dcap_codes[] = {
	/* quote libraries */
	{ LIBS, 0xe001, NULL, "UNEXPECTED", WRAPS,
	  "a quote failed for a reason that stands in the lines before it", LOG_QGSD },
	{ LIBS, 0xe00b, NULL, "UNSUPPORTED_ATT_KEY_ID", LIBRARY,
	  "the quoting enclave and Intel's libraries are not of one release", "apt list --installed 'libsgx-*' tdx-qgs" },
	{ LIBS, 0xe00d, NULL, "INTERFACE_UNAVAILABLE", LIBRARY,
	  "the provisioning certification enclave cannot be loaded", "sudo dstack-host devices; sudo apt install libsgx-ae-pce" },
	{ LIBS, 0xe00e, NULL, "PLATFORM_LIB_UNAVAILABLE", LIBRARY,
	  "the library that fetches the platform's certificate is missing", "sudo apt install libsgx-dcap-default-qpl" },
	{ LIBS, 0xe00f, NULL, "ATT_KEY_NOT_INITIALIZED", WRAPS,
	  "the attestation key was never made, because an earlier step failed", LOG_QGSD },
	{ LIBS, 0xe011, NULL, "NO_PLATFORM_CERT_DATA", LIBRARY,
	  "PCCS has no certificate for this platform: it is not registered with Intel, the API key is refused, or the CPU is a pre-production one", CHECK_PCCS },
	{ LIBS, 0xe012, NULL, "OUT_OF_EPC", LIBRARY,
	  "the CPU's protected memory is used up", "raise PRM size in the BIOS" },
	{ LIBS, 0xe016, NULL, "ENCLAVE_LOAD_ERROR", LIBRARY,
	  "the quoting enclave cannot be loaded: a device, its group, or a package is missing", DEVICES },
	{ LIBS, 0xe018, NULL, "KEY_CERTIFICATION_ERROR", LIBRARY,
	  "the platform's certificate is of a newer TCB level than its microcode", "update the microcode or the BIOS, then: " RESTART_QGSD },
	{ LIBS, 0xe019, NULL, "NETWORK_ERROR", LIBRARY,
	  "PCCS could not be reached with the settings in the QCNL file", "sudo dstack-host check pccs qcnl.file qcnl.agree" },
	{ LIBS, 0xe01b, NULL, "NO_QUOTE_COLLATERAL_DATA", LIBRARY,
	  "PCCS has no collateral for this platform and could not fetch it", "sudo dstack-host check pccs.intel" },
	{ LIBS, 0xe027, NULL, "TCBINFO_EXPIRED", LIBRARY,
	  "the cached TCB information is too old", REFRESH },
	{ LIBS, 0xe028, NULL, "TCB_OUT_OF_DATE", LIBRARY,
	  "the platform's firmware is older than Intel accepts", "update the BIOS" },
	{ LIBS, 0xe02c, NULL, "COLLATERAL_EXPIRED", LIBRARY,
	  "cached collateral has expired", REFRESH },
	{ LIBS, 0xe02d, NULL, "CERT_CHAIN_EXPIRED", LIBRARY,
	  "a cached certificate has expired", REFRESH },
	{ LIBS, 0xe02e, NULL, "CRL_EXPIRED", LIBRARY,
	  "a cached revocation list has expired", REFRESH },
	{ LIBS, 0xe035, NULL, "INVALID_PRIVILEGE", LIBRARY,
	  "qgsd may not open /dev/sgx_provision", DEVICES },
	{ LIBS, 0xe03f, NULL, "NO_DEVICE", LIBRARY,
	  "there is no SGX device: SGX is off in the BIOS, or its driver is missing", "dstack-host devices" },
	{ LIBS, 0xe040, NULL, "SERVICE_UNAVAILABLE", LIBRARY,
	  "PCCS or Intel's service was out of order", RESTART_QGSD },
	{ LIBS, 0xe044, NULL, "UNKNOWN_MESSAGE_RESPONSE", LIBRARY,
	  "PCCS answered with a status that the library does not know", LOG_PCCS },
	{ LIBS, 0xe046, NULL, "MESSAGE_PARSING_ERROR", LIBRARY,
	  "what answered was not PCCS, a proxy for example", "sudo dstack-host check pccs qcnl.agree" },
	{ LIBS, 0xe047, NULL, "PLATFORM_UNKNOWN", LIBRARY,
	  "PCCS does not know this platform and may not fetch it (PCCS_FILL_MODE)", "sudo dstack-host config set PCCS_FILL_MODE=LAZY && " APPLY },
	{ LIBS, 0xe049, NULL, "CERTS_UNAVAILABLE", LIBRARY,
	  "Intel has no certificates for this platform: it is not registered", "sudo dstack-host check registration" },
	{ LIBS, 0xe065, NULL, "ROOT_CA_UNTRUSTED", LIBRARY,
	  "the QCNL file asks for a certificate from a public CA, and PCCS has one from this host", "sudo dstack-host check qcnl.agree" },
	{ LIBS, 0xe066, NULL, "TCB_NOT_SUPPORTED", LIBRARY,
	  "the platform's TCB level is unknown to Intel", "update the BIOS" },
	{ LIBS, 0xe067, NULL, "CONFIG_INVALID_JSON", LIBRARY,
	  "the QCNL file is no JSON", "sudo dstack-host check qcnl.file" },
	/* libsgx_default_qcnl_wrapper: what it got from PCCS */
	{ LIBS, 0xb003, NULL, "QCNL_NETWORK_ERROR", NETWORK,
	  "talking to PCCS failed", "sudo dstack-host check pccs" },
	{ LIBS, 0xb004, NULL, "QCNL_NETWORK_PROXY_FAIL", NETWORK,
	  "the name of the proxy between qgsd and PCCS cannot be resolved", "systemctl show -p Environment qgsd.service" },
	{ LIBS, 0xb005, NULL, "QCNL_NETWORK_HOST_FAIL", NETWORK,
	  "the name in pccs_url cannot be resolved", "sudo dstack-host check qcnl.agree" },
	{ LIBS, 0xb006, NULL, "QCNL_NETWORK_COULDNT_CONNECT", NETWORK,
	  "nobody listens at pccs_url", "sudo dstack-host check pccs qcnl.agree" },
	{ LIBS, 0xb009, NULL, "QCNL_NETWORK_TIMEOUT", NETWORK,
	  "PCCS did not answer in time, often because it waited for Intel", "sudo dstack-host check pccs.intel" },
	{ LIBS, 0xb00a, NULL, "QCNL_NETWORK_HTTPS", NETWORK,
	  "the certificate of PCCS was not accepted", "sudo dstack-host check pccs.tls qcnl.agree" },
	{ LIBS, 0xb00d, NULL, "QCNL_MSG_ERROR", NETWORK,
	  "PCCS answered with something that makes no sense", LOG_PCCS },
	{ LIBS, 0xb00f, NULL, "QCNL_ERROR_STATUS_NO_CACHE_DATA", NETWORK,
	  "PCCS has no certificate for this platform: it is not registered with Intel, the API key is refused, or the CPU is a pre-production one", CHECK_PCCS },
	{ LIBS, 0xb010, NULL, "QCNL_ERROR_STATUS_PLATFORM_UNKNOWN", NETWORK,
	  "PCCS does not know this platform and may not fetch it (PCCS_FILL_MODE)", "sudo dstack-host config set PCCS_FILL_MODE=LAZY && " APPLY },
	{ LIBS, 0xb011, NULL, "QCNL_ERROR_STATUS_UNEXPECTED", NETWORK,
	  "PCCS answered with a status that the library does not know", LOG_PCCS },
	{ LIBS, 0xb012, NULL, "QCNL_ERROR_STATUS_CERTS_UNAVAILABLE", NETWORK,
	  "Intel has no certificates for this platform: it is not registered", "sudo dstack-host check registration" },
	{ LIBS, 0xb013, NULL, "QCNL_ERROR_STATUS_SERVICE_UNAVAILABLE", NETWORK,
	  "PCCS or Intel's service was out of order", RESTART_QGSD },
	{ LIBS, 0xb030, NULL, "QCNL_INVALID_CONFIG", NETWORK,
	  "the QCNL file has a bad value", "sudo dstack-host check qcnl.file" },
	{ LIBS, 0xb033, NULL, "QCNL_ROOT_CA_UNTRUSTED", NETWORK,
	  "the QCNL file asks for a certificate from a public CA, and PCCS has one from this host", "sudo dstack-host check qcnl.agree" },
	{ LIBS, 0xb035, NULL, "QCNL_CONFIG_INVALID_JSON", NETWORK,
	  "the QCNL file is no JSON, so Intel's defaults are in force", "sudo dstack-host check qcnl.file" },
	{ LIBS, 0xb036, NULL, "QCNL_CONFIG_NOT_JSON", NETWORK,
	  "the QCNL file is in the format of old releases", "sudo dstack-host check qcnl.file" },
	/* the SGX runtime below them */
	{ LIBS, 0x2005, NULL, "SGX_ERROR_OUT_OF_EPC", NETWORK,
	  "the CPU's protected memory is used up", "raise PRM size in the BIOS" },
	{ LIBS, 0x2006, NULL, "SGX_ERROR_NO_DEVICE", NETWORK,
	  "there is no SGX device: SGX is off in the BIOS, or its driver is missing", "dstack-host devices" },
	{ LIBS, 0x4004, NULL, "SGX_ERROR_SERVICE_INVALID_PRIVILEGE", NETWORK,
	  "an SGX device may not be opened", DEVICES },
	/* phrases of the same libraries */
	{ LIBS, 0xe011, "No certificate data for this platform", "NO_PLATFORM_CERT_DATA", LIBRARY,
	  "PCCS has no certificate for this platform: it is not registered with Intel, the API key is refused, or the CPU is a pre-production one", CHECK_PCCS },
	/* aesmd, as its clients print it */
	{ DCAP_AESM, 2, "AESM#", "AESM_NO_DEVICE_ERROR", LIBRARY,
	  "/dev/sgx_enclave is not in the aesmd container", "dstack-host devices; sudo systemctl restart dstack-key-provider.service" },
	{ DCAP_AESM, 12, "AESM#", "AESM_NETWORK_ERROR", LIBRARY,
	  "aesmd cannot reach PCCS from its container", "sudo dstack-host check pccs key-provider.qcnl" },
	{ DCAP_AESM, 15, "AESM#", "AESM_FILE_ACCESS_ERROR", LIBRARY,
	  "aesmd cannot read or write one of its files", "sudo docker logs --tail 50 aesmd" },
	{ DCAP_AESM, 24, "AESM#", "AESM_SGX_DEVICE_NOT_AVAILABLE", LIBRARY,
	  "SGX is off in the BIOS, or its driver is missing", "dstack-host devices" },
	{ DCAP_AESM, 29, "AESM#", "AESM_OUT_OF_EPC", LIBRARY,
	  "the CPU's protected memory is used up", "raise PRM size in the BIOS" },
	{ DCAP_AESM, 30, "AESM#", "AESM_SERVICE_UNAVAILABLE", LIBRARY,
	  "aesmd lacks what makes quotes: its socket, its plugin, or /dev/sgx_provision", "dstack-host devices; sudo systemctl restart dstack-key-provider.service" },
	{ DCAP_AESM, 31, "AESM#", "AESM_UNRECOGNIZED_PLATFORM", LIBRARY,
	  "this platform is not registered with Intel", "sudo dstack-host check registration" },
	{ DCAP_AESM, 42, "AESM#", "AESM_ATT_KEY_NOT_INITIALIZED", WRAPS,
	  "the attestation key was never made, because an earlier step failed", "sudo docker logs --tail 50 aesmd" },
	{ DCAP_AESM, 44, "AESM#", "AESM_NO_PLATFORM_CERT_DATA", LIBRARY,
	  "PCCS has no certificate for this platform: it is not registered with Intel, the API key is refused, or the CPU is a pre-production one", CHECK_PCCS },
	{ DCAP_AESM, 48, "AESM#", "AESM_ENCLAVE_LOAD_ERROR", LIBRARY,
	  "the quoting enclave cannot be loaded in the aesmd container", "dstack-host devices" },
	{ DCAP_AESM, 50, "AESM#", "AESM_KEY_CERTIFICATION_ERROR", LIBRARY,
	  "the platform's certificate is of a newer TCB level than its microcode", "update the microcode or the BIOS" },
	/* PCCS */
	{ DCAP_PCCS, 0, "[Status=401]", "Intel refuses the API key", NETWORK,
	  "Intel's service refuses the API key; PCCS hides that behind 404", "sudo dstack-host secret set pccs-api-key && " APPLY },
	{ DCAP_PCCS, 0, "returns error(401)", "Intel refuses the API key", NETWORK,
	  "Intel's service refuses the API key; PCCS hides that behind 404", "sudo dstack-host secret set pccs-api-key && " APPLY },
	{ DCAP_PCCS, 0, "[Status=429]", "Intel throttles this host", NETWORK,
	  "too many requests were sent to Intel's service", "wait some minutes" },
	{ DCAP_PCCS, 0, "[Status=404]", "Intel does not know this platform", NETWORK,
	  "this platform is not registered with Intel, or its CPU is a pre-production one (PCS_URL)", "sudo dstack-host check registration" },
	{ DCAP_PCCS, 0, "Encrypted ppid is all zeros", "no platform identity", NETWORK,
	  "the platform gave no identity: SGX is in debug mode, or the CPU is a pre-production one", "sudo dstack-host check platform registration" },
	{ DCAP_PCCS, 0, "ENOTFOUND", "no name service", NETWORK,
	  "the name of Intel's service cannot be resolved", "sudo dstack-host check pccs.intel" },
	{ DCAP_PCCS, 0, "ETIMEDOUT", "no way to Intel", NETWORK,
	  "Intel's service cannot be reached from this host", "sudo dstack-host check pccs.intel" },
	{ DCAP_PCCS, 0, "different from the one in configuration", "another PCS_URL", NETWORK,
	  "the cache was filled from another address than PCS_URL", "sudo dstack-host config unset PCS_URL && " APPLY },
	{ DCAP_PCCS, 0, "ERR_MODULE_NOT_FOUND", "no node_modules", NETWORK,
	  "PCCS is installed but was never completed: its node_modules are missing", "sudo dpkg-reconfigure sgx-dcap-pccs" },
};
/* clang-format on */
const size_t n_dcap_codes = ARRAY_SIZE(dcap_codes);

/* The wrapper around the TD quote library numbers the same errors its own way. */
static uint32_t common_code(unsigned long code)
{
	return (code & ~0xfful) == 0x11000 ? 0xe000 | (uint32_t)(code & 0xff) : (uint32_t)code;
}

static const struct dcap_code *by_number(enum dcap_speaker speaker, unsigned long number)
{
	for (size_t i = 0; i < n_dcap_codes; i++)
		if (!dcap_codes[i].phrase && dcap_codes[i].code == common_code(number) &&
		    dcap_codes[i].speakers & speaker)
			return &dcap_codes[i];
	return NULL;
}

static const struct dcap_code *deeper(const struct dcap_code *a, const struct dcap_code *b)
{
	return !a || (b && b->depth > a->depth) ? b : a;
}

static const struct dcap_code *numbers_in(enum dcap_speaker speaker, const char *line)
{
	const struct dcap_code *best = NULL;

	for (const char *p = strstr(line, "0x"); p; p = strstr(p + 2, "0x"))
		best = deeper(best, by_number(speaker, strtoul(p, NULL, 16)));
	return best;
}

/* "AESM error 30", "AESM service returned error 30". */
static const struct dcap_code *aesm_in(const char *line)
{
	const char *p = strstr(line, "AESM");
	unsigned long number;

	p = p ? strstr(p, "error ") : NULL;
	if (!p || !isdigit((unsigned char)p[6]))
		return NULL;
	number = strtoul(p + 6, NULL, 10);
	for (size_t i = 0; i < n_dcap_codes; i++)
		if (dcap_codes[i].phrase && strcmp(dcap_codes[i].phrase, "AESM#") == 0 &&
		    dcap_codes[i].code == number)
			return &dcap_codes[i];
	return NULL;
}

const struct dcap_code *dcap_code_in(enum dcap_speaker speaker, const char *line)
{
	const struct dcap_code *best = speaker == DCAP_PCCS ? NULL : numbers_in(speaker, line);

	if (speaker == DCAP_AESM)
		best = deeper(best, aesm_in(line));
	for (size_t i = 0; i < n_dcap_codes; i++)
		if (dcap_codes[i].phrase && dcap_codes[i].speakers & speaker &&
		    strstr(line, dcap_codes[i].phrase))
			best = deeper(best, &dcap_codes[i]);
	return best;
}

int dcap_is_success(enum dcap_speaker speaker, const char *line)
{
	switch (speaker) {
	case DCAP_QGSD:
		return strstr(line, "tee_att_get_quote return Success") != NULL;
	case DCAP_PCCS:
		return strstr(line, "[Status=200]") != NULL;
	case DCAP_AESM:
		return strstr(line, "sealed key provided") != NULL;
	}
	return 0;
}

int dcap_is_of_devices(const struct dcap_code *code)
{
	static const uint32_t codes[] = { 0xe035, 0xe03f, 0x2006, 0x4004 };

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (code->code == codes[i])
			return 1;
	return 0;
}
