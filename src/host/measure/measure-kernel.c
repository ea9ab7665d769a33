// SPDX-License-Identifier: Apache-2.0
/* The kernel, which is a bzImage to QEMU and a PE file to firmware. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "host/bytes.h"
#include "host/measure/measure.h"

/* Documentation/arch/x86/boot.rst: offsets into the file. */
enum {
	SETUP_SECTS = 0x1f1,
	MAGIC = 0x202,
	VERSION = 0x206,
	TYPE_OF_LOADER = 0x210,
	LOADFLAGS = 0x211,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	HEAP_END_PTR = 0x224,
	CMD_LINE_PTR = 0x228,
	INITRD_ADDR_MAX = 0x22c,
	XLOADFLAGS = 0x236,
	SETUP_DATA = 0x250,
	SMALLEST = 0x268,
	SECTOR = 512,
};
enum { LOADED_HIGH = 1, CAN_USE_HEAP = 0x80, ABOVE_4G = 2, LOADER_QEMU = 0xb0 };

/* Of QEMU: what it keeps free for ACPI tables, where it puts real mode code and command line. */
enum { ACPI_DATA = 0x28000, REAL_ADDR = 0x10000, CMDLINE_ADDR = 0x20000 };

/* What loaders fill in; the kernel's own bytes are the rest. */
static const struct {
	unsigned at, len;
} fields[] = {
	{ 0x1fa, 2 }, /* vid_mode */
	{ TYPE_OF_LOADER, 2 }, { RAMDISK_IMAGE, 8 }, { HEAP_END_PTR, 2 },
	{ CMD_LINE_PTR, 4 }, { SETUP_DATA, 8 },
};

int kernel_setup_size(const struct bytes *k, size_t *ret, struct why *why)
{
	size_t sectors;

	if (k->len < SMALLEST)
		return why_not(why, "kernel: only %zu bytes, not a kernel", k->len);
	if (memcmp(k->data + MAGIC, "HdrS", 4) != 0)
		return why_not(why, "kernel: not a Linux kernel (bzImage)");
	sectors = k->data[SETUP_SECTS];
	*ret = ((sectors ? sectors : 4) + 1) * SECTOR;
	if (*ret > k->len)
		return why_not(why, "kernel: ends within its setup code");
	if (get_le16(k->data + VERSION) < 0x20c || !(k->data[LOADFLAGS] & LOADED_HIGH))
		return why_not(why, "kernel: boot protocol %x, too old for TDX",
			       get_le16(k->data + VERSION));
	return 0;
}

int kernel_patch(const struct bytes *k, uint64_t initrd_size, uint64_t memory,
		 unsigned char *setup, struct why *why)
{
	uint64_t low = measure_low_memory(memory), most;
	size_t size;
	int r = kernel_setup_size(k, &size, why);

	if (r < 0)
		return r;
	most = get_le16(k->data + XLOADFLAGS) & ABOVE_4G ? UINT32_MAX :
							   get_le32(k->data + INITRD_ADDR_MAX);
	if (low <= ACPI_DATA)
		return why_not(why, "memory: too little");
	if (most >= low - ACPI_DATA)
		most = low - ACPI_DATA - 1;
	if (initrd_size >= most)
		return why_not(why, "initrd: %llu MiB do not fit into the memory below 4 GiB",
			       (unsigned long long)(initrd_size >> 20));
	memcpy(setup, k->data, size);
	setup[TYPE_OF_LOADER] = LOADER_QEMU;
	setup[LOADFLAGS] |= CAN_USE_HEAP;
	put_le16(setup + HEAP_END_PTR, CMDLINE_ADDR - REAL_ADDR - 0x200);
	put_le32(setup + CMD_LINE_PTR, CMDLINE_ADDR);
	put_le32(setup + RAMDISK_IMAGE, (uint32_t)(most - initrd_size) & ~(uint32_t)4095);
	put_le32(setup + RAMDISK_SIZE, (uint32_t)initrd_size);
	return 0;
}

int kernel_owns_setup(const struct bytes *k, const struct bytes *setup, struct why *why)
{
	_cleanup_free_ unsigned char *mine = NULL, *theirs = NULL;
	size_t size;
	int r = kernel_setup_size(k, &size, why);

	if (r < 0)
		return r;
	if (setup->len != size)
		return why_not(why, "QEMU: hands out %zu bytes of the kernel's setup code, not %zu",
			       setup->len, size);
	mine = xmalloc(size);
	theirs = xmalloc(size);
	memcpy(mine, k->data, size);
	memcpy(theirs, setup->data, size);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		memcpy(mine + fields[i].at, theirs + fields[i].at, fields[i].len);
	if (memcmp(mine, theirs, size) != 0)
		return why_not(why, "QEMU: the setup code that it hands out is not this kernel's");
	return 0;
}

/* --- Authenticode: Windows Authenticode Portable Executable Signature Format --- */

struct pe {
	size_t checksum, certificates; /* of the directory entry; 0: it has none */
	size_t headers;		       /* their size */
	size_t sections, n_sections;
	size_t certificate_size;
};

enum { PE_SECTION = 40, PE_SECURITY = 4 };

static int parse_directories(const struct bytes *k, size_t opt, size_t opt_size, struct pe *pe,
			     struct why *why)
{
	int plus = get_le16(k->data + opt) == 0x20b;
	size_t at = plus ? 112 : 96, n, address;

	if (!plus && get_le16(k->data + opt) != 0x10b)
		return why_not(why, "kernel: not PE: no optional header that is known");
	if (opt_size < at)
		return why_not(why, "kernel: its optional header has only %zu bytes", opt_size);
	n = get_le32(k->data + opt + at - 4);
	if (n > (opt_size - at) / 8)
		return why_not(why, "kernel: its data directories do not fit");
	if (n <= PE_SECURITY)
		return 0;
	pe->certificates = opt + at + PE_SECURITY * 8;
	address = get_le32(k->data + pe->certificates);
	pe->certificate_size = get_le32(k->data + pe->certificates + 4);
	/* Signatures are at the end of the file and nowhere else. */
	if ((address || pe->certificate_size) && (address > k->len ||
	    pe->certificate_size != k->len - address || !pe->certificate_size))
		return why_not(why, "kernel: its signature does not end where the file ends");
	return 0;
}

static int pe_parse(const struct bytes *k, struct pe *pe, struct why *why)
{
	size_t at, opt, opt_size;
	int r;

	*pe = (struct pe){ 0 };
	if (k->len < 0x40 || memcmp(k->data, "MZ", 2) != 0)
		return why_not(why, "kernel: not PE, firmware cannot start it");
	at = get_le32(k->data + 0x3c);
	if (at > k->len || k->len - at < 24 || memcmp(k->data + at, "PE\0\0", 4) != 0)
		return why_not(why, "kernel: not PE, firmware cannot start it");
	opt = at + 24;
	opt_size = get_le16(k->data + at + 20);
	if (k->len - opt < opt_size || opt_size < 96)
		return why_not(why, "kernel: its optional header does not fit");
	pe->checksum = opt + 64;
	pe->headers = get_le32(k->data + opt + 60);
	pe->sections = opt + opt_size;
	pe->n_sections = get_le16(k->data + at + 6);
	if (pe->headers > k->len || pe->headers < pe->sections ||
	    (pe->headers - pe->sections) / PE_SECTION < pe->n_sections)
		return why_not(why, "kernel: its section table lies outside of its headers");
	r = parse_directories(k, opt, opt_size, pe, why);
	if (r == 0 && pe->certificate_size && pe->certificate_size > k->len - pe->headers)
		return why_not(why, "kernel: its signature begins within its headers");
	return r;
}

/* The file with another beginning. */
struct spliced {
	const struct bytes *file, *head;
};

static void add_range(struct sha384 *h, const struct spliced *s, size_t from, size_t to)
{
	if (from < s->head->len && from < to) {
		size_t end = to < s->head->len ? to : s->head->len;

		sha384_add(h, s->head->data + from, end - from);
		from = end;
	}
	if (from < to)
		sha384_add(h, s->file->data + from, to - from);
}

struct range {
	size_t from, size;
};

static int by_place(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/* Those with bytes in the file, in its order. */
static int sections_of(const struct bytes *k, const struct pe *pe, struct range *ret, size_t *n,
		       struct why *why)
{
	size_t end = pe->headers, last = k->len - pe->certificate_size;

	*n = 0;
	for (size_t i = 0; i < pe->n_sections; i++) {
		const unsigned char *e = k->data + pe->sections + i * PE_SECTION;
		struct range r = { .from = get_le32(e + 20), .size = get_le32(e + 16) };

		if (!r.size)
			continue;
		if (r.from > last || r.size > last - r.from)
			return why_not(why, "kernel: section %zu lies outside of the file", i);
		ret[(*n)++] = r;
	}
	qsort(ret, *n, sizeof(*ret), by_place);
	for (size_t i = 0; i < *n; i++) {
		if (ret[i].from < end)
			return why_not(why, "kernel: its sections overlap");
		end = ret[i].from + ret[i].size;
	}
	return 0;
}

int kernel_check(const struct bytes *k, struct why *why)
{
	struct pe pe;
	size_t size;
	int r = kernel_setup_size(k, &size, why);

	return r < 0 ? r : pe_parse(k, &pe, why);
}

int kernel_hash(const struct bytes *k, const struct bytes *setup, unsigned char ret[SHA384_LEN],
		struct why *why)
{
	static const unsigned char zeros[8];
	_cleanup_sha384_ struct sha384 h = { 0 };
	_cleanup_free_ struct range *ranges = NULL;
	const struct spliced s = { k, setup };
	size_t n, hashed, after;
	struct pe pe;
	int r = pe_parse(k, &pe, why);

	if (r < 0)
		return r;
	ranges = xcalloc(pe.n_sections + 1, sizeof(*ranges));
	r = sections_of(k, &pe, ranges, &n, why);
	if (r < 0)
		return r;
	sha384_start(&h);
	add_range(&h, &s, 0, pe.checksum);
	after = pe.checksum + 4;
	if (pe.certificates) {
		add_range(&h, &s, after, pe.certificates);
		after = pe.certificates + 8;
	}
	add_range(&h, &s, after, pe.headers);
	hashed = pe.headers;
	for (size_t i = 0; i < n; i++) {
		add_range(&h, &s, ranges[i].from, ranges[i].from + ranges[i].size);
		hashed += ranges[i].size;
	}
	add_range(&h, &s, hashed, k->len - pe.certificate_size);
	sha384_add(&h, zeros, -k->len % sizeof(zeros));
	sha384_end(&h, ret);
	return 0;
}
