// SPDX-License-Identifier: Apache-2.0
/*
 * Events of real TDs, as the logs tell them that upstream ships for its verifier: the hand-off
 * block at two sizes, and the RSDP and the table loader that QEMU 8.2.2 gave to one with 2 vCPU and
 * 2 GiB. They decode: a MADT of 238 bytes, 110 more than without TDX.
 */
#include "test.h"

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/bytes.h"
#include "host/measure/measure.h"

enum { ENTRY = 128, LOADER = 4096, FACS = 64 };
enum command { ALLOCATE = 1, POINTER, CHECKSUM };

#define TABLES "etc/acpi/tables"
#define RSDP "etc/acpi/rsdp"

static const struct {
	unsigned length, at;
} sizes[] = { { 8285, FACS }, { 244, 8349 }, { 238, 8593 }, { 60, 8831 }, { 40, 8891 } };
enum { DSDT, FACP, APIC, MCFG, WAET, N_TABLES };
enum { RSDT = 8931 };

static void assert_digest(const void *data, size_t len, const char *start)
{
	unsigned char digest[SHA384_LEN];
	char hex[17];

	sha384(data, len, digest);
	for (size_t i = 0; i < 8; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	assert_string_equal(hex, start);
}

struct loader {
	unsigned char bytes[LOADER];
	size_t n;
};

static unsigned char *entry(struct loader *l, enum command command, const char *file)
{
	unsigned char *e = l->bytes + l->n++ * ENTRY;

	put_le32(e, command);
	memcpy(e + 4, file, strlen(file));
	return e;
}

static void allocate(struct loader *l, const char *file, unsigned align, unsigned char zone)
{
	unsigned char *e = entry(l, ALLOCATE, file);

	put_le32(e + 60, align);
	e[64] = zone;
}

static void point(struct loader *l, const char *file, unsigned at, unsigned char size)
{
	unsigned char *e = entry(l, POINTER, file);

	memcpy(e + 60, TABLES, strlen(TABLES));
	put_le32(e + 116, at);
	e[120] = size;
}

static void sum(struct loader *l, const char *file, unsigned at, unsigned start, unsigned length)
{
	unsigned char *e = entry(l, CHECKSUM, file);

	put_le32(e + 60, at);
	put_le32(e + 64, start);
	put_le32(e + 68, length);
}

static void sum_table(struct loader *l, size_t i)
{
	sum(l, TABLES, sizes[i].at + 9, sizes[i].at, sizes[i].length);
}

static void the_loader_of_a_td_decodes(void **state _unused_)
{
	unsigned char rsdp[20] = "RSD PTR \0BOCHS ";
	struct loader l = { 0 };

	assert_int_equal(sha384_load(), 0);
	for (size_t i = 0; i + 1 < N_TABLES; i++)
		assert_int_equal(sizes[i].at + sizes[i].length, sizes[i + 1].at);
	assert_int_equal(sizes[WAET].at + sizes[WAET].length, RSDT);
	allocate(&l, RSDP, 16, 2);
	allocate(&l, TABLES, 64, 1);
	sum_table(&l, DSDT);
	point(&l, TABLES, sizes[FACP].at + 36, 4);
	point(&l, TABLES, sizes[FACP].at + 40, 4);
	point(&l, TABLES, sizes[FACP].at + 140, 8);
	for (size_t i = FACP; i < N_TABLES; i++)
		sum_table(&l, i);
	for (unsigned i = 0; i < N_TABLES - 1; i++)
		point(&l, TABLES, RSDT + 36 + 4 * i, 4);
	sum(&l, TABLES, RSDT + 9, RSDT, 36 + 4 * (N_TABLES - 1));
	point(&l, RSDP, 16, 4);
	sum(&l, RSDP, 8, 0, 20);
	assert_digest(l.bytes, sizeof(l.bytes), "095d04cf26fe03ae");
	put_le32(rsdp + 16, RSDT);
	assert_digest(rsdp, sizeof(rsdp), "8d9a4d4777a1bc77");
}

static void the_hand_off_block_is_a_real_tds(void **state _unused_)
{
	/* The sections that dstack's firmware has in memory of its own. */
	static const struct tdvf firmware = { .n = 4, .sections = {
		{ .address = 0x800000, .memory = 0x6000, .type = 3 },
		{ .address = 0x809000, .memory = 0x2000, .type = 2 },
		{ .address = 0x80b000, .memory = 0x2000, .type = 3 },
		{ .address = 0x810000, .memory = 0x10000, .type = 3 },
	} };
	static const struct {
		uint64_t memory;
		unsigned char start[8];
	} known[] = {
		{ UINT64_C(2) << 30, { 0x0b, 0x87, 0x72, 0xe5, 0xb0, 0xb4, 0x1b, 0x83 } },
		{ UINT64_C(64) << 30, { 0x8a, 0xe1, 0xe4, 0x25, 0x35, 0x1d, 0xf7, 0x99 } },
	};

	assert_int_equal(sha384_load(), 0);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		unsigned char digest[SHA384_LEN];
		struct why why;

		assert_int_equal(tdvf_hob(&firmware, known[i].memory, digest, &why), 0);
		assert_memory_equal(digest, known[i].start, sizeof(known[i].start));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_loader_of_a_td_decodes),
		cmocka_unit_test(the_hand_off_block_is_a_real_tds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
