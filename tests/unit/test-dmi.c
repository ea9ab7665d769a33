// SPDX-License-Identifier: Apache-2.0
/* SMBIOS tables as firmware writes them, and as it should not. */
#include "test-machine.h"

#include <errno.h>

static int read_table(const struct strbuf *sb, struct dmi_memory *m)
{
	return dmi_read_memory(sb->data, sb->len, m);
}

static void slots_are_counted_by_array(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	struct dmi_memory m;

	/* Another type before, with a string of its own. */
	sb_addn(&sb, "\x00\x05\x01\x00\x01" "vendor\0", 13);
	add_slot(&sb, 7, 64);
	add_slot(&sb, 7, 0);
	add_slot(&sb, 9, 64);
	assert_int_equal(read_table(&sb, &m), 0);
	assert_int_equal(m.n, 2);
	assert_int_equal(m.array[0].handle, 7);
	assert_int_equal(m.array[0].slots, 2);
	assert_int_equal(m.array[0].filled, 1);
	assert_int_equal(m.array[0].mb, 65536);
	assert_int_equal(m.slots, 3);
	assert_int_equal(m.filled, 2);
	assert_false(m.sizes_differ);
	add_slot(&sb, 9, 32);
	assert_int_equal(read_table(&sb, &m), 0);
	assert_true(m.sizes_differ);
}

static void sizes_are_in_three_units(void **state _unused_)
{
	/* up to 0x0e: in MiB, in KiB, unknown */
	unsigned char s[0x15 + 2] = { 17, 0x15 };
	struct dmi_memory m;

	s[0x0c] = 0x00, s[0x0d] = 0x40; /* 16384 MiB */
	assert_int_equal(dmi_read_memory(s, sizeof(s), &m), 0);
	assert_int_equal(m.array[0].mb, 16384);
	s[0x0c] = 0x00, s[0x0d] = 0x80 | 0x08; /* 2048 KiB */
	assert_int_equal(dmi_read_memory(s, sizeof(s), &m), 0);
	assert_int_equal(m.array[0].mb, 2);
	s[0x0c] = 0xff, s[0x0d] = 0xff;
	assert_int_equal(dmi_read_memory(s, sizeof(s), &m), 0);
	assert_int_equal(m.filled, 1);
	assert_int_equal(m.array[0].mb, 0);
}

/* What is there of it counts: nothing is read that the structure does not have. */
static void short_structures_are_read_as_far_as_they_go(void **state _unused_)
{
	unsigned char s[0x15 + 2] = { 17, 0x15 };
	unsigned char shorter[0x0d + 2] = { 17, 0x0d };
	struct dmi_memory m;

	s[0x0c] = 0xff, s[0x0d] = 0x7f; /* its size is further down, where it ends before */
	assert_int_equal(dmi_read_memory(s, sizeof(s), &m), 0);
	assert_int_equal(m.array[0].mb, 0x7fff);
	assert_int_equal(dmi_read_memory(shorter, sizeof(shorter), &m), -EBADMSG); /* no size: no slot */
}

static void more_arrays_than_there_is_room_for_are_left_out(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	struct dmi_memory m;

	for (unsigned i = 0; i <= DMI_ARRAYS_MAX; i++)
		add_slot(&sb, (unsigned short)i, 1);
	assert_int_equal(read_table(&sb, &m), 0);
	assert_int_equal(m.n, DMI_ARRAYS_MAX);
	assert_int_equal(m.slots, DMI_ARRAYS_MAX);
}

static void what_breaks_off_is_no_table(void **state _unused_)
{
	_cleanup_strbuf_ struct strbuf sb = { 0 };
	struct dmi_memory m;

	assert_int_equal(dmi_read_memory("", 0, &m), -EBADMSG);
	assert_int_equal(dmi_read_memory("\x11\x02\x00\x00\x00\x00", 6, &m), -EBADMSG);
	assert_int_equal(dmi_read_memory("\x7f\x04\x00\x00\x00\x00", 6, &m), -EBADMSG);
	add_slot(&sb, 1, 64);
	/* Its strings do not end; its length is beyond the end. */
	for (size_t len = 1; len < sb.len; len++)
		assert_int_equal(dmi_read_memory(sb.data, len, &m), -EBADMSG);
	assert_int_equal(read_table(&sb, &m), 0);
}

static void registers_are_files_in_a_fake_root(void **state)
{
	const struct fixture *f = *state;
	uint64_t value;

	assert_int_equal(msr_read(&f->root, MSR_TME_ACTIVATE, &value), -ENOENT);
	put_msr(f, MSR_TME_ACTIVATE, "0x8000000000000003\n");
	put_msr(f, MSR_TME_CAPABILITY, "5\n");
	assert_int_equal(msr_read(&f->root, MSR_TME_ACTIVATE, &value), 0);
	assert_true(value == 0x8000000000000003);
	assert_int_equal(msr_read(&f->root, MSR_TME_CAPABILITY, &value), 0);
	assert_int_equal(value, 5);
	put_msr(f, MSR_TME_CAPABILITY, "0x1ffffffffffffffff\n");
	assert_int_equal(msr_read(&f->root, MSR_TME_CAPABILITY, &value), -EBADMSG);
	/* Offsets of a file would overlap: a file in the device's place is refused. */
	put_text(f, "/dev/cpu/0/msr", "12345678");
	assert_int_equal(msr_read(&f->root, MSR_TME_ACTIVATE, &value), -ENOTTY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_counted_by_array),
		cmocka_unit_test(sizes_are_in_three_units),
		cmocka_unit_test(short_structures_are_read_as_far_as_they_go),
		cmocka_unit_test(more_arrays_than_there_is_room_for_are_left_out),
		cmocka_unit_test(what_breaks_off_is_no_table),
		with_root(registers_are_files_in_a_fake_root),
	};

	return cmocka_run_group_tests_name("dmi", tests, NULL, NULL);
}
