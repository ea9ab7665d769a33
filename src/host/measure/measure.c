// SPDX-License-Identifier: Apache-2.0
/* The events of a boot in their order, and the registers that they end in. */
#include "host/measure/measure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/bytes.h"

#define CONSTANT "constant of dstack's firmware"
#define MEMORY "memory size, firmware"

const char *const measure_registers[MEASURE_REGISTERS] = { "mrtd", "rtmr0", "rtmr1", "rtmr2" };

/* clang-format off */
const struct measure_event_name measure_events[MEASURE_EVENTS] = {
	[EVENT_TD_HOB]	      = { "td-hob", MEMORY, MEASURE_RTMR0 },
	[EVENT_CFV]	      = { "configuration-volume", CONSTANT, MEASURE_RTMR0 },
	[EVENT_SECURE_BOOT]   = { "SecureBoot", CONSTANT, MEASURE_RTMR0 },
	[EVENT_PK]	      = { "PK", CONSTANT, MEASURE_RTMR0 },
	[EVENT_KEK]	      = { "KEK", CONSTANT, MEASURE_RTMR0 },
	[EVENT_DB]	      = { "db", CONSTANT, MEASURE_RTMR0 },
	[EVENT_DBX]	      = { "dbx", CONSTANT, MEASURE_RTMR0 },
	[EVENT_SEPARATOR0]    = { "separator", CONSTANT, MEASURE_RTMR0 },
	[EVENT_ACPI_LOADER]   = { "acpi-loader", "QEMU, its machine and devices", MEASURE_RTMR0 },
	[EVENT_ACPI_RSDP]     = { "acpi-rsdp", "QEMU, its machine and devices", MEASURE_RTMR0 },
	[EVENT_ACPI_TABLES]   = { "acpi-tables", "QEMU, its machine and devices", MEASURE_RTMR0 },
	[EVENT_BOOT_ORDER]    = { "BootOrder", CONSTANT, MEASURE_RTMR0 },
	[EVENT_BOOT0000]      = { "Boot0000", CONSTANT, MEASURE_RTMR0 },
	[EVENT_KERNEL]	      = { "kernel", "kernel, QEMU's header in it", MEASURE_RTMR1 },
	[EVENT_CALLING]	      = { "calling-efi-application", CONSTANT, MEASURE_RTMR1 },
	[EVENT_SEPARATOR1]    = { "separator", CONSTANT, MEASURE_RTMR1 },
	[EVENT_EXIT]	      = { "exit-boot-services", CONSTANT, MEASURE_RTMR1 },
	[EVENT_EXIT_RETURNED] = { "exit-boot-services-returned", CONSTANT, MEASURE_RTMR1 },
	[EVENT_CMDLINE]	      = { "command-line", "image's metadata.json", MEASURE_RTMR2 },
	[EVENT_INITRD]	      = { "initrd", "initrd", MEASURE_RTMR2 },
};

/* Bytes of this firmware that are not in its file as such: its variable store, and the load
 * option that it makes for its own boot manager. Upstream's dstack-mr has the same. */
static const unsigned char digest_cfv[SHA384_LEN] = {
	0x34, 0x4b, 0xc5, 0x1c, 0x98, 0x0b, 0xa6, 0x21, 0xaa, 0xa0, 0x0d, 0xa3, 0xed, 0x74, 0x36, 0xf7,
	0xd6, 0xe5, 0x49, 0x19, 0x7d, 0xfe, 0x69, 0x95, 0x15, 0xdf, 0xa2, 0xc6, 0x58, 0x3d, 0x95, 0xe6,
	0x41, 0x2a, 0xf2, 0x1c, 0x09, 0x7d, 0x47, 0x31, 0x55, 0x87, 0x5f, 0xfd, 0x56, 0x1d, 0x67, 0x90,
};
static const unsigned char digest_boot0000[SHA384_LEN] = {
	0x23, 0xad, 0xa0, 0x7f, 0x52, 0x61, 0xf1, 0x2f, 0x34, 0xa0, 0xbd, 0x8e, 0x46, 0x76, 0x09, 0x62,
	0xd6, 0xb4, 0xd5, 0x76, 0xa4, 0x16, 0xf1, 0xfe, 0xa1, 0xc6, 0x4b, 0xc6, 0x56, 0xb1, 0xd2, 0x8e,
	0xac, 0xf7, 0x04, 0x7a, 0xe6, 0xe9, 0x67, 0xc5, 0x8f, 0xd2, 0xa9, 0x8b, 0xfa, 0x74, 0xc2, 0x98,
};
static const unsigned char guid_global[16] = {
	0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
};
static const unsigned char guid_security[16] = {
	0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
};
/* clang-format on */

int why_not(struct why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

/* ASCII, as UTF-16LE. */
static void add_wide(struct strbuf *out, const char *s)
{
	for (; *s; s++) {
		sb_addc(out, *s);
		sb_addc(out, '\0');
	}
}

/* UEFI_VARIABLE_DATA of a variable that is not set. */
static void variable(const unsigned char guid[16], const char *name,
		     unsigned char ret[SHA384_LEN])
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	unsigned char lengths[16] = { 0 };

	put_le64(lengths, strlen(name));
	sb_addn(&out, guid, 16);
	sb_addn(&out, lengths, sizeof(lengths));
	add_wide(&out, name);
	sha384(out.data, out.len, ret);
}

static void constants(struct measurement *m)
{
	static const unsigned char zeros[4];
	static const struct {
		enum measure_event event;
		const char *text;
	} actions[] = {
		{ EVENT_CALLING, "Calling EFI Application from Boot Option" },
		{ EVENT_EXIT, "Exit Boot Services Invocation" },
		{ EVENT_EXIT_RETURNED, "Exit Boot Services Returned with Success" },
	};

	memcpy(m->events[EVENT_CFV], digest_cfv, SHA384_LEN);
	variable(guid_global, "SecureBoot", m->events[EVENT_SECURE_BOOT]);
	variable(guid_global, "PK", m->events[EVENT_PK]);
	variable(guid_global, "KEK", m->events[EVENT_KEK]);
	variable(guid_security, "db", m->events[EVENT_DB]);
	variable(guid_security, "dbx", m->events[EVENT_DBX]);
	sha384(zeros, 4, m->events[EVENT_SEPARATOR0]);
	sha384(zeros, 4, m->events[EVENT_SEPARATOR1]);
	sha384(zeros, 2, m->events[EVENT_BOOT_ORDER]);
	memcpy(m->events[EVENT_BOOT0000], digest_boot0000, SHA384_LEN);
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		sha384(actions[i].text, strlen(actions[i].text), m->events[actions[i].event]);
}

static int command_line(const char *cmdline, unsigned char ret[SHA384_LEN], struct why *why)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };

	for (const char *p = cmdline; *p; p++)
		if ((unsigned char)*p >= 0x80)
			return why_not(why, "command line: has a character that is not ASCII");
	add_wide(&out, cmdline);
	/* Put there by the EFI stub's loader in firmware. */
	add_wide(&out, " initrd=initrd");
	sb_addn(&out, "\0", 2);
	sha384(out.data, out.len, ret);
	return 0;
}

static int kernel(const struct measure_image *image, const struct measure_machine *machine,
		  unsigned char ret[SHA384_LEN], struct why *why)
{
	_cleanup_free_ unsigned char *patched = NULL;
	struct bytes setup = machine->setup;
	int r;

	if (machine->kernel_as_is)
		return kernel_hash(&image->kernel, &(struct bytes){ 0 }, ret, why);
	if (setup.len) {
		r = kernel_owns_setup(&image->kernel, &setup, why);
	} else {
		r = kernel_setup_size(&image->kernel, &setup.len, why);
		setup.data = patched = xmalloc(setup.len + 1);
		if (r == 0)
			r = kernel_patch(&image->kernel, image->initrd_size, machine->memory,
					 patched, why);
	}
	return r < 0 ? r : kernel_hash(&image->kernel, &setup, ret, why);
}

void measure_extend(struct measurement *m)
{
	unsigned char both[2 * SHA384_LEN];

	memset(m->registers[MEASURE_RTMR0], 0, SHA384_LEN * (MEASURE_REGISTERS - 1));
	for (size_t i = 0; i < MEASURE_EVENTS; i++) {
		unsigned char *reg = m->registers[measure_events[i].into];

		memcpy(both, reg, SHA384_LEN);
		memcpy(both + SHA384_LEN, m->events[i], SHA384_LEN);
		sha384(both, sizeof(both), reg);
	}
	if (!m->has_rtmr0)
		memset(m->registers[MEASURE_RTMR0], 0, SHA384_LEN);
}

int measure_check(const struct measure_image *image, struct why *why)
{
	struct tdvf tdvf;
	int r = tdvf_parse(&image->firmware, &tdvf, why);

	if (r == 0)
		r = kernel_check(&image->kernel, why);
	if (r == 0 && !image->initrd_size)
		r = why_not(why, "initrd: empty");
	return r;
}

int measure_compute(const struct measure_image *image, const struct measure_machine *machine,
		    struct measurement *ret, struct why *why)
{
	struct tdvf tdvf;
	int r;

	*ret = (struct measurement){ .has_rtmr0 = machine->tables.len && machine->rsdp.len &&
						  machine->loader.len };
	r = measure_check(image, why);
	if (r == 0)
		r = tdvf_parse(&image->firmware, &tdvf, why);
	if (r == 0)
		r = tdvf_hob(&tdvf, machine->memory, ret->events[EVENT_TD_HOB], why);
	if (r == 0)
		r = kernel(image, machine, ret->events[EVENT_KERNEL], why);
	if (r == 0)
		r = command_line(image->cmdline, ret->events[EVENT_CMDLINE], why);
	if (r < 0)
		return r;
	tdvf_mrtd(&image->firmware, &tdvf, machine->single_pass, ret->registers[MEASURE_MRTD]);
	memcpy(ret->events[EVENT_INITRD], image->initrd, SHA384_LEN);
	constants(ret);
	if (ret->has_rtmr0) {
		sha384(machine->tables.data, machine->tables.len, ret->events[EVENT_ACPI_TABLES]);
		sha384(machine->rsdp.data, machine->rsdp.len, ret->events[EVENT_ACPI_RSDP]);
		sha384(machine->loader.data, machine->loader.len, ret->events[EVENT_ACPI_LOADER]);
	}
	measure_extend(ret);
	return 0;
}
