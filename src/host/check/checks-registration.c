// SPDX-License-Identifier: Apache-2.0
/*
 * Is this platform registered with Intel? By the firmware's variable alone: the tools that
 * show more change the state, and the platform's manifest can then not be had again.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/check/checks-qcnl.h"

#define EFIVARS "/sys/firmware/efi/efivars"
#define VARIABLE EFIVARS "/SgxRegistrationStatus-f236c5dc-a491-4bbe-bcdd-88885770df45"
#define LOG "sudo journalctl -b -e -u mpa_registration_tool.service; see /var/log/mpa_registration.log"
#define AGAIN "sudo systemctl restart mpa_registration_tool.service"

enum { ATTRIBUTES = 4, VARIABLE_MAX = 4096, COMPLETE = 1 };

const struct outcome registration_outcomes[] = {
	{ "complete", CHECK_OK },
	{ "not-offered", CHECK_WARN, "the firmware offers no registration: \"SGX Auto MP "
	  "Registration\" is off in the BIOS, or SGX is",
	  "enable SGX and SGX Auto MP Registration in the BIOS" },
	{ "pending", CHECK_FAIL, "this platform has not been registered with Intel yet",
	  "sudo apt install sgx-ra-service; " AGAIN },
	{ "error", CHECK_FAIL, "registering this platform with Intel failed: %s", LOG },
	{ "retry", CHECK_FAIL, "registering this platform with Intel failed: %s", AGAIN },
	{ "odd", CHECK_WARN, "the firmware's registration variable is not of version 1: %s",
	  "look for a BIOS update" },
	{ 0 },
};

static const struct {
	unsigned char code;
	int again; /* it may work the next time */
	const char *name;
} codes[] = {
	{ 0x80, 1, "unexpected error" },
	{ 0x81, 1, "out of memory" },
	{ 0x82, 1, "Intel's service could not be reached" },
	{ 0x83, 0, "invalid parameter" },
	{ 0x84, 1, "Intel's service is out of order" },
	{ 0x85, 1, "Intel's service did not answer in time" },
	{ 0x86, 0, "the BIOS speaks another version of the protocol" },
	{ 0x87, 0, "Intel's service refuses the subscription key" },
	{ 0xa0, 0, "Intel's service found a syntax error in the request" },
	{ 0xa1, 0, "the platform is registered with another of Intel's services" },
	{ 0xa2, 0, "a CPU package of this platform was revoked" },
	{ 0xa3, 0, "Intel does not know a CPU package of this platform (a pre-production CPU, "
		   "SGX debug, or microcode that is not for production)" },
	{ 0xa4, 0, "the CPU packages do not fit together" },
	{ 0xa5, 0, "Intel's service refuses the platform manifest" },
	{ 0xa6, 0, "Intel does not know the platform that a package was to be added to" },
	{ 0xa7, 0, "Intel's service refuses to add a package" },
	{ 0xa8, 1, "unknown error of Intel's service" },
};

static const char *judge_code(unsigned char code, struct verdict *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].code == code) {
			verdict_subject(r, "%s (0x%02x)", codes[i].name, code);
			return codes[i].again ? "retry" : "error";
		}
	if (code >= 0x10 && code <= 0x5b)
		verdict_subject(r, "an error of the BIOS (0x%02x)", code);
	else
		verdict_subject(r, "an unknown error (0x%02x)", code);
	return "error";
}

/* After the attributes of efivarfs: u16 version, u16 size, u16 status, u8 error code. */
static const char *judge_variable(const unsigned char *d, size_t len, struct verdict *r)
{
	unsigned version, status;

	if (len < ATTRIBUTES + 7) {
		verdict_subject(r, "%zu bytes", len);
		return "odd";
	}
	d += ATTRIBUTES;
	version = d[0] | (unsigned)d[1] << 8;
	status = d[4] | (unsigned)d[5] << 8;
	if (version != 1) {
		verdict_subject(r, "version %u", version);
		return "odd";
	}
	verdict_found(r, "status 0x%x, error code 0x%02x", status, d[6]);
	/* What an earlier attempt said is over once one has succeeded. */
	if (status & COMPLETE)
		return "complete";
	return d[6] ? judge_code(d[6], r) : "pending";
}

const char *eval_registration(const struct check_view *v, struct verdict *r)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0;
	int error;

	if (!root_exists(v->parts.root, EFIVARS)) {
		verdict_subject(r, "this system was not started by UEFI");
		return SKIP_UNKNOWN;
	}
	error = file_read(v->parts.root, VARIABLE, VARIABLE_MAX, &data, &len);
	if (error == -EACCES || error == -EPERM)
		return SKIP_PRIVILEGE;
	if (error == -ENOENT)
		return "not-offered";
	if (error < 0) {
		verdict_subject(r, VARIABLE ": %s", strerror(-error));
		return SKIP_UNKNOWN;
	}
	return judge_variable((const unsigned char *)data, len, r);
}
