// SPDX-License-Identifier: Apache-2.0
/*
 * What a TD will have in MRTD and RTMR0 to RTMR2, computed from the bytes that feed them:
 * firmware, kernel, initrd and command line of a guest image, memory size, and what QEMU hands
 * to firmware. Everything here reads foreign bytes: it runs in a half that has given all up
 * (measure-half.c), never as root.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "host/sha384.h"

enum measure_register {
	MEASURE_MRTD,
	MEASURE_RTMR0,
	MEASURE_RTMR1,
	MEASURE_RTMR2,
	MEASURE_REGISTERS,
};

/* The events of RTMR0, then those of RTMR1 and RTMR2, in the order of the registers. */
enum measure_event {
	EVENT_TD_HOB,
	EVENT_CFV,
	EVENT_SECURE_BOOT,
	EVENT_PK,
	EVENT_KEK,
	EVENT_DB,
	EVENT_DBX,
	EVENT_SEPARATOR0,
	EVENT_ACPI_LOADER,
	EVENT_ACPI_RSDP,
	EVENT_ACPI_TABLES,
	EVENT_BOOT_ORDER,
	EVENT_BOOT0000,
	EVENT_KERNEL,
	EVENT_CALLING,
	EVENT_SEPARATOR1,
	EVENT_EXIT,
	EVENT_EXIT_RETURNED,
	EVENT_CMDLINE,
	EVENT_INITRD,
	MEASURE_EVENTS,
};

struct measure_event_name {
	const char *name;   /* "acpi-tables" */
	const char *source; /* what feeds it, in words */
	enum measure_register into;
};
extern const struct measure_event_name measure_events[MEASURE_EVENTS];
extern const char *const measure_registers[MEASURE_REGISTERS]; /* "mrtd" */

struct measurement {
	/* Without QEMU's tables there is no RTMR0, and three of its events are missing. */
	int has_rtmr0;
	unsigned char registers[MEASURE_REGISTERS][SHA384_LEN];
	unsigned char events[MEASURE_EVENTS][SHA384_LEN];
};

/* Not owned. */
struct bytes {
	const unsigned char *data;
	size_t len;
};

/* Why an input was refused, a phrase that names it. */
struct why {
	char text[240];
};
/* -EBADMSG, and the text. */
int why_not(struct why *why, const char *fmt, ...) _printf_(2, 3);

enum { MEASURE_FIRMWARE_MAX = 64 << 20, MEASURE_KERNEL_MAX = 128 << 20 };

struct measure_image {
	struct bytes firmware, kernel;
	const char *cmdline;
	uint64_t initrd_size;
	unsigned char initrd[SHA384_LEN];
};

/* What a QEMU of this kind does with them. */
struct measure_machine {
	uint64_t memory;   /* bytes */
	int single_pass;   /* adds and extends page by page (QEMU 9.0 and later) */
	int kernel_as_is;  /* the header of the kernel stays as it is in the file */
	/* As QEMU hands them out, both or none. */
	struct bytes tables, rsdp, loader;
	struct bytes setup; /* the kernel's patched setup block; none: it is computed */
};

/* Can they be measured at all? 0, or -EBADMSG with the reason. */
int measure_check(const struct measure_image *image, struct why *why) _must_check_;
/* 0, or -EBADMSG with the reason. */
int measure_compute(const struct measure_image *image, const struct measure_machine *machine,
		    struct measurement *ret, struct why *why) _must_check_;
/* The registers that these events give; MRTD is left alone. */
void measure_extend(struct measurement *m);

/* --- firmware (measure-tdvf.c) --- */

enum { TDVF_SECTIONS_MAX = 64 };

struct tdvf_section {
	uint64_t offset, size; /* in the file */
	uint64_t address, memory;
	uint32_t type, attributes;
};

struct tdvf {
	struct tdvf_section sections[TDVF_SECTIONS_MAX];
	size_t n;
};

int tdvf_parse(const struct bytes *firmware, struct tdvf *ret, struct why *why) _must_check_;
void tdvf_mrtd(const struct bytes *firmware, const struct tdvf *tdvf, int single_pass,
	       unsigned char ret[SHA384_LEN]);
/* The hand-off block that QEMU builds for so much memory. */
int tdvf_hob(const struct tdvf *tdvf, uint64_t memory, unsigned char ret[SHA384_LEN],
	     struct why *why) _must_check_;
/* RAM below 4 GiB of a q35 machine. */
uint64_t measure_low_memory(uint64_t memory);

/* --- kernel (measure-kernel.c) --- */

/* How long the part is that QEMU patches. */
int kernel_setup_size(const struct bytes *kernel, size_t *ret, struct why *why) _must_check_;
/* QEMU's patch of the setup header, up to 10.1 (hw/i386/x86.c, x86_load_linux()); `setup` has
 * kernel_setup_size() bytes. */
int kernel_patch(const struct bytes *kernel, uint64_t initrd_size, uint64_t memory,
		 unsigned char *setup, struct why *why) _must_check_;
/* May a setup block be a patched one of this kernel? Nothing but what loaders fill in may
 * differ. */
int kernel_owns_setup(const struct bytes *kernel, const struct bytes *setup, struct why *why)
	_must_check_;
/* Is it one that QEMU can load and firmware start? */
int kernel_check(const struct bytes *kernel, struct why *why) _must_check_;
/* Authenticode hash of the kernel whose first bytes are `setup` (may be empty). */
int kernel_hash(const struct bytes *kernel, const struct bytes *setup,
		unsigned char ret[SHA384_LEN], struct why *why) _must_check_;
