// SPDX-License-Identifier: Apache-2.0
/* What PCCS, QGS, the key provider and the registry answer on a host on which all is well;
 * included by test-view.h, whose helpers it uses. */
#pragma once

#define DAYS(n) ((n)*86400LL)
#define NOW_S 1000000 /* of host_make() */
#define QCNL_PATH "/run/dstack/qcnl/sgx_default_qcnl.conf"
#define KEY_PROVIDER_ID                                                                  \
	"sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define QGSD_PID 77
#define EFI_STATUS                                                                       \
	"/sys/firmware/efi/efivars/"                                                     \
	"SgxRegistrationStatus-f236c5dc-a491-4bbe-bcdd-88885770df45"

/* A certificate as a network half tells of it; what is NULL it does not tell. */
static inline void certificate(struct host *h, enum probe_id id, long long from,
			       long long until, const char *host, const char *ca,
			       const char *of_system)
{
	char number[32];

	fact(h, id, "cert.subject", "CN=dstack-host service");
	fact(h, id, "cert.issuer", "CN=somebody");
	fact(h, id, "cert.name", "DNS:localhost");
	snprintf(number, sizeof(number), "%lld", from);
	fact(h, id, "cert.from", number);
	snprintf(number, sizeof(number), "%lld", until);
	fact(h, id, "cert.until", number);
	fact(h, id, "cert.host", host);
	if (ca)
		fact(h, id, "cert.ca", ca);
	fact(h, id, "cert.system", of_system);
}

/* status bits, error code */
static inline void put_registration(const struct fixture *f, unsigned char status,
				    unsigned char code)
{
	const char data[] = { 7, 0, 0, 0, 1, 0, 3, 0, (char)status, 0, (char)code };

	put(f, EFI_STATUS, data, sizeof(data));
}

static inline void container(struct host *h, enum probe_id id, const char *image,
			     const char *restart, const char *restarts)
{
	answer(h, id, 200);
	fact(h, id, "id", KEY_PROVIDER_ID);
	fact(h, id, "image", image);
	if (restart)
		fact(h, id, "restart", restart);
	fact(h, id, "restarts", restarts);
	fact(h, id, "pid", "4242");
}

static inline void put_attestation(struct host *h, const struct fixture *f)
{
	fact(h, PROBE_PCCS_INTEL, "crl", "der");
	certificate(h, PROBE_PCCS_INTEL, NOW_S - 60, NOW_S + DAYS(300), "ok", "ok", "no");
	put_text(f, "/etc/dstack/secrets/pccs-api-key", "00000000000000000000000000000000");
	answer(h, PROBE_PCS_KEY, 404);
	answer(h, PROBE_PCCS_USER, 400);
	unit(h, "qgsd")->main_pid = QGSD_PID;
	put_text(f, "/proc/77/environ", "QCNL_CONF_PATH=" QCNL_PATH);
	put_text(f, "/etc/qgs.conf", "# Intel's\nport = 4050\nnumber_threads = 4\n");
	put_registration(f, 3, 0);
	container(h, PROBE_AESMD_INSPECT, "a", "always", "0");
	fact(h, PROBE_AESMD_INSPECT, "mount", "/etc/sgx_default_qcnl.conf bind " QCNL_PATH);
	container(h, PROBE_SEALING_INSPECT, setting(&h->settings, KEY_KEY_PROVIDER_IMAGE),
		  "always", "0");
	fact(h, PROBE_SEALING_IMAGE, "id", KEY_PROVIDER_ID);
	put_text(f, "/var/lib/dstack/kms/key-provider", KEY_PROVIDER_ID "\n");
	answer(h, PROBE_REGISTRY_WRITE, 405);
	certificate(h, PROBE_REGISTRY_WRITE, NOW_S - 60, NOW_S + DAYS(300), "ok", "ok", "no");
}
