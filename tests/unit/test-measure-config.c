// SPDX-License-Identifier: Apache-2.0
/* The VMM's command lines, turned into those that are only read. */
#include "test.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "host/measure/measure-config.h"

/* Words of `line`, translated and joined again; the caller's. The configuration in *ret. */
static char *translate(const char *line, struct measure_config *ret)
{
	_cleanup_free_ char *copy = xstrdup(line), *trouble = NULL;
	const char *args[64];
	struct strbuf out = { 0 };
	size_t n = 0;
	int r;

	for (char *save = NULL, *word = strtok_r(copy, " ", &save); word;
	     word = strtok_r(NULL, " ", &save))
		args[n++] = word;
	*ret = (struct measure_config){ 0 };
	r = config_from_args(args, n, ret, &trouble);
	if (r < 0) {
		assert_int_equal(r, -EBADMSG);
		return steal_ptr(trouble);
	}
	for (size_t i = 0; i < ret->n_args; i++)
		sb_addf(&out, "%s%s", i ? " " : "", ret->args[i]);
	return sb_steal(&out);
}

static void becomes(const char *line, const char *expected)
{
	_cleanup_config_ struct measure_config c = { 0 };
	_cleanup_free_ char *with = xasprintf("-m 1G %s", line);
	_cleanup_free_ char *got = translate(with, &c);
	_cleanup_free_ char *wanted = xasprintf("-m 1G%s%s", *expected ? " " : "", expected);

	assert_string_equal(got, wanted);
	assert_int_equal(c.memory, 1 << 30);
}

static void refuses(const char *line, const char *text)
{
	_cleanup_config_ struct measure_config c = { 0 };
	_cleanup_free_ char *got = translate(line, &c);

	if (!strstr(got, text))
		fail_msg("\"%s\" instead of \"%s\"", got, text);
}

static void what_is_not_measured_goes(void **state)
{
	(void)state;
	becomes("-accel kvm -cpu host -nographic -nodefaults -smbios type=1,product=dstack", "");
	becomes("-drive file=/x,if=none,id=hd0 -netdev user,id=net0 -chardev pty,id=com0", "");
	becomes("-object tdx-guest,id=tdx,mrconfigid=AA== -qmp unix:/x,server", "");
	becomes("-device virtio-blk-pci,drive=hd0 -device virtio-net-pci,netdev=net0,mac=52:54:0:0:0:1",
		"-device virtio-rng-pci -device virtio-rng-pci");
	becomes("-device vhost-vsock-pci,guest-cid=7,addr=0x5", "-device virtio-rng-pci,addr=0x5");
	becomes("-virtfs local,path=/x,mount_tag=t", "-device virtio-rng-pci");
	becomes("-serial chardev:com0 -serial none", "-serial null");
}

static void what_is_measured_stays(void **state)
{
	(void)state;
	becomes("-smp 2,sockets=1 -global q35-pcihost.pci-hole64-size=0x8000000000 -no-hpet",
		"-smp 2,sockets=1 -global q35-pcihost.pci-hole64-size=0x8000000000 -no-hpet");
	becomes("-device pcie-root-port,id=r,bus=pcie.0 -device virtio-blk-pci,bus=r",
		"-device pcie-root-port,id=r,bus=pcie.0 -device virtio-rng-pci,bus=r");
	becomes("-machine q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off",
		"-machine q35,hpet=off,smm=off");
	becomes("-machine q35,smm=on,confidential-guest-support=tdx", "-machine q35,smm=on");
	becomes("-machine pc-q35-9.2,pic=off,accel=kvm", "-machine pc-q35-9.2,pic=off");
	becomes("-object memory-backend-ram,id=m0,size=1G,host-nodes=0,policy=bind "
		"-numa node,nodeid=0,memdev=m0",
		"-object memory-backend-file,id=m0,size=1G,mem-path=/scratch,share=on "
		"-numa node,nodeid=0,memdev=m0");
}

static void the_image_is_taken_out(void **state)
{
	_cleanup_config_ struct measure_config c = { 0 };
	_cleanup_free_ char *got =
		translate("-bios /i/o.fd -kernel /i/k -initrd /i/r -append a=b -m 64M", &c);

	(void)state;
	assert_string_equal(got, "-m 64M");
	assert_string_equal(c.firmware, "/i/o.fd");
	assert_string_equal(c.kernel, "/i/k");
	assert_string_equal(c.initrd, "/i/r");
	assert_string_equal(c.cmdline, "a=b");
}

static void memory_in_all_forms(void **state)
{
	static const struct {
		const char *text;
		uint64_t mib;
	} forms[] = { { "4096", 4096 }, { "4096M", 4096 }, { "4G", 4096 }, { "1T", 1 << 20 },
		      { "size=2G,slots=4,maxmem=8G", 2048 }, { "65536k", 64 } };

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		_cleanup_config_ struct measure_config c = { 0 };
		_cleanup_free_ char *line = xasprintf("-m %s", forms[i].text);
		_cleanup_free_ char *got = translate(line, &c);

		assert_string_equal(got, line);
		assert_int_equal(c.memory, forms[i].mib << 20);
	}
	refuses("-m 0", "not a size");
	refuses("-m 4X", "not a size");
	refuses("-m 99999999T", "not a size");
	refuses("-m M", "not a size");
	refuses("-smp 2", "how much memory");
}

static void what_is_not_known_is_refused(void **state)
{
	(void)state;
	refuses("-m 1G -frobnicate", "\"-frobnicate\" is not known here");
	refuses("-m 1G -acpitable file=/x", "\"-acpitable\" is not known here");
	refuses("-m 1G -device vfio-pci,host=01:00.0", "device vfio-pci");
	refuses("-m 1G -device tpm-tis,tpmdev=t", "device tpm-tis");
	refuses("-m 1G -device virtio-gpu", "device virtio-gpu");
	refuses("-m 1G stray", "\"stray\" is not known here");
	refuses("-m", "\"-m\" is not known here");
	refuses("-m 1G -object memory-backend-ram,size=1G", "no id or size");
}

static void equal_is_what_measures_the_same(void **state)
{
	_cleanup_config_ struct measure_config a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
	_cleanup_free_ char *trouble = NULL;
	static const char *const more[] = { "-device", "virtio-blk-pci" };

	(void)state;
	assert_int_equal(config_from_size(2, 4096, NULL, 0, &a, &trouble), 0);
	assert_int_equal(config_from_size(2, 4096, NULL, 0, &b, &trouble), 0);
	assert_int_equal(config_from_size(2, 4096, more, 2, &c, &trouble), 0);
	a.what = xstrdup("a");
	assert_true(config_equal(&a, &b));
	assert_false(config_equal(&a, &c));
	config_copy(&c, &d);
	assert_true(config_equal(&c, &d));
	d.normalized = 1;
	assert_false(config_equal(&c, &d));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_measured_goes),
		cmocka_unit_test(what_is_measured_stays),
		cmocka_unit_test(the_image_is_taken_out),
		cmocka_unit_test(memory_in_all_forms),
		cmocka_unit_test(what_is_not_known_is_refused),
		cmocka_unit_test(equal_is_what_measures_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
