// SPDX-License-Identifier: Apache-2.0
/* Registers of a configuration: upstream's 16 vectors, every byte, and inputs that are wrong. */
#include "test.h"

#include <errno.h>
#include <jansson.h>

#include "base/alloc.h"
#include "base/fileio.h"
#include "host/bytes.h"
#include "host/measure/measure.h"

enum { TABLES = 131072, RSDP = 20, LOADER = 4096, SETUP = 2048 };
enum { FLIPS = 400 };

struct vectors {
	struct fixture fixture;
	json_t *cases, *metadata;
	unsigned char *firmware, *kernel;
	struct measure_image image;
};

static void load(const struct fixture *f, const char *path, unsigned char **data, size_t *len)
{
	char *text;

	assert_int_equal(file_read(&f->root, path, 64 << 20, &text, len), 0);
	*data = (unsigned char *)text;
}

static int vectors_setup(void **state)
{
	struct vectors *v = calloc(1, sizeof(*v));
	struct fixture *f;
	char command[256];
	unsigned char *initrd;
	size_t len;
	void *made;

	if (fixture_setup(&made) < 0)
		return -1;
	f = made;
	v->fixture = *f;
	snprintf(command, sizeof(command), "tests/tools/measure-vectors %s", f->dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(sha384_load(), 0);
	v->cases = json_load_file("tests/data/vectors/measure/cases.json", 0, NULL);
	assert_int_equal(json_array_size(v->cases), 16);
	load(f, "/image/ovmf.fd", &v->firmware, &v->image.firmware.len);
	load(f, "/image/bzImage", &v->kernel, &v->image.kernel.len);
	load(f, "/image/initramfs.cpio.gz", &initrd, &len);
	v->image.firmware.data = v->firmware;
	v->image.kernel.data = v->kernel;
	v->image.initrd_size = len;
	sha384(initrd, len, v->image.initrd);
	free(initrd);
	load(f, "/image/metadata.json", &initrd, &len);
	v->metadata = json_loadb((char *)initrd, len, 0, NULL);
	free(initrd);
	v->image.cmdline = json_string_value(json_object_get(v->metadata, "cmdline"));
	free(f);
	*state = v;
	return 0;
}

static int vectors_teardown(void **state)
{
	struct vectors *v = *state;
	struct fixture *f = malloc(sizeof(*f));
	void *made = f;

	*f = v->fixture;
	fixture_teardown(&made);
	json_decref(v->cases);
	json_decref(v->metadata);
	free(v->firmware);
	free(v->kernel);
	free(v);
	return 0;
}

/* What QEMU handed out; the buffer is the caller's. */
static unsigned char *machine_of(struct vectors *v, json_t *c, struct measure_machine *m)
{
	_cleanup_free_ char *path =
		xasprintf("/%s.bin", json_string_value(json_object_get(c, "name")));
	json_t *two_pass = json_object_get(c, "two_pass");
	unsigned char *data;
	size_t len;

	load(&v->fixture, path, &data, &len);
	assert_int_equal(len, TABLES + RSDP + LOADER + SETUP);
	*m = (struct measure_machine){
		.memory = (uint64_t)json_integer_value(json_object_get(c, "memory_mb")) << 20,
		.single_pass = json_is_false(two_pass),
		.tables = { data, TABLES },
		.rsdp = { data + TABLES, RSDP },
		.loader = { data + TABLES + RSDP, LOADER },
		.setup = { data + TABLES + RSDP + LOADER, SETUP },
	};
	return data;
}

static void hex_equal(const unsigned char digest[SHA384_LEN], json_t *expected)
{
	char hex[SHA384_HEX + 1];

	for (size_t i = 0; i < SHA384_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	assert_string_equal(hex, json_string_value(expected));
}

static void every_event_of_every_vector(void **state)
{
	struct vectors *v = *state;
	struct measurement m;
	struct why why;
	json_t *c;
	size_t i;

	json_array_foreach(v->cases, i, c) {
		struct measure_machine machine;
		_cleanup_free_ _unused_ unsigned char *data = machine_of(v, c, &machine);
		size_t at[MEASURE_REGISTERS] = { 0 };

		assert_int_equal(measure_compute(&v->image, &machine, &m, &why), 0);
		for (size_t r = 0; r < MEASURE_REGISTERS; r++)
			hex_equal(m.registers[r], json_object_get(c, measure_registers[r]));
		for (size_t e = 0; e < MEASURE_EVENTS; e++) {
			size_t r = measure_events[e].into;
			json_t *all = json_object_get(json_object_get(c, "events"),
						      measure_registers[r]);

			hex_equal(m.events[e], json_array_get(all, at[r]++));
		}
		assert_int_equal(at[1], 13);
		assert_int_equal(at[2], 5);
		assert_int_equal(at[3], 2);
	}
}

/* Without what QEMU handed out the setup block is computed: the same block, and no RTMR0. */
static void model_equals_qemu(void **state)
{
	struct vectors *v = *state;
	struct measurement m;
	struct why why;
	json_t *c;
	size_t i;

	json_array_foreach(v->cases, i, c) {
		struct measure_machine machine;
		_cleanup_free_ _unused_ unsigned char *data = machine_of(v, c, &machine);
		unsigned char setup[SETUP];

		assert_int_equal(kernel_patch(&v->image.kernel, v->image.initrd_size,
					      machine.memory, setup, &why), 0);
		assert_memory_equal(setup, machine.setup.data, SETUP);
		machine.setup.len = machine.tables.len = 0;
		assert_int_equal(measure_compute(&v->image, &machine, &m, &why), 0);
		hex_equal(m.registers[MEASURE_RTMR1], json_object_get(c, "rtmr1"));
		assert_false(m.has_rtmr0);
	}
}

/* --- each byte --- */

/* Which events differ, MRTD as the bit behind them. */
static uint32_t changed(const struct measurement *a, const struct measurement *b)
{
	uint32_t mask = 0;

	for (size_t e = 0; e < MEASURE_EVENTS; e++)
		mask |= (uint32_t)(memcmp(a->events[e], b->events[e], SHA384_LEN) != 0) << e;
	if (memcmp(a->registers[MEASURE_MRTD], b->registers[MEASURE_MRTD], SHA384_LEN))
		mask |= 1u << MEASURE_EVENTS;
	for (size_t r = MEASURE_RTMR0; r < MEASURE_REGISTERS; r++) {
		int differs = memcmp(a->registers[r], b->registers[r], SHA384_LEN) != 0, fed = 0;

		for (size_t e = 0; e < MEASURE_EVENTS; e++)
			fed |= measure_events[e].into == r && mask & (1u << e);
		assert_int_equal(differs, fed != 0);
	}
	return mask;
}

struct flipping {
	struct vectors *v;
	struct measure_machine machine;
	struct measurement before;
};

enum { REJECTED = -1 };

/* Flips one bit, or more, of a byte, measures, flips it back. */
static int64_t flip(struct flipping *f, unsigned char *at)
{
	unsigned char was = *at;
	struct measurement m;
	struct why why;
	int r;

	*at ^= (unsigned char)(1 + rand() % 255);
	r = measure_compute(&f->v->image, &f->machine, &m, &why);
	*at = was;
	return r < 0 ? REJECTED : (int64_t)changed(&f->before, &m);
}

#define BIT(e) (INT64_C(1) << (e))
#define MRTD BIT(MEASURE_EVENTS)

static unsigned char *flipping_start(void **state, struct flipping *f)
{
	struct why why;
	unsigned char *data;

	f->v = *state;
	data = machine_of(f->v, json_array_get(f->v->cases, 0), &f->machine);
	assert_int_equal(measure_compute(&f->v->image, &f->machine, &f->before, &why), 0);
	srand(7);
	return data;
}

static void bytes_of_qemu(void **state)
{
	struct flipping f;
	_cleanup_free_ _unused_ unsigned char *data = flipping_start(state, &f);
	int rejected = 0, taken = 0;

	for (int i = 0; i < FLIPS; i++) {
		size_t s = (size_t)rand() % SETUP;
		int64_t r = flip(&f, data + TABLES + RSDP + LOADER + s);

		assert_int_equal(flip(&f, data + rand() % TABLES), BIT(EVENT_ACPI_TABLES));
		assert_int_equal(flip(&f, data + TABLES + rand() % RSDP), BIT(EVENT_ACPI_RSDP));
		assert_int_equal(flip(&f, data + TABLES + RSDP + rand() % LOADER),
				 BIT(EVENT_ACPI_LOADER));
		/* What the kernel has itself, QEMU has no business with. */
		assert_true(r == REJECTED || r == BIT(EVENT_KERNEL));
		rejected += r == REJECTED;
	}
	for (size_t s = 0x210; s < 0x22c; s++)
		taken += flip(&f, data + TABLES + RSDP + LOADER + s) == BIT(EVENT_KERNEL);
	assert_true(rejected > FLIPS / 2);
	assert_int_equal(taken, 2 + 8 + 2 + 4);
}

static void bytes_of_firmware(void **state)
{
	struct flipping f;
	_cleanup_free_ _unused_ unsigned char *data = flipping_start(state, &f);
	unsigned char *fw = f.v->firmware;

	for (int i = 0; i < FLIPS; i++) {
		/* The volume that is extended; the other one is only added. */
		size_t at = 0x20000 + (size_t)rand() % 0x1f000;

		assert_int_equal(flip(&f, fw + at), MRTD);
		assert_int_equal(flip(&f, fw + rand() % 0x20000), 0);
	}
	/* Metadata is in the volume itself: MRTD, and where ranges move the block. */
	for (size_t at = 0x3f000; at < 0x3f000 + 16 + 6 * 32; at++) {
		int64_t r = flip(&f, fw + at);

		assert_true(r == REJECTED || r == MRTD || r == (MRTD | BIT(EVENT_TD_HOB)));
	}
	for (size_t at = 0x40000 - 32 - 40; at < 0x40000; at++) {
		int64_t r = flip(&f, fw + at);

		assert_true(r == REJECTED || r == MRTD);
	}
}

static void bytes_of_kernel(void **state)
{
	struct flipping f;
	_cleanup_free_ _unused_ unsigned char *data = flipping_start(state, &f);
	unsigned char *k = f.v->kernel;
	size_t checksum = 0x58 + 64;
	int64_t r;

	for (int i = 0; i < FLIPS; i++) {
		size_t at = SETUP + (size_t)rand() % (f.v->image.kernel.len - SETUP);

		assert_int_equal(flip(&f, k + at), BIT(EVENT_KERNEL));
	}
	/* QEMU's block stands for the setup: what differs in it is another kernel's. */
	for (size_t at = 0; at < SETUP; at++) {
		r = flip(&f, k + at);
		assert_true(r == REJECTED || r == 0);
	}
	f.machine.kernel_as_is = 1;
	assert_int_equal(measure_compute(&f.v->image, &f.machine, &f.before, &(struct why){ 0 }), 0);
	for (size_t at = 0; at < SETUP; at++) {
		r = flip(&f, k + at);
		if (at >= checksum && at < checksum + 4)
			assert_int_equal(r, 0);
		else
			assert_true(r == REJECTED || r == BIT(EVENT_KERNEL));
	}
	/* The last byte, behind which zeros were added. */
	assert_int_equal(flip(&f, k + f.v->image.kernel.len - 1), BIT(EVENT_KERNEL));
}

static void everything_else(void **state)
{
	struct flipping f;
	_cleanup_free_ _unused_ unsigned char *data = flipping_start(state, &f);
	struct measure_image *image = &f.v->image;
	const char *cmdline = image->cmdline;
	struct measurement m;
	struct why why;

	assert_int_equal(flip(&f, image->initrd), BIT(EVENT_INITRD));
	image->cmdline = "console=ttyS0";
	assert_int_equal(measure_compute(image, &f.machine, &m, &why), 0);
	assert_int_equal(changed(&f.before, &m), BIT(EVENT_CMDLINE));
	image->cmdline = cmdline;
	f.machine.single_pass = 1;
	assert_int_equal(measure_compute(image, &f.machine, &m, &why), 0);
	assert_int_equal(changed(&f.before, &m), MRTD);
	f.machine.single_pass = 0;
	f.machine.memory += 1 << 20;
	assert_int_equal(measure_compute(image, &f.machine, &m, &why), 0);
	assert_int_equal(changed(&f.before, &m), BIT(EVENT_TD_HOB));
}

/* --- inputs that are wrong --- */

static void refuses(struct vectors *v, const struct measure_machine *machine, const char *text)
{
	struct measurement m;
	struct why why = { "" };

	assert_int_equal(measure_compute(&v->image, machine, &m, &why), -EBADMSG);
	if (!strstr(why.text, text))
		fail_msg("\"%s\" instead of \"%s\"", why.text, text);
}

/* One field of the TDVF metadata. */
static void refuses_field(struct vectors *v, const struct measure_machine *machine, size_t at,
			  uint64_t value, size_t len, const char *text)
{
	unsigned char was[8], now[8];

	put_le64(now, value);
	memcpy(was, v->firmware + 0x3f000 + at, len);
	memcpy(v->firmware + 0x3f000 + at, now, len);
	refuses(v, machine, text);
	memcpy(v->firmware + 0x3f000 + at, was, len);
}

static void bad_firmware(void **state)
{
	struct flipping f;
	_cleanup_free_ _unused_ unsigned char *data = flipping_start(state, &f);
	struct vectors *v = f.v;
	const struct measure_machine *m = &f.machine;
	size_t len = v->image.firmware.len;
	/* Of the first section: offset, size, address, memory, type. */
	enum { S = 16 };

	refuses_field(v, m, 0, 0, 4, "does not begin with");
	refuses_field(v, m, 4, 1 << 30, 4, "says 6 sections");
	refuses_field(v, m, 8, 2, 4, "version 2");
	refuses_field(v, m, 12, UINT32_MAX, 4, "says 4294967295 sections");
	refuses_field(v, m, 12, 0, 4, "says 0 sections");
	refuses_field(v, m, S, 0x30000, 4, "section 0 of its TDVF metadata lies outside");
	refuses_field(v, m, S, UINT32_MAX, 4, "lies outside of the file");
	refuses_field(v, m, S, 0x10000, 4, "sections 0 and 1 of its TDVF metadata overlap");
	refuses_field(v, m, S + 4, 0x20001, 4, "has more bytes in the file than in memory");
	refuses_field(v, m, S + 8, 0xfffc1000, 8, "sections 0 and 1 of its TDVF metadata overlap");
	refuses_field(v, m, S + 8, UINT64_MAX - 4095, 8, "larger than memory can be");
	refuses_field(v, m, S + 8, 1, 8, "not whole pages");
	refuses_field(v, m, S + 16, UINT64_MAX - 4095, 8, "larger than memory can be");
	refuses_field(v, m, S + 16, UINT64_C(4) << 30, 8, "larger than any firmware");
	refuses_field(v, m, S + 24, 9, 4, "of an unknown kind");
	refuses_field(v, m, S + 28, 4, 4, "unknown attributes");
	refuses_field(v, m, S + 4 * 32 + 24, 3, 4, "0 sections for the hand-off block");
	for (size_t n = 0; n < len; n += 1 + n / 3) {
		v->image.firmware.len = n;
		refuses(v, m, "firmware: ");
	}
	v->image.firmware.len = len;
	memset(v->firmware + len - 50, 0, 18);
	refuses(v, m, "not made for TDX");
	f.machine.memory = 8 << 20;
}

static void bad_kernel(void **state)
{
	struct flipping f;
	_cleanup_free_ _unused_ unsigned char *data = flipping_start(state, &f);
	struct vectors *v = f.v;
	const struct measure_machine *m = &f.machine;
	size_t len = v->image.kernel.len;
	unsigned char *k = v->kernel;

	f.machine.setup.len = 0;
	v->image.kernel.len = 100;
	refuses(v, m, "kernel: only 100 bytes");
	v->image.kernel.len = 1500;
	refuses(v, m, "ends within its setup");
	v->image.kernel.len = len - 1;
	refuses(v, m, "section 1 lies outside of the file");
	v->image.kernel.len = len;
	put_le16(k + 0x46, 60000);
	refuses(v, m, "section table lies outside of its headers");
	put_le16(k + 0x46, 2);
	put_le32(k + 0x3c, UINT32_MAX - 3);
	refuses(v, m, "not PE");
	put_le32(k + 0x3c, 0x40);
	put_le16(k + 0x54, 65535);
	refuses(v, m, "section table lies outside");
	put_le16(k + 0x54, 160);
	put_le32(k + 0x58 + 108, UINT32_MAX);
	refuses(v, m, "data directories do not fit");
	put_le32(k + 0x58 + 108, 6);
	put_le32(k + 0x58 + 112 + 32, 1000);
	refuses(v, m, "signature does not end where");
	put_le32(k + 0x58 + 112 + 32, 0);
	put_le32(k + 0x58 + 160 + 20, 0x700);
	refuses(v, m, "sections overlap");
	put_le32(k + 0x58 + 160 + 20, 0x200);
	memcpy(k, "\x7f" "ELF", 4);
	refuses(v, m, "not PE");
	memcpy(k + 0x202, "xxxx", 4);
	refuses(v, m, "not a Linux kernel");
}

static void bad_rest(void **state)
{
	struct flipping f;
	_cleanup_free_ _unused_ unsigned char *data = flipping_start(state, &f);
	struct vectors *v = f.v;

	f.machine.setup.len = 512;
	refuses(v, &f.machine, "QEMU: hands out 512 bytes");
	f.machine.setup.len = 0;
	v->image.initrd_size = UINT64_C(3) << 30;
	refuses(v, &f.machine, "initrd: 3072 MiB do not fit");
	v->image.initrd_size = 0;
	refuses(v, &f.machine, "initrd: empty");
	v->image.initrd_size = 1;
	f.machine.memory = 8 << 20;
	refuses(v, &f.machine, "memory: 8 MiB are too few");
	f.machine.memory = UINT64_C(4) << 30;
	v->image.cmdline = "a\xff";
	refuses(v, &f.machine, "not ASCII");
}

#define with_vectors(name)                                                               \
	cmocka_unit_test_setup_teardown(name, vectors_setup, vectors_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_vectors(every_event_of_every_vector),
		with_vectors(model_equals_qemu),
		with_vectors(bytes_of_qemu),
		with_vectors(bytes_of_firmware),
		with_vectors(bytes_of_kernel),
		with_vectors(everything_else),
		with_vectors(bad_firmware),
		with_vectors(bad_kernel),
		with_vectors(bad_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
