// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * For the test's virtual machine only: misc devices that bear the names of the SGX driver's.
 * They do nothing at all; there is no enclave. The kernel announces them to udev as it would
 * announce the real ones.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static const struct file_operations nothing = { .owner = THIS_MODULE };

static struct miscdevice devices[] = {
	{ .minor = MISC_DYNAMIC_MINOR, .name = "sgx_enclave", .fops = &nothing },
	{ .minor = MISC_DYNAMIC_MINOR, .name = "sgx_provision", .fops = &nothing },
	{ .minor = MISC_DYNAMIC_MINOR, .name = "sgx_vepc", .fops = &nothing },
};

static int __init rigsgx_init(void)
{
	size_t n;
	int r = 0;

	for (n = 0; r == 0 && n < ARRAY_SIZE(devices); n++)
		r = misc_register(&devices[n]);
	if (r)
		for (n--; n--;)
			misc_deregister(&devices[n]);
	return r;
}

static void __exit rigsgx_exit(void)
{
	for (size_t n = 0; n < ARRAY_SIZE(devices); n++)
		misc_deregister(&devices[n]);
}

module_init(rigsgx_init);
module_exit(rigsgx_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Devices with the names of the SGX driver's, without function");
