// SPDX-License-Identifier: Apache-2.0
/* Checks of device nodes, groups and members: what test-devices.c brings the report to, and more. */
#include "check-cases.h"

#define ARRANGE(name) \
	static void name(struct host *h _unused_, struct check_view *v _unused_, \
			 const struct fixture *f _unused_)
#define SPOIL(name, ...) ARRANGE(name) { spoil_device(&v->machine, __VA_ARGS__); }

#define NO_SGX "SGX is off in the BIOS, or the kernel lacks it"

SPOIL(no_enclave, "/dev/sgx_enclave", DEVICE_ABSENT, "absent", NO_SGX)
SPOIL(enclave_hidden, "/dev/sgx_enclave", DEVICE_ABSENT, "absent", "Permission denied")
SPOIL(enclave_file, "/dev/sgx_enclave", DEVICE_WRONG, "file 0660 sgx", "not a character device")
SPOIL(enclave_group, "/dev/sgx_enclave", DEVICE_WRONG, "char 0660 root", "another group")
SPOIL(enclave_mode, "/dev/sgx_enclave", DEVICE_WRONG, "char 0666 sgx", "another mode")
SPOIL(no_provision, "/dev/sgx_provision", DEVICE_ABSENT, "absent", NO_SGX)
SPOIL(provision_file, "/dev/sgx_provision", DEVICE_WRONG, "file 0660 sgx_prv",
      "not a character device")
SPOIL(provision_group, "/dev/sgx_provision", DEVICE_WRONG, "char 0660 sgx", "another group")
SPOIL(provision_mode, "/dev/sgx_provision", DEVICE_WRONG, "char 0600 sgx_prv", "another mode")
SPOIL(no_vepc, "/dev/sgx_vepc", DEVICE_ABSENT, "absent", NO_SGX)
SPOIL(vepc_file, "/dev/sgx_vepc", DEVICE_WRONG, "file 0660 sgx", "not a character device")
SPOIL(vepc_group, "/dev/sgx_vepc", DEVICE_WRONG, "char 0660 root", "another group")
SPOIL(vepc_mode, "/dev/sgx_vepc", DEVICE_WRONG, "char 0600 sgx", "another mode")
SPOIL(no_sgx_group, "sgx", DEVICE_ABSENT, "absent", "absent: udev then skips its rule")
SPOIL(sgx_group_hidden, "sgx", DEVICE_ABSENT, "unknown", "Input/output error")
SPOIL(sgx_group_high, "sgx", DEVICE_WRONG, "gid 1001", "not a system group")
SPOIL(no_prv_group, "sgx_prv", DEVICE_ABSENT, "absent", "absent: udev then skips its rule")
SPOIL(prv_group_high, "sgx_prv", DEVICE_WRONG, "gid 1002", "not a system group")
SPOIL(not_a_member, "qgsd", DEVICE_WRONG, "member of sgx", "qgsd cannot open the SGX devices")
SPOIL(login_user, "qgsd", DEVICE_WRONG, "member of neither", "a login user, not Intel's")
SPOIL(members_hidden, "qgsd", DEVICE_ABSENT, "unknown", "Input/output error")
SPOIL(no_kvm, "/dev/kvm", DEVICE_NOTE, "absent", "no KVM")
SPOIL(kvm_file, "/dev/kvm", DEVICE_NOTE, "not a character device", "")
SPOIL(kvm_hidden, "/dev/kvm", DEVICE_NOTE, "unknown", "Permission denied")
SPOIL(no_vhost, "/dev/vhost-vsock", DEVICE_NOTE, "absent", "no module vhost_vsock")
SPOIL(vhost_file, "/dev/vhost-vsock", DEVICE_NOTE, "not a character device", "")

ARRANGE(no_qgsd)
{
	for (size_t i = 0; i < v->machine.devices.n; i++)
		if (strcmp(v->machine.devices.rows[i].name, "qgsd") == 0)
			v->machine.devices.rows[i].name = "nobody";
}

ARRANGE(no_loopback)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/sys/module/vsock_loopback/initstate", f->dir);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/sys/module/vsock_loopback", f->dir);
	assert_int_equal(rmdir(path), 0);
}

ARRANGE(qgs_on_unix)
{
	no_loopback(h, v, f);
	set_text(&h->settings.v[KEY_QGS_ADDRESS].value, "unix:/var/run/tdx-qgs/qgs.socket");
}

ARRANGE(sgx_off)
{
	put_text(f, "/proc/cpuinfo", CPUINFO_OF("GenuineIntel", "143", "sgx_lc", "0x1"));
	no_enclave(h, v, f);
}

ARRANGE(nobody_looked)
{
	machine_free(&v->machine);
}

static const struct check_case cases[] = {
	{ "devices.enclave", "ok" },
	{ "devices.enclave", "absent", no_enclave },
	{ "devices.enclave", "unknown", enclave_hidden },
	{ "devices.enclave", "unknown", nobody_looked },
	{ "devices.enclave", "not-a-device", enclave_file },
	{ "devices.enclave", "wrong-group", enclave_group },
	{ "devices.enclave", "wrong-mode", enclave_mode },
	/* one cause, one failure */
	{ "devices.enclave", "needs", sgx_off },
	{ "devices.enclave", "needs", no_sgx_group },
	{ "devices.provision", "ok" },
	{ "devices.provision", "absent", no_provision },
	{ "devices.provision", "not-a-device", provision_file },
	{ "devices.provision", "wrong-group", provision_group },
	{ "devices.provision", "wrong-mode", provision_mode },
	{ "devices.vepc", "ok" },
	{ "devices.vepc", "absent", no_vepc },
	{ "devices.vepc", "not-a-device", vepc_file },
	{ "devices.vepc", "wrong-group", vepc_group },
	{ "devices.vepc", "wrong-mode", vepc_mode },
	{ "devices", "ok" },
	{ "devices", "needs", vepc_mode },
	{ "devices", "unknown", nobody_looked },
	{ "devices.sgx", "ok" },
	{ "devices.sgx", "absent", no_sgx_group },
	{ "devices.sgx", "unknown", sgx_group_hidden },
	{ "devices.sgx", "high-gid", sgx_group_high },
	{ "devices.sgx-prv", "ok" },
	{ "devices.sgx-prv", "absent", no_prv_group },
	{ "devices.sgx-prv", "high-gid", prv_group_high },
	{ "devices.qgsd", "ok" },
	{ "devices.qgsd", "no-user", no_qgsd },
	{ "devices.qgsd", "not-a-member", not_a_member },
	{ "devices.qgsd", "login-user", login_user },
	{ "devices.qgsd", "unknown", members_hidden },
	{ "groups", "ok" },
	{ "groups", "needs", not_a_member },
	{ "devices.kvm", "ok" },
	{ "devices.kvm", "absent", no_kvm },
	{ "devices.kvm", "not-a-device", kvm_file },
	{ "devices.kvm", "unknown", kvm_hidden },
	{ "devices.vhost-vsock", "ok" },
	{ "devices.vhost-vsock", "absent", no_vhost },
	{ "devices.vhost-vsock", "not-a-device", vhost_file },
	{ "devices.vsock-loopback", "ok" },
	{ "devices.vsock-loopback", "absent", no_loopback },
	{ "devices.vsock-loopback", "off", qgs_on_unix },
};

CHECK_CASES_MAIN(group_devices, cases)
