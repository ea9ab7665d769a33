// SPDX-License-Identifier: Apache-2.0
/* Checks of the device nodes, and of who may open them: one for each row of the report. */
#include <string.h>

#include "base/alloc.h"
#include "host/check/check.h"

#define FIX "sudo dstack-host devices --fix"

static const struct outcome node_outcomes[] = {
	{ "ok", CHECK_OK },
	{ "absent", CHECK_FAIL, "%s is not there, although the CPU offers SGX: the kernel has no "
				"driver for it or found no usable memory",
	  "sudo dmesg | grep -i sgx" },
	{ "not-a-device", CHECK_FAIL, "%s is a file: something wrote there before the driver came",
	  "sudo rm %s && sudo udevadm trigger --action=add --subsystem-match=misc" },
	{ "wrong-group", CHECK_FAIL, "%s belongs to another group than the programs that open it",
	  FIX },
	{ "wrong-mode", CHECK_FAIL, "%s has another mode: its group cannot open it, or everybody "
				    "can",
	  FIX },
	{ 0 },
};

static const struct outcome group_outcomes[] = {
	{ "ok", CHECK_OK },
	{ "absent", CHECK_FAIL, "the group %s is not there: udev then skips its rule for the device",
	  FIX },
	{ "high-gid", CHECK_FAIL, "the group %s has a user's GID: udev of systemd 258 and later "
				  "refuses it",
	  FIX },
	{ 0 },
};

static const struct outcome member_outcomes[] = {
	{ "ok", CHECK_OK },
	{ "no-user", CHECK_SKIP, "Intel's package tdx-qgs has not made the user qgsd" },
	{ "not-a-member", CHECK_FAIL, "qgsd is no member of the groups that open the SGX devices: "
				      "it makes no quote (0x4004, 0xe035)",
	  FIX },
	{ "login-user", CHECK_FAIL, "qgsd is a login user here, not the one of Intel's package, "
				    "and is no member of the groups that open the SGX devices",
	  "getent passwd qgsd" },
	{ 0 },
};

static const struct outcome kvm_outcomes[] = {
	{ "ok", CHECK_OK },
	{ "absent", CHECK_FAIL, "/dev/kvm is not there: virtualisation is off in the BIOS, or the "
				"module kvm_intel is not loaded",
	  "sudo modprobe kvm_intel" },
	{ "not-a-device", CHECK_FAIL, "/dev/kvm is not a device: no virtual machine starts",
	  "sudo rm /dev/kvm && sudo udevadm trigger --action=add --subsystem-match=misc" },
	{ 0 },
};

static const struct outcome vhost_outcomes[] = {
	{ "ok", CHECK_OK },
	{ "absent", CHECK_FAIL, "the module vhost_vsock is not loaded: the VMM cannot talk to its "
				"guests",
	  "sudo modprobe vhost_vsock" },
	{ "not-a-device", CHECK_FAIL, "/dev/vhost-vsock is not a device: no guest gets a vsock",
	  "sudo rm /dev/vhost-vsock && sudo udevadm trigger --action=add "
	  "--subsystem-match=misc" },
	{ 0 },
};

static const struct outcome loopback_outcomes[] = {
	{ "ok", CHECK_OK },
	{ "absent", CHECK_FAIL, "the module vsock_loopback is not loaded: no program of this host "
				"reaches QGS on its vsock address",
	  "sudo modprobe vsock_loopback" },
	{ 0 },
};

static const struct outcome all_outcomes[] = {
	{ "ok", CHECK_OK },
	{ 0 },
};

static const struct device_row *find_row(const struct check_view *v, const char *name,
					 struct verdict *r)
{
	const struct device_report *report = &v->machine.devices;

	for (size_t i = 0; i < report->n; i++)
		if (strcmp(report->rows[i].name, name) == 0) {
			verdict_found(r, "%s", report->rows[i].found);
			verdict_expected(r, "%s", report->rows[i].wanted);
			verdict_subject(r, "%s", name);
			return &report->rows[i];
		}
	verdict_subject(r, "the devices were not looked at");
	return NULL;
}

static const char *judge_node(const struct device_row *row, struct verdict *r)
{
	if (row->state == DEVICE_OK)
		return "ok";
	if (row->state == DEVICE_ABSENT && !strstr(row->cause, "SGX is off")) {
		verdict_subject(r, "%s: %s", row->name, row->cause);
		return SKIP_UNKNOWN;
	}
	if (row->state == DEVICE_ABSENT)
		return "absent";
	if (strcmp(row->cause, "not a character device") == 0)
		return "not-a-device";
	return strcmp(row->cause, "another group") == 0 ? "wrong-group" : "wrong-mode";
}

#define EVAL_NODE(name, path)                                                            \
	static const char *eval_##name(const struct check_view *v, struct verdict *r)    \
	{                                                                                \
		const struct device_row *row = find_row(v, path, r);                     \
                                                                                         \
		return row ? judge_node(row, r) : SKIP_UNKNOWN;                          \
	}

EVAL_NODE(enclave, "/dev/sgx_enclave")
EVAL_NODE(provision, "/dev/sgx_provision")
EVAL_NODE(vepc, "/dev/sgx_vepc")

static const char *judge_group(const struct device_row *row, struct verdict *r)
{
	if (row->state == DEVICE_OK)
		return "ok";
	if (row->state == DEVICE_WRONG)
		return "high-gid";
	if (strcmp(row->found, "absent") == 0)
		return "absent";
	verdict_subject(r, "group %s: %s", row->name, row->cause);
	return SKIP_UNKNOWN;
}

#define EVAL_GROUP(name)                                                                 \
	static const char *eval_##name(const struct check_view *v, struct verdict *r)    \
	{                                                                                \
		const struct device_row *row = find_row(v, #name, r);                    \
                                                                                         \
		return row ? judge_group(row, r) : SKIP_UNKNOWN;                         \
	}

EVAL_GROUP(sgx)
EVAL_GROUP(sgx_prv)

static const char *eval_qgsd(const struct check_view *v, struct verdict *r)
{
	const struct device_row *row = find_row(v, "qgsd", r);

	if (!row)
		return v->machine.filled ? "no-user" : SKIP_UNKNOWN;
	if (row->state == DEVICE_OK)
		return "ok";
	if (row->state == DEVICE_ABSENT) {
		verdict_subject(r, "%s", row->cause);
		return SKIP_UNKNOWN;
	}
	return strncmp(row->cause, "a login user", 12) == 0 ? "login-user" : "not-a-member";
}

static const char *judge_other(const struct device_row *row, struct verdict *r)
{
	if (strcmp(row->found, "absent") == 0)
		return "absent";
	if (strcmp(row->found, "unknown") == 0) {
		verdict_subject(r, "%s: %s", row->name, row->cause);
		return SKIP_UNKNOWN;
	}
	return strncmp(row->found, "char", 4) == 0 ? "ok" : "not-a-device";
}

static const char *eval_kvm(const struct check_view *v, struct verdict *r)
{
	const struct device_row *row = find_row(v, "/dev/kvm", r);

	return row ? judge_other(row, r) : SKIP_UNKNOWN;
}

static const char *eval_vhost(const struct check_view *v, struct verdict *r)
{
	const struct device_row *row = find_row(v, "/dev/vhost-vsock", r);

	return row ? judge_other(row, r) : SKIP_UNKNOWN;
}

/* Loaded, or built into the kernel. */
static const char *eval_loopback(const struct check_view *v, struct verdict *r)
{
	const char *qgs = setting(v->parts.settings, KEY_QGS_ADDRESS);

	if (strncmp(qgs, "vsock:", 6) != 0) {
		verdict_subject(r, "QGS_ADDRESS=%s", qgs);
		return SKIP_OFF;
	}
	if (!root_exists(v->parts.root, "/sys/module")) {
		verdict_subject(r, "no /sys");
		return SKIP_UNKNOWN;
	}
	return root_exists(v->parts.root, "/sys/module/vsock_loopback") ? "ok" : "absent";
}

/* Everything that it stands for was needed for it. */
static const char *eval_all(const struct check_view *v, struct verdict *r)
{
	if (v->machine.filled)
		return "ok";
	verdict_subject(r, "the devices were not looked at");
	return SKIP_UNKNOWN;
}

/* clang-format off */
static const struct check checks[] = {
	{ .id = "devices.enclave", .title = "/dev/sgx_enclave is the group's",
	  .needs = "platform.sgx devices.sgx", .outcomes = node_outcomes, .eval = eval_enclave },
	{ .id = "devices.provision", .title = "/dev/sgx_provision is the group's",
	  .needs = "platform.sgx devices.sgx-prv", .outcomes = node_outcomes,
	  .eval = eval_provision },
	{ .id = "devices.vepc", .title = "/dev/sgx_vepc is the group's",
	  .needs = "platform.sgx devices.sgx", .outcomes = node_outcomes, .eval = eval_vepc },
	{ .id = "devices", .title = "SGX devices",
	  .needs = "devices.enclave devices.provision devices.vepc",
	  .outcomes = all_outcomes, .eval = eval_all },
	{ .id = "devices.sgx", .title = "the group sgx is a system group",
	  .outcomes = group_outcomes, .eval = eval_sgx },
	{ .id = "devices.sgx-prv", .title = "the group sgx_prv is a system group",
	  .outcomes = group_outcomes, .eval = eval_sgx_prv },
	{ .id = "devices.qgsd", .title = "qgsd may open the SGX devices",
	  .needs = "devices.sgx devices.sgx-prv", .outcomes = member_outcomes,
	  .eval = eval_qgsd },
	{ .id = "groups", .title = "groups sgx, sgx_prv",
	  .needs = "devices.sgx devices.sgx-prv devices.qgsd",
	  .outcomes = all_outcomes, .eval = eval_all },
	{ .id = "devices.kvm", .title = "virtual machines can run", .flags = CHECK_HARDWARE,
	  .needs = "platform.cpu", .outcomes = kvm_outcomes, .eval = eval_kvm },
	{ .id = "devices.vhost-vsock", .title = "guests get a vsock", .flags = CHECK_HARDWARE,
	  .outcomes = vhost_outcomes, .eval = eval_vhost },
	{ .id = "devices.vsock-loopback", .title = "this host's programs reach its own vsock",
	  .flags = CHECK_HARDWARE, .outcomes = loopback_outcomes, .eval = eval_loopback },
};
/* clang-format on */

const struct check_group group_devices = { "devices", checks, ARRAY_SIZE(checks) };
