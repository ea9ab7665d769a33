// SPDX-License-Identifier: Apache-2.0
/* What the BIOS has set, by the registers it leaves behind; each maps to one of its settings. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "host/check/checks-platform.h"
#include "host/check/msr.h"

#define BIT(n) (UINT64_C(1) << (n))

const struct outcome tme_outcomes[] = {
	{ "on", CHECK_OK },
	{ "off", CHECK_FAIL, "total memory encryption is off, TDX builds upon it",
	  "BIOS setup: set Total Memory Encryption (TME) to Enabled; where it is greyed out, set "
	  "\"Limit CPU PA to 46 bits\" to Disabled first" },
	{ "no-keys", CHECK_FAIL, "memory encryption is on, but with a single key for everything",
	  "BIOS setup: set Total Memory Encryption Multi-Tenant (TME-MT) to Enabled" },
	{ 0 },
};

const struct outcome key_split_outcomes[] = {
	{ "split", CHECK_OK },
	{ "none", CHECK_FAIL, "no memory encryption key is set apart for TDX",
	  "BIOS setup: set TME-MT/TDX key split to a non-zero value" },
	{ 0 },
};

const struct outcome seam_outcomes[] = {
	{ "on", CHECK_OK },
	{ "off", CHECK_FAIL, "no memory is set apart for the TDX module (SEAMRR): TDX is off in the "
			     "BIOS",
	  "BIOS setup: set Trust Domain Extensions (TDX) to Enabled" },
	{ "unlocked", CHECK_FAIL, "the memory of the TDX module (SEAMRR) is on but not locked: the "
				  "BIOS did not load it",
	  "BIOS setup: set TDX SEAM Loader to Enabled" },
	{ 0 },
};

const struct outcome mcheck_outcomes[] = {
	{ "passed", CHECK_OK },
	{ "registration", CHECK_FAIL, "MCHECK refuses the registration data that the BIOS keeps "
				      "(0x1861): SGX and TDX stay off",
	  "the vendor's support, before anything is reset: \"SGX Factory Reset\" in the BIOS mends "
	  "it on a host that has no sealed disk, and makes every sealed disk unreadable" },
	{ "failed", CHECK_FAIL, "MCHECK, which the CPU runs before SGX and TDX, failed with %s",
	  "the server's BIOS release notes and memory population rules: an update of the BIOS, or "
	  "modules in other slots" },
	{ 0 },
};

const struct outcome feature_outcomes[] = {
	{ "on", CHECK_OK },
	{ "unlocked", CHECK_FAIL, "the BIOS left IA32_FEATURE_CONTROL unlocked: SGX cannot be used",
	  "BIOS setup: set SGX (Software Guard Extensions) to Enabled, or update the BIOS" },
	{ "sgx-off", CHECK_FAIL, "the BIOS has switched SGX off",
	  "BIOS setup: set SGX (Software Guard Extensions) to Enabled" },
	{ 0 },
};

const struct outcome production_outcomes[] = {
	{ "production", CHECK_OK },
	{ "pre-production", CHECK_FAIL, "this CPU is a pre-production part: Intel's production "
					"service certifies none",
	  "the vendor: another CPU, or Intel's sandbox service as PCCS_URL" },
	{ "sgx-debug", CHECK_FAIL, "SGX is in debug mode: Intel does not certify this platform",
	  "BIOS setup: set SGX debug mode to Disabled" },
	{ "microcode", CHECK_FAIL, "the microcode is not a production one: Intel does not certify "
				   "this platform",
	  "the server's BIOS: an update with production microcode" },
	{ 0 },
};

/* NULL and *ret, or the outcome with which the check ends. */
static const char *get(const struct check_view *v, struct verdict *r, enum msr number,
		       uint64_t *ret)
{
	int error = msr_read(v->parts.root, number, ret);

	if (error == 0)
		return NULL;
	if (error == -EACCES || error == -EPERM)
		return SKIP_PRIVILEGE;
	if (error == -ENOENT || error == -ENXIO)
		verdict_subject(r, "no registers without the module msr (sudo modprobe msr)");
	else
		verdict_subject(r, "MSR 0x%x: %s", (unsigned)number,
				error == -EIO ? "this CPU has none" : strerror(-error));
	return SKIP_UNKNOWN;
}

const char *eval_tme(const struct check_view *v, struct verdict *r)
{
	uint64_t activate, capability;
	const char *end = get(v, r, MSR_TME_ACTIVATE, &activate);
	unsigned most;

	if (end)
		return end;
	verdict_found(r, "IA32_TME_ACTIVATE 0x%" PRIx64, activate);
	if (!(activate & BIT(1)))
		return "off";
	if (get(v, r, MSR_TME_CAPABILITY, &capability))
		return "on";
	most = (unsigned)(capability >> 36) & 0x7fff;
	verdict_found(r, "%u keys at most", most);
	return most ? "on" : "no-keys";
}

/* 31:0 are TME-MT's, 63:32 TDX's; Canonical's text has them the wrong way round. */
const char *eval_key_split(const struct check_view *v, struct verdict *r)
{
	uint64_t split;
	const char *end = get(v, r, MSR_MKTME_PARTITIONING, &split);

	if (end)
		return end;
	verdict_found(r, "%u for TME-MT, %u for TDX", (unsigned)(split & 0xffffffff),
		      (unsigned)(split >> 32));
	return split >> 32 ? "split" : "none";
}

const char *eval_seam(const struct check_view *v, struct verdict *r)
{
	uint64_t mask;
	const char *end = get(v, r, MSR_SEAMRR_PHYS_MASK, &mask);

	if (end)
		return end;
	verdict_found(r, "SEAMRR %s, %s", mask & BIT(11) ? "on" : "off",
		      mask & BIT(10) ? "locked" : "not locked");
	if (!(mask & BIT(11)))
		return "off";
	return mask & BIT(10) ? "on" : "unlocked";
}

/* 0 is good; a public document that says 1 is wrong. */
const char *eval_mcheck(const struct check_view *v, struct verdict *r)
{
	uint64_t status;
	const char *end = get(v, r, MSR_MCHECK, &status);

	if (end)
		return end;
	verdict_found(r, "0x%" PRIx64, status);
	verdict_expected(r, "0x0");
	verdict_subject(r, "0x%" PRIx64, status);
	return status == 0 ? "passed" : status == 0x1861 ? "registration" : "failed";
}

const char *eval_feature(const struct check_view *v, struct verdict *r)
{
	uint64_t control;
	const char *end = get(v, r, MSR_FEATURE_CONTROL, &control);

	if (end)
		return end;
	verdict_found(r, "0x%" PRIx64, control);
	if (!(control & BIT(0)))
		return "unlocked";
	return control & BIT(18) ? "on" : "sgx-off";
}

const char *eval_production(const struct check_view *v, struct verdict *r)
{
	uint64_t info, debug, microcode;
	const char *end = get(v, r, MSR_PLATFORM_INFO, &info);

	if (end)
		return end;
	if (info & BIT(27))
		return "pre-production";
	/* A CPU without SGX has no such register. */
	if (!get(v, r, MSR_SGX_DEBUG_MODE, &debug) && debug)
		return "sgx-debug";
	end = get(v, r, MSR_MICROCODE, &microcode);
	if (end)
		return end;
	verdict_found(r, "microcode 0x%" PRIx64, microcode >> 32);
	return microcode & BIT(63) ? "microcode" : "production";
}
